# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Reading the authors' checkpoints: wrappings, names, and what is refused."""

import json
import re
from pathlib import Path

import pytest
import torch

from modeling_hyperset.conversion import convert_original_checkpoint, load_original_state_dict
from modeling_hyperset.energies_hyperset import PHI


FOLDER = Path(__file__).parents[1] / "fixtures" / "golden"


def fixture(name):
    """An original state dict and its options."""
    folder = FOLDER / name
    options = json.loads((folder / "knobs.json").read_text())
    return load_original_state_dict(folder / options["file"]), options


@pytest.fixture(params=["ic_hyperset", "sudoku_hyperset", "mim_hyperset"])
def original(request):
    return fixture(request.param)


def test_wrappings(original, tmp_path):
    state_dict, _ = original
    wrapped = {
        "bare": state_dict,
        "native": {"epoch": 3, "model_state_dict": state_dict, "scaler_state_dict": None},
        "lightning": {"epoch": 3, "state_dict": {f"model.{name}": tensor for name, tensor in state_dict.items()}},
    }
    for name, checkpoint in wrapped.items():
        torch.save(checkpoint, tmp_path / name)
        loaded = load_original_state_dict(tmp_path / name)
        assert loaded.keys() == state_dict.keys()
        assert all(torch.equal(loaded[key], state_dict[key]) for key in state_dict)


def test_no_state_dict(tmp_path):
    for content in ([1, 2], {"epoch": 3}, {"model_state_dict": {"a": 1}}):
        torch.save(content, tmp_path / "file")
        with pytest.raises(ValueError, match="holds no state dict"):
            load_original_state_dict(tmp_path / "file")


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_no_code_is_run(tmp_path):
    torch.save({"model_state_dict": Payload(str(tmp_path / "touched"))}, tmp_path / "file")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        load_original_state_dict(tmp_path / "file")
    assert not (tmp_path / "touched").exists()


def test_missing_and_left_over_tensors(original):
    state_dict, options = original
    lacking = dict(state_dict)
    lacking.pop(next(name for name in lacking if name.endswith("ln2.weight")))
    with pytest.raises(ValueError, match=r"missing \['hyperset\.layers\.0\.feedforward\.norm\.weight'\]"):
        convert_original_checkpoint(lacking, options)
    lacking.pop(next(name for name in lacking if name.endswith("mlp.weight")))
    with pytest.raises(ValueError, match="lacks a tensor"):
        convert_original_checkpoint(lacking, options)
    with pytest.raises(ValueError, match=r"no place for: what\.is\.this"):
        convert_original_checkpoint(state_dict | {"what.is.this": torch.zeros(1)}, options)


def test_options_that_contradict_the_weights(original):
    state_dict, options = original
    with pytest.raises(ValueError, match=r"'n_embd'.*contradicts"):
        convert_original_checkpoint(state_dict, options | {"n_embd": 2 * options["n_embd"]})


@pytest.mark.parametrize("name", ["n_recur", "task"])
def test_missing_options(original, name):
    state_dict, options = original
    options = {key: value for key, value in options.items() if key != name}
    with pytest.raises(ValueError, match=name):
        convert_original_checkpoint(state_dict, options)


MEASURED = (
    "n_embd",
    "n_layer",
    "num_classes",
    "mlp_hidden",
    "head",
    "n_head",
    "multiplier",
    "vocab_size",
    "codebook_size",
)
MEASURED += ("time_emb", "block_size", "pos_emb", "patch")


def test_what_the_weights_say_need_not_be_given_and_is_not_to_be_contradicted(original):
    state_dict, options = original
    config = convert_original_checkpoint(state_dict, options).config.to_dict()
    fewer = {name: value for name, value in options.items() if name not in MEASURED}
    assert convert_original_checkpoint(state_dict, fewer).config.to_dict() == config
    unread = (
        {"n_layer"} if options["task"] == "masked-image-modeling" else set()
    )  # it has one layer, whatever that says
    for name in set(MEASURED) & options.keys() - unread:
        wrong = "other" if isinstance(options[name], str) else options[name] + 1
        with pytest.raises(ValueError, match=name):
            convert_original_checkpoint(state_dict, options | {name: wrong})


def test_unknown_options(original):
    state_dict, options = original
    with pytest.raises(ValueError, match="'task' must be one of"):
        convert_original_checkpoint(state_dict, options | {"task": "chess"})
    kind = {"image-classification": "class", "sudoku": "model_type", "masked-image-modeling": "model"}[options["task"]]
    with pytest.raises(ValueError, match=f"'{kind}' must be one of"):
        convert_original_checkpoint(state_dict, options | {kind: "unheard-of"})


def test_without_cls_token_the_mean_is_pooled():
    state_dict, options = fixture("ic_hyperset")
    state_dict.pop("cls_token")
    model = convert_original_checkpoint(state_dict, options)
    assert model.config.pooling == "mean" and model(torch.randn(1, 3, 32, 32)).logits.shape == (1, 7)


def test_options_that_the_model_does_not_have(original):
    state_dict, options = original
    refused = {} if "codebook_size" in options else {"phi_func": "sigmoid"}
    for name, value in {**refused, "attention": "sigma", "ff": "softmax", "r": 4, "stepsize": 0.1}.items():
        with pytest.raises(ValueError, match=name):
            convert_original_checkpoint(state_dict, options | {name: value})


def test_sudoku_options():
    state_dict, options = fixture("sudoku_hyperset")
    config = convert_original_checkpoint(state_dict, options).config
    assert (config.step_size_condition, config.position_embedding_type, config.embedding_dropout) == (
        "initial",
        "learned",
        0.1,
    )
    config = convert_original_checkpoint(state_dict, options | {"input_cond": False}).config
    assert config.step_size_condition == "current"
    options.pop("input_cond")
    assert convert_original_checkpoint(state_dict, options).config.step_size_condition == "initial"
    state_dict.pop("pos_emb")
    model = convert_original_checkpoint(state_dict, options | {"pos_emb": "sincos"})
    assert model.config.position_embedding_type == "sinusoidal_2d" and model.config.grid_size == (9, 9)


def test_two_sudoku_layers_each_with_a_causal_mask():
    state_dict, options = fixture("sudoku_hyperset")
    second = {
        name.replace("blocks.0", "blocks.1"): tensor + 1 for name, tensor in state_dict.items() if "blocks.0" in name
    }
    model = convert_original_checkpoint(state_dict | second, options | {"n_layer": 2})
    for layer, original_layer in zip(model.hyperset.layers, (state_dict, second), strict=True):
        prefix = next(iter(name for name in original_layer if "blocks" in name))[: len("blocks.0")]
        assert torch.equal(layer.attention.bases.weight, original_layer[f"{prefix}.attn.qkv.weight"])
        assert torch.equal(layer.feedforward.directions.weight, original_layer[f"{prefix}.mlp.weight"])


@pytest.mark.parametrize("name", ["time_emb", "time_embed"])
@pytest.mark.parametrize("case", ["ic_hyperset", "sudoku_hyperset"])
def test_width_of_the_time_code(case, name):
    state_dict, options = fixture(case)
    state_dict["time_mlp.0.1.weight"] = torch.randn(72, 24)
    options = {key: value for key, value in options.items() if not key.startswith("time_emb")}
    assert convert_original_checkpoint(state_dict, options | {name: 24}).config.step_size_time_dim == 24
    assert convert_original_checkpoint(state_dict, options | {name: None}).config.step_size_time_dim == 24
    with pytest.raises(ValueError, match="contradicts"):
        convert_original_checkpoint(state_dict, options | {name: 32})


def test_grid_of_codes_follows_the_image():
    state_dict, options = fixture("mim_hyperset")
    model = convert_original_checkpoint(state_dict, options | {"img_size": 512})
    assert model.config.grid_size == (32, 32)
    with pytest.raises(ValueError, match="img_size"):
        convert_original_checkpoint(state_dict, options | {"img_size": 250})


def alternative():
    """The image fixture in the layout of the models with alternative energies."""
    state_dict, options = fixture("ic_hyperset")
    moved = {
        "ln_inp.weight": "enc.0.ln_inp.weight",
        "time_mlp.1.1.weight": "enc.0.time_mlp_inner.2.weight",
        "time_mlp.1.1.bias": "enc.0.time_mlp_inner.2.bias",
    }
    state_dict = {
        moved.get(name, name).replace("time_mlp.0.", "time_mlp."): tensor for name, tensor in state_dict.items()
    }
    return state_dict | {"enc.0.time_mlp_inner.0.weight": torch.ones(72)}, options


RULES = {
    "gd_with_learnable_step_size": "gradient_descent",
    "gd_momentum_with_learnable_step_size": "momentum",
    "rmsprop_with_fix_step_size": "rmsprop",
    "rmsprop_momentum_with_fix_step_size": "rmsprop_momentum",
    "adam_with_fix_step_size": "adam",
}


@pytest.mark.parametrize("theirs", RULES)
def test_names_of_update_rules(theirs):
    state_dict, options = fixture("sudoku_hyperset")
    config = convert_original_checkpoint(state_dict, options | {"adaptive_mode": theirs}).config
    assert (config.update_rule, config.step_size_type) == (RULES[theirs], "learned")
    state_dict, options = fixture("mim_hyperset")
    config = convert_original_checkpoint(state_dict, options | {"adaptive_mode": theirs}).config
    steps = "learned" if theirs.startswith("gd") else "fixed"
    assert (config.update_rule, config.step_size_type) == (RULES[theirs], steps)
    if steps == "fixed":
        assert (config.step_size_attention, config.step_size_feedforward) == (0.5, 0.1)


def test_names_of_energies_and_phi():
    from modeling_hyperset.conversion.options import PHI_NAMES

    state_dict, options = alternative()
    attention = options | {"class": "HyperSETAlternativeAttention"}
    for theirs, ours in {
        "sigma": ("sigmoid", None),
        "sigmoid": ("linear", "sigmoid"),
        "elup1": ("linear", "elu_plus_one"),
    }.items():
        config = convert_original_checkpoint(state_dict, attention | {"attention": theirs}).config
        assert config.attention_energy == ours[0] and ours[1] in (None, config.attention_phi)
    feedforward = options | {"class": "HyperSETAlternativeFeedforward"}
    expected = {"softmax": ("softmax", "gelu"), "relu": ("relu", "relu"), "tanh": ("gated", "gelu")}
    for theirs, ours in expected.items():
        config = convert_original_checkpoint(state_dict, feedforward | {"ff": theirs}).config
        assert (config.feedforward_energy, config.hidden_act) == ours
    assert config.feedforward_phi == "tanh" and config.step_size_per_layer
    assert set(PHI_NAMES.values()) == set(PHI)


GUESSES = [
    ("sudoku_hyperset", "adaptive_mode", "gd", "'gd_with_learnable_step_size'"),
    ("sudoku_hyperset", "adaptive_mode", "gd_nesterov_with_learnable_step_size", "'adam_with_fix_step_size'"),
    ("mim_hyperset", "adaptive_mode", "adam_with_learnable_step_size", "'adam_with_fix_step_size'"),
    ("mim_hyperset", "phi_func", "elu+1", "'elup1'"),
    ("ic_hyperset", "class", "CRATE_T", "'CRATET'"),
    ("sudoku_hyperset", "model_type", "crate_t", "'transformer_shared'"),
]


@pytest.mark.parametrize(("case", "name", "guess", "known"), GUESSES)
def test_names_that_no_program_uses(case, name, guess, known):
    state_dict, options = fixture(case)
    with pytest.raises(ValueError, match=rf"'{name}' must be one of .*{re.escape(known)}.*got '{re.escape(guess)}'"):
        convert_original_checkpoint(state_dict, options | {name: guess})


def test_misspelt_options(original):
    state_dict, options = original
    with pytest.raises(ValueError, match="'n_recurs' is not known; do you mean 'n_recur'"):
        convert_original_checkpoint(state_dict, options | {"n_recurs": 3})


def test_one_error_asks_for_all_that_is_missing(original):
    state_dict, options = original
    kind = {"image-classification": "class", "sudoku": "model_type", "masked-image-modeling": "model"}[options["task"]]
    asked = ["task", kind, "n_recur"]
    asked += ["img_size"] if kind == "class" else ["adaptive_mode"]
    with pytest.raises(ValueError) as error:
        convert_original_checkpoint(state_dict, {})
    assert all(f"{name!r}: " in str(error.value) for name in asked), error.value
    assert "look like 'hyper-set'" in str(error.value) or "look like HyperSET" in str(error.value)
    with pytest.raises(ValueError) as error:
        convert_original_checkpoint(
            state_dict, dict.fromkeys(options) | {"task": options["task"], kind: options[kind]}
        )
    assert all(f"{name!r}: " in str(error.value) for name in asked[2:]) and "'task'" not in str(error.value)
    enough = {name: options[name] for name in asked if name in options}
    convert_original_checkpoint(state_dict, enough)


def test_options_of_a_variant_are_asked_for():
    state_dict, options = alternative()
    for kind, name in (("HyperSETAlternativeAttention", "attention"), ("HyperSETAlternativeFeedforward", "ff")):
        with pytest.raises(ValueError, match=rf"'n_recur': .*'{name}': one of .*'elup1'"):
            convert_original_checkpoint(state_dict, options | {"class": kind, "n_recur": None})
    with pytest.raises(ValueError, match=r"'class': .*HyperSETAlternativeAttention or HyperSETAlternativeFeedforward"):
        convert_original_checkpoint(state_dict, options | {"class": None})


def test_adapters_are_numbered_without_gaps_and_all_known():
    state_dict, options = fixture("ic_hyperset")
    state_dict = {name: tensor for name, tensor in state_dict.items() if not name.startswith("enc.0.mlp")}
    state_dict["enc.0.mlp.weight"] = torch.randn(108, 72)
    options = options | {"class": "HyperSETLoRA", "r": 2, "alpha": 8, "n_recur": 3}
    for t in range(3):
        for part, rows in (("attention", 72), ("ff", 108)):
            state_dict[f"deltaW_{part}_A.{t}"], state_dict[f"deltaW_{part}_B.{t}"] = (
                torch.randn(2, 72),
                torch.randn(rows, 2),
            )
    model = convert_original_checkpoint(state_dict, options)
    assert model.hyperset.lora.scaling == 4.0 and model.config.num_iterations == 3
    with pytest.raises(ValueError, match="no place for: deltaW_foo"):
        convert_original_checkpoint(state_dict | {"deltaW_foo.0": torch.zeros(1)}, options)
    gap = {
        name: tensor for name, tensor in state_dict.items() if not (name.startswith("deltaW") and name.endswith(".1"))
    }
    with pytest.raises(ValueError, match="without gaps"):
        convert_original_checkpoint(gap, options | {"n_recur": None})
    with pytest.raises(ValueError, match="n_recur"):
        convert_original_checkpoint(state_dict, options | {"n_recur": 4})


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken"])
def test_files_that_are_no_checkpoints(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        load_original_state_dict(tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "value"), [("n_recur", "5"), ("img_size", "32"), ("input_cond", "false"), ("n_recur", 0)]
)
def test_options_of_the_wrong_kind(name, value):
    state_dict, options = fixture("ic_hyperset")
    with pytest.raises(ValueError, match=name):
        convert_original_checkpoint(state_dict, options | {name: value})
