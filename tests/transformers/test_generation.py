# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""`generate()` of transformers on causal models: every way to choose the next token, and every cache."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from transformers.cache_utils import Cache, DynamicCache, QuantizedLayer, StaticCache
from transformers.generation import MaxLengthCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from modeling_hyperset import HyperSETForCausalLM
from modeling_hyperset.order_hyperset import StateLayer
from support.builders import make_model
from transformers import AutoModelForCausalLM, BertTokenizer, pipeline


KINDS: dict[str, dict] = {
    "causal_softmax": {},
    "causal_linear": {"attention_energy": "causal_linear"},
    "transformer": {"layer_type": "transformer"},
    "energy_transformer": {"layer_type": "energy_transformer"},
}
IDS = torch.tensor([[3, 7, 11, 2, 5], [4, 1, 9, 14, 6]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])  # the second text is padded on its left


def lm(kind: str = "causal_softmax", **fields) -> HyperSETForCausalLM:
    fields = {"max_position_embeddings": 64, "position_embedding_type": "rotary"} | KINDS[kind] | fields
    model = make_model("causal-lm", **fields)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, None
    return model


def write(model, ids=IDS, **options) -> torch.Tensor:
    return model.generate(ids, **({"max_new_tokens": 6, "do_sample": False} | options))


@torch.no_grad()
def greedy(model, ids, number: int, **options) -> torch.Tensor:
    """The likeliest next token again and again, from the whole text each time."""
    for _ in range(number):
        ids = torch.cat((ids, model(ids, use_cache=False, **options).logits[:, -1:].argmax(-1)), dim=1)
    return ids


@pytest.mark.parametrize("cache", ["dynamic", "static", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy(kind, cache):
    """The same with any cache or none, and each row of a padded batch as alone."""
    model = lm(kind)
    options = {"use_cache": False} if cache == "none" else {"cache_implementation": cache, "disable_compile": True}
    assert torch.equal(write(model, **options), greedy(model, IDS, 6))
    padded = write(model, attention_mask=MASK, **options)
    assert torch.equal(padded[:1], greedy(model, IDS[:1], 6))
    assert torch.equal(padded[1:, 2:], greedy(model, IDS[1:, 2:], 6))


@pytest.mark.parametrize("kind", ["causal_softmax", "causal_linear"])
def test_depth_of_a_call(kind):
    """`num_iterations` and `energy_tolerance` reach every step; and the tolerance changes what is written."""
    model = lm(kind, num_iterations=4)
    for options in ({"num_iterations": 1}, {"num_iterations": 6}, {"num_iterations": 8, "energy_tolerance": 0.02}):
        assert torch.equal(write(model, **options), greedy(model, IDS, 6, **options))
    deep, shallow = (model(IDS, num_iterations=number).logits for number in (8, 1))
    stopped = model(IDS, num_iterations=8, energy_tolerance=0.02)
    assert not torch.allclose(deep, shallow) and not torch.allclose(deep, stopped.logits)
    assert stopped.num_iterations_used.min() < 8


@pytest.mark.parametrize("kind", KINDS)
def test_beams_and_samples_do_not_depend_on_the_cache(kind):
    """Beams reorder the cache, several sequences repeat it, and a seed repeats what is sampled."""
    model = lm(kind)
    for options in (
        {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 0.5},
        {"do_sample": True, "num_return_sequences": 3, "top_k": 5, "temperature": 2.0},
        {"do_sample": True, "num_beams": 2},
        {"attention_mask": MASK, "num_beams": 3},
    ):
        results = []
        for use_cache in (True, False):
            torch.manual_seed(3)
            results.append(write(model, use_cache=use_cache, **options))
        assert torch.equal(*results), options
    torch.manual_seed(4)
    others = write(model, do_sample=True, num_return_sequences=3, top_k=5, temperature=2.0)
    torch.manual_seed(3)
    assert not torch.equal(others, write(model, do_sample=True, num_return_sequences=3, top_k=5, temperature=2.0))


def test_reordered_states_are_those_of_the_chosen_rows():
    for kind in ("causal_softmax", "causal_linear"):
        model, rows = lm(kind), torch.tensor([1, 1, 0])
        with torch.no_grad():
            cache = model(IDS).past_key_values
            cache.reorder_cache(rows)
            after = model(IDS[rows, :1], past_key_values=cache).logits
            whole = model(torch.cat((IDS[rows], IDS[rows, :1]), dim=1)).logits[:, -1:]
        torch.testing.assert_close(after, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["causal_softmax", "transformer", "energy_transformer"])
def test_a_smaller_depth_assists(kind):
    """The text is the one without help, and the draft shares the weights."""
    model = lm(kind, num_iterations=4)
    draft = model.at_depth(2)
    assert draft.config.num_iterations == 2 and model.config.num_iterations == 4
    assert draft.lm_head.weight is model.lm_head.weight
    for ids in IDS.split(1):
        assert torch.equal(write(draft, ids), write(model, ids, num_iterations=2))
        for number in (None, 3):
            helped = write(model, ids, assistant_model=draft, max_new_tokens=8, num_iterations=number)
            assert torch.equal(helped, write(model, ids, max_new_tokens=8, num_iterations=number))
    with pytest.raises(ValueError, match="num_iterations"):
        model.at_depth(0)


def test_a_state_cannot_go_back():
    """So help and cropping are refused, with a message that says why."""
    model = lm("causal_linear")
    with pytest.raises(ValueError, match="stateful"):
        write(model, IDS[:1], assistant_model=model.at_depth(2))
    cache = model(IDS).past_key_values
    with pytest.raises(ValueError, match="cannot be cropped"):
        cache.crop(3)
    assert all(isinstance(layer, StateLayer) for layer in cache.layers)


class Collected(BaseStreamer):
    def __init__(self):
        self.ids, self.is_done = [], False

    def put(self, value):
        self.ids += value.flatten().tolist()

    def end(self):
        self.is_done = True


def test_streamer_and_stopping():
    model, streamer = lm(), Collected()
    written = write(model, IDS[:1], streamer=streamer)
    assert streamer.is_done and streamer.ids == written[0].tolist()
    stopped = write(model, stopping_criteria=StoppingCriteriaList([MaxLengthCriteria(max_length=8)]))
    assert torch.equal(stopped, greedy(model, IDS, 3))
    end = written[0, 7].item()
    ended = write(model, IDS[:1], eos_token_id=end)
    assert ended[0, -1] == end and torch.equal(ended, written[:, : ended.shape[1]]) and ended.shape[1] <= 8


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_instead_of_ids(kind):
    model = lm(kind)
    embeddings = model.get_input_embeddings()(IDS)
    written = model.generate(inputs_embeds=embeddings, attention_mask=MASK, max_new_tokens=6, do_sample=False)
    assert torch.equal(written, write(model, attention_mask=MASK)[:, 5:])


@pytest.mark.parametrize("make", [DynamicCache, lambda: StaticCache(lm().config, 32)], ids=["dynamic", "static"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_goes_on_over_calls(kind, make):
    model, cache = lm(kind), make()
    first = write(model, past_key_values=cache, max_new_tokens=3)
    assert cache.get_seq_length() == 7  # the last token has not been read yet
    longer = torch.cat((first, IDS[:, :2]), dim=1)
    assert torch.equal(write(model, longer, past_key_values=cache), greedy(model, longer, 6))
    with pytest.raises(ValueError, match="`num_iterations`"):
        write(model, longer, past_key_values=cache, num_iterations=2)


@pytest.mark.parametrize("kind", ["causal_softmax", "transformer", "energy_transformer"])
def test_a_cropped_cache_is_that_of_the_shorter_text(kind):
    model = lm(kind)
    with torch.no_grad():
        cache = model(IDS).past_key_values
        cache.crop(-2)
        assert cache.get_seq_length() == 3
        logits = model(IDS[:, 3:], past_key_values=cache).logits
        torch.testing.assert_close(logits, model(IDS).logits[:, 3:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["causal_softmax", "causal_linear"])
def test_one_prompt_for_many_texts(kind):
    """A cache of a shared prompt, copied and repeated for a batch of continuations."""
    model = lm(kind)
    with torch.no_grad():
        prompt = model(IDS[:1]).past_key_values
        cache = copy.deepcopy(prompt)
        cache.batch_repeat_interleave(2)
        logits = model(IDS[:, :2], past_key_values=cache).logits
        whole = model(torch.cat((IDS[:1].expand(2, -1), IDS[:, :2]), dim=1)).logits[:, 5:]
        torch.testing.assert_close(logits, whole, rtol=1e-5, atol=1e-5)
        cache.batch_select_indices(torch.tensor([1]))
        logits = model(IDS[1:, 2:3], past_key_values=cache).logits
        whole = model(torch.cat((IDS[:1], IDS[1:, :3]), dim=1)).logits[:, -1:]
        torch.testing.assert_close(logits, whole, rtol=1e-5, atol=1e-5)
    assert prompt.get_seq_length() == 5


def bytes_of(cache: Cache) -> int:
    return sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values) if part is not None)


@torch.no_grad()
def test_memory_of_the_cache():
    """A tensor per token, not two: half of the Transformer's. A state: the same after 128 tokens and after 65,536."""
    ids = torch.randint(0, 20, (1, 64))
    ours, theirs = (bytes_of(lm(kind)(ids).past_key_values) for kind in ("causal_softmax", "transformer"))
    assert ours <= 0.51 * theirs
    model = lm("causal_linear", hidden_size=8, num_attention_heads=2, num_iterations=2)
    sizes = {
        bytes_of(model(torch.randint(0, 20, (1, length)), logits_to_keep=1).past_key_values)
        for length in (1, 128, 65_536)
    }
    assert sizes == {2 * 2 * 4 * 4 * 4}  # iterations · heads · head_dim² · bytes of a number


class Halved(QuantizedLayer):
    """A quantised slot without a package for it: old tokens are kept in half precision."""

    def _quantize(self, tensor, axis):
        return tensor.half()

    def _dequantize(self, tensor):
        return tensor.float()


def test_quantised_caches():
    """Right where a slot holds keys and values. Refused, with the reason, where it holds one tensor or a state."""
    for kind in KINDS:
        for cache in (Cache(layers=[Halved(residual_length=2)]), Cache(layer_class_to_replicate=Halved)):
            model = lm(kind)
            if kind == "transformer":
                with torch.no_grad():
                    model(IDS, past_key_values=cache)
                    logits = model(IDS[:, :1], past_key_values=cache).logits
                    whole = model(torch.cat((IDS, IDS[:, :1]), dim=1)).logits[:, -1:]
                    torch.testing.assert_close(logits, whole, rtol=0.01, atol=0.01)
            else:
                with pytest.raises(ValueError, match="`past_key_values` must not be quantised"):
                    model(IDS, past_key_values=cache)


def test_offloaded_caches_are_refused_at_adaptive_depth():
    """Energies read the slots where they are. (At fixed depth an offloaded cache needs a GPU.)"""
    cache = DynamicCache()
    cache.offloading = True
    with pytest.raises(ValueError, match="`energy_tolerance` cannot be used with an offloaded cache"):
        lm()(IDS, past_key_values=cache, energy_tolerance=0.1)


def test_logits_to_keep():
    model = lm()
    whole = model(IDS).logits
    for kept, wanted in ((1, whole[:, -1:]), (3, whole[:, 2:]), (torch.tensor([0, 3]), whole[:, [0, 3]]), (0, whole)):
        torch.testing.assert_close(model(IDS, logits_to_keep=kept).logits, wanted)


def test_the_loss_is_that_of_the_next_token():
    model = lm()
    outputs = model(IDS, labels=IDS.masked_fill(MASK == 0, -100), attention_mask=MASK)
    wanted = [
        torch.nn.functional.cross_entropy(outputs.logits[row, start:-1], IDS[row, start + 1 :], reduction="sum")
        for row, start in ((0, 0), (1, 2))
    ]
    # The first word of the padded text has a label too: padding before it predicts it. It counts as anywhere in transformers.
    first = torch.nn.functional.cross_entropy(outputs.logits[1, 1], IDS[1, 2], reduction="sum")
    torch.testing.assert_close(outputs.loss, (sum(wanted) + first) / 7)


def test_accumulated_gradients_are_those_of_the_whole_batch():
    model, labels = lm(), IDS.masked_fill(MASK == 0, -100)
    gradients = []
    for splits in (2, 1):
        model.zero_grad()
        number = (labels[:, 1:] != -100).sum()
        for ids, mask, wanted in zip(*(part.split(splits) for part in (IDS, MASK, labels)), strict=True):
            model(ids, attention_mask=mask, labels=wanted, num_items_in_batch=number).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_no_labels_at_all():
    model = lm().train()
    loss = model(IDS, labels=torch.full_like(IDS, -100)).loss
    loss.backward()
    assert loss == 0 and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "anna", "smith", "lives", "here"]
REMOTE = """
import sys
from transformers import pipeline
try:
    import modeling_hyperset
    sys.exit("the package is installed here")
except ImportError:
    pass
write = pipeline("text-generation", sys.argv[1], trust_remote_code=True)
assert type(write.model).__module__.startswith("transformers_modules.")
print(write("good film", max_new_tokens=5, do_sample=False)[0]["generated_text"])
"""


@pytest.fixture
def folder(tmp_path):
    model = lm(vocab_size=len(WORDS))
    model.save_pretrained(tmp_path)
    BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}).save_pretrained(tmp_path)
    return model, tmp_path


def test_pipeline(folder):
    """It writes what the model writes; texts of a padded batch as alone."""
    model, path = folder
    writer = pipeline("text-generation", str(path))
    assert isinstance(writer.model, HyperSETForCausalLM)
    options = {"max_new_tokens": 5, "do_sample": False, "return_full_text": False}
    (answer,) = writer("good film", **options)
    ids = writer.tokenizer("good film", return_tensors="pt").input_ids
    written = greedy(model, ids, 5)[0, ids.shape[1] :]
    assert answer["generated_text"] == writer.tokenizer.decode(written, skip_special_tokens=True)
    texts = ["good film", "bad", "anna smith lives here"]
    writer.tokenizer.padding_side = "left"
    together = [answers[0] for answers in writer(texts, batch_size=3, **options)]
    assert together == [writer(text, **options)[0] for text in texts]


def test_saved_and_loaded(folder):
    model, path = folder
    ids = IDS % len(WORDS)
    loaded = AutoModelForCausalLM.from_pretrained(path)
    assert isinstance(loaded, HyperSETForCausalLM) and loaded.lm_head.weight is loaded.get_input_embeddings().weight
    assert torch.equal(write(loaded, ids), write(model, ids))


@pytest.mark.slow
def test_pipeline_without_the_package(folder, tmp_path):
    _, path = folder
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", REMOTE, str(path)]
    finished = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert finished.returncode == 0, finished.stderr
    wanted = pipeline("text-generation", str(path))("good film", max_new_tokens=5, do_sample=False)
    assert finished.stdout.strip() == wanted[0]["generated_text"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["causal_softmax", "causal_linear"])
def test_compiled_decoding(kind):
    """One graph without a break, compiled once for all tokens."""
    model = lm(kind, num_iterations=2)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    step = torch.compile(model, fullgraph=True, backend="aot_eager")
    cache, text, ids = StaticCache(model.config, max_cache_len=16), IDS, IDS[:, :1].contiguous()
    with torch.no_grad():
        model(IDS, past_key_values=cache)
        for _ in range(4):
            text = torch.cat((text, ids), dim=1)
            logits = step(ids, past_key_values=cache).logits
            torch.testing.assert_close(logits, model(text).logits[:, -1:], rtol=1e-5, atol=1e-5)
            ids = logits.argmax(-1)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
