# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What `benchmark_generation.py` measures: one token after a text, with the cache of that text."""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers.cache_utils import Cache

from hyperset_lab.arguments import check_least
from hyperset_lab.benchmarking.measuring import seconds
from modeling_hyperset import HyperSETConfig, HyperSETForCausalLM
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel


# Fields of a `HyperSETConfig`; GPT-2 is transformers' own.
OURS: dict[str, dict[str, Any]] = {
    "causal_softmax": {},
    "causal_linear": {"attention_energy": "causal_linear"},
    "transformer": {"layer_type": "transformer"},
}
MODELS = ("gpt2", *OURS)  # the others are relative to the first


def parse(arguments: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--hidden_size", type=int, default=768)
    parser.add_argument("--head_dim", type=int, default=64)
    parser.add_argument("--num_iterations", type=int, default=12, help="Of the one layer; layers of GPT-2.")
    parser.add_argument("--vocab_size", type=int, default=50257)
    parser.add_argument("--position_embedding_type", choices=["learned", "rotary", "sinusoidal"], default="learned")
    parser.add_argument(
        "--num_tokens", type=int, nargs="+", default=[128, 512, 1024, 2048], help="Tokens in the cache."
    )
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=4, help="Tokens of a round.")
    parser.add_argument("--num_threads", type=int, help="Of torch, on a CPU.")
    parser.add_argument("--output_dir", help="Write generation.json and generation.md there.")
    options = parser.parse_args(arguments)
    check_least(options, 1, "rounds", "steps", "batch_size", "num_iterations", "hidden_size", "head_dim", "vocab_size")
    if any(number < 1 for number in options.num_tokens):
        raise ValueError(f"`--num_tokens` must be positive, got {options.num_tokens}.")
    if options.hidden_size % options.head_dim:
        raise ValueError(f"`--head_dim` must divide --hidden_size {options.hidden_size}, got {options.head_dim}.")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"There is no CUDA device for `--device {options.device}`: pass `--device cpu`.")
    return options


def make_model(name: str, options: argparse.Namespace) -> PreTrainedModel:
    """A model with random weights, of the width and depth that the flags say."""
    torch.manual_seed(0)
    longest = max(options.num_tokens) + options.steps
    num_heads = options.hidden_size // options.head_dim
    if name == "gpt2":
        config = GPT2Config(
            vocab_size=options.vocab_size,
            n_positions=longest,
            n_embd=options.hidden_size,
            n_head=num_heads,
            n_layer=options.num_iterations,
            bos_token_id=0,
            eos_token_id=0,
        )
        model: PreTrainedModel = GPT2LMHeadModel(config)
    else:
        fields = {
            "vocab_size": options.vocab_size,
            "max_position_embeddings": longest,
            "hidden_size": options.hidden_size,
            "num_attention_heads": num_heads,
            "num_iterations": options.num_iterations,
            "position_embedding_type": options.position_embedding_type,
            "attention_energy": "causal_softmax",
        }
        model = HyperSETForCausalLM(HyperSETConfig(**(fields | OURS[name])))
    torch.nn.Module.to(model, options.device, getattr(torch, options.dtype))
    return model.eval()


def cache_bytes(cache: Cache) -> int:
    """Of all tensors in the slots."""
    layers: list[Any] = list(cache.layers)
    return sum(part.nbytes for layer in layers for part in (layer.keys, layer.values) if part is not None)


@dataclass
class Text:
    """A text that a model goes on with: the tokens before are in the cache. Every round starts at the same length."""

    model: PreTrainedModel
    cache: Cache
    token: torch.Tensor
    num_tokens: int
    steps: int

    def write(self) -> None:
        """So many tokens, the likeliest each time."""
        token, mask = self.token, self.token.new_ones(len(self.token), self.num_tokens)
        for _ in range(self.steps):
            mask = torch.cat((mask, mask[:, :1]), dim=1)
            outputs = self.model(input_ids=token, attention_mask=mask, past_key_values=self.cache, use_cache=True)
            token = outputs.logits[:, -1:].argmax(-1)

    def go_back(self) -> None:
        """Take the written tokens out of the cache. States are left: what is in them does not change their time."""
        first: Any = self.cache.layers[0]
        if hasattr(first, "cumulative_length"):
            first.cumulative_length.fill_(self.num_tokens)
        else:
            self.cache.crop(-self.steps)


@torch.no_grad()
def read(model: PreTrainedModel, num_tokens: int, options: argparse.Namespace) -> Text:
    """The cache of a random text of so many tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(options.vocab_size, (options.batch_size, num_tokens), generator=generator).to(options.device)
    kept = {"logits_to_keep": 1}
    return Text(model, model(ids, use_cache=True, **kept).past_key_values, ids[:, -1:], num_tokens, options.steps)


@torch.no_grad()
def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A record for each model and length, with the seconds per token of every round. The lines take turns in a round."""
    device, lines = torch.device(options.device), []
    for name in options.models:
        model = make_model(name, options)
        for num_tokens in options.num_tokens:
            text = read(model, num_tokens, options)
            record = {"model": name, "num_tokens": num_tokens, "parameters": model.num_parameters()}
            lines.append((record | {"cache_bytes": cache_bytes(text.cache), "seconds": []}, text))
    for round_number in range(options.rounds + 1):
        for record, text in lines:
            taken = seconds(partial(text.write), device) / options.steps
            text.go_back()
            if round_number:  # the first one asks for memory
                record["seconds"].append(taken)
    return [record for record, _ in lines]


def rows_of(records: list[dict[str, Any]], first: str) -> list[dict[str, Any]]:
    """
    What the table shows: the median time of a token; the median over the rounds of tokens per second relative to the `first`
    model at the same length; and how the time grows from the shortest length of the same model.
    """
    by_line = {(record["model"], record["num_tokens"]): record["seconds"] for record in records}
    shortest = min(length for _, length in by_line)

    def ratio(over: list[float], under: list[float]) -> float:
        return statistics.median(one / other for one, other in zip(over, under, strict=True))

    rows = []
    for record in records:
        row = {name: record[name] for name in ("model", "num_tokens", "parameters", "cache_bytes")}
        row["milliseconds"] = 1000 * statistics.median(record["seconds"])
        row["speed"] = ratio(by_line[first, record["num_tokens"]], record["seconds"])
        row["growth"] = ratio(record["seconds"], by_line[record["model"], shortest])
        rows.append(row)
    return rows


def table_of(rows: list[dict[str, Any]], first: str) -> str:
    """The rows as a Markdown table."""
    header = ["model", "parameters", "tokens in the cache", "ms per token", f"tokens per second / {first}'s"]
    header += ["time / shortest text's", "cache, MiB"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        cells = [
            row["model"],
            f"{row['parameters'] / 1e6:.2f} M",
            str(row["num_tokens"]),
            f"{row['milliseconds']:.2f}",
        ]
        cells += [f"{row['speed']:.2f}", f"{row['growth']:.2f}", f"{row['cache_bytes'] / 2**20:.2f}"]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
