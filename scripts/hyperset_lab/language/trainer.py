# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""A Trainer that measures a language model's perplexity and, if it writes text, has it write a sample."""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch

from hyperset_lab.arguments import check_least, option
from hyperset_lab.trainer import ScriptTrainer
from transformers import PreTrainedTokenizerBase


@dataclass
class SampleArguments:
    """The text that a model writes after its training."""

    sample_prompt: str = option("\n", "What the sample of text at the end goes on from; a new line if not given.")
    sample_tokens: int = option(256, "Tokens of that sample; 0 for none.")

    def __post_init__(self):
        check_least(self, 0, "sample_tokens")
        if not self.sample_prompt:
            raise ValueError("`--sample_prompt` must not be empty: the model predicts what comes after it.")


class LanguageTrainer(ScriptTrainer):
    """
    [`ScriptTrainer`] whose evaluations also have the perplexity exp(loss) and, if each token is a character and the model
    predicts the next one, the loss in bits per character.

    Args:
        sample (`SampleArguments`, *optional*): The text that the model writes for its card. `None`: it writes none.
        in_bits (`bool`): Whether a loss is one per character.
        block_size (`int`): Tokens that the model was trained with.
    """

    def __init__(self, *args, sample: SampleArguments | None, in_bits: bool, block_size: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.sample, self.in_bits, self.block_size = sample, in_bits, block_size
        self.written_at: tuple[int, str] | None = None  # the step of the last sample, and the sample

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        loss = metrics[f"{metric_key_prefix}_loss"]
        # exp overflows for a loss that no model has that learned anything.
        measured = {f"{metric_key_prefix}_perplexity": math.exp(loss) if loss < 700 else math.inf}
        if self.in_bits:
            measured[f"{metric_key_prefix}_bits_per_character"] = loss / math.log(2)
        self.log(measured)
        return metrics | measured

    def write_sample(self) -> str:
        """The sample of text of the model as it is now, the prompt first; empty if it writes none."""
        if self.sample is None or self.sample.sample_tokens == 0 or self.is_fsdp_enabled:
            return ""
        if self.written_at is None or self.written_at[0] != self.state.global_step:
            model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            text = written(model, cast(Any, self.processing_class), self.sample, self.block_size, self.args.seed)
            self.written_at = self.state.global_step, text
        return self.written_at[1]

    def card_section(self) -> str:
        text = self.write_sample()
        if not text:
            return ""
        lines = "\n".join(f"    {line}".rstrip() for line in text.splitlines())
        prompt = self.sample.sample_prompt if self.sample is not None else ""
        return f"\n## Sample\n\nWhat the model wrote after the prompt {prompt!r}, drawn at temperature 1:\n\n{lines}\n"


@torch.no_grad()
def written(
    model: Any, tokenizer: PreTrainedTokenizerBase, sample: SampleArguments, block_size: int, seed: int
) -> str:
    """
    The prompt and the text that `model` writes after it, drawn at temperature 1 with random numbers of `seed`. It sees at most
    `block_size` tokens: where these are full, it goes on from the second half of them.
    """
    tokens = tokenizer(sample.sample_prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    if tokens.shape[1] == 0:
        raise ValueError(f"`--sample_prompt` {sample.sample_prompt!r} has no tokens: pass another.")
    tokens, training = tokens.to(model.device), model.training
    wanted = tokens.shape[1] + sample.sample_tokens
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    model.eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        while tokens.shape[1] < wanted:
            context = tokens[:, -max(1, block_size // 2) :]
            count = min(block_size - context.shape[1], wanted - tokens.shape[1])
            longer = model.generate(
                context,
                attention_mask=torch.ones_like(context),
                max_new_tokens=count,
                do_sample=True,
                top_k=0,
                pad_token_id=padding,
            )
            tokens = torch.cat((tokens, longer[:, context.shape[1] :]), dim=1)
            if longer.shape[1] < context.shape[1] + count:
                break  # it wrote the end of the text
    model.train(training)
    return str(tokenizer.decode(tokens[0]))
