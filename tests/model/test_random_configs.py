# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""A wild config is refused by a `ValueError` that names the field, or trains, and is saved and loaded bit for bit."""

import json
import tempfile
from collections import Counter

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification
from modeling_hyperset.energies_hyperset import ATTENTION_ENERGIES, FEEDFORWARD_ENERGIES, PHI
from modeling_hyperset.layers_hyperset import LAYERS
from modeling_hyperset.steps_hyperset import UPDATE_RULES
from support.builders import CASES


FLAG = [True, False]
# Values of all fields, most of which go together.
TAME = {
    "patch_size": [1, 2, 4],
    "num_channels": [1, 3],
    "patch_embedding_norm": [None, True, False],
    "position_embedding_type": ["sinusoidal", "sinusoidal_2d", "learned", "rotary"],
    "embedding_dropout": [0.0, 0, 0.5],
    "pooling": ["cls", "mean"],
    "norm_type": ["layernorm", "rmsnorm"],
    "sublayer_norm_type": [None, "layernorm", "rmsnorm"],
    "pre_norm": [False, False, True],
    "prune_last_iteration": FLAG,
    "classifier_bias": FLAG,
    "tie_word_embeddings": FLAG,
    "output_energies": [False, False, True],
    "layer_type": ["hyperset"] * 5 + list(LAYERS),
    "hidden_size": [4, 8, 12],
    "num_hidden_layers": [1, 2],
    "num_iterations": [1, 2, 3],
    "num_attention_heads": [1, 2, 4],
    "intermediate_size": [None, 1, 7],
    "attention_energy": list(ATTENTION_ENERGIES),
    "attention_phi": list(PHI),
    "attention_beta": [None, 0.5, 1],
    "feedforward_energy": list(FEEDFORWARD_ENERGIES),
    "feedforward_phi": list(PHI),
    "hidden_act": ["relu", "gelu"],
    "shared_qkv_norm": FLAG,
    # Most layers refuse these.
    "velocity_method": ["nesterov"] * 80 + ["polyak", "gradient_descent"],
    "velocity_splitting": ["lie_trotter"] * 80 + ["euler"],
    "velocity_norm": [True] * 80 + [False],
    "velocity_start": ["zeros"] * 80 + ["embeddings"],
    "inner_steps": [1] * 80 + [2],
    "interaction_diagonal": ["none"] * 80 + ["head", "full"],
    "preconditioner_rank": [None] * 80 + [0, 1],
    "update_rule": list(UPDATE_RULES),
    "lora_rank": [0, 0, 0, 1, 3],
    "lora_alpha": [None, 1, 2.5, 65504.0],
    "lora_init": ["normal", "zeros"],
    "step_size_type": ["learned", "fixed"],
    "step_size_attention": [0.1, 1, 0, 100.0],
    "step_size_feedforward": [0.1, -1, 0],
    "step_size_condition": ["current", "initial"],
    "step_size_time_dim": [4, 8, 12],
    "step_size_time_network": ["normed_mlp", "mlp", "none"],
    "step_size_time_init": ["normal", "zeros"],
    "step_size_token_norm": FLAG,
    "step_size_sum_norm": FLAG,
    "step_size_per_layer": FLAG,
    "initializer_range": [0.02, 0.0, 0.5, 1.0],
    "layer_norm_eps": [1e-5, 1e-12, 1.0],
    "rms_norm_eps": [None, 1e-6],
    "num_labels": [1, 2, 5],
    "problem_type": [None, None, "regression", "single_label_classification", "multi_label_classification"],
    "output_hidden_states": FLAG,
    "dtype": [None, "float32"],
}
IMAGES = {"image_size": [4, 8, [8, 4], (4, 8)]}
TOKENS = {"vocab_size": [2, 9], "max_position_embeddings": [4, 9, 16]}
# What transformers adds to every config.
INHERITED = [
    *(
        "id2label",
        "label2id",
        "output_attentions",
        "attn_implementation",
        "chunk_size_feed_forward",
        "is_encoder_decoder",
    ),
    *("architectures", "transformers_version", "per_layer_config", "torch_dtype", "return_dict"),
]
# What somebody might put in the place of any of them.
WILD = [
    *(None, True, False, -1, 0, 1, 3, 7, -(2**63), 2**31, 2**63, 10**30),
    *(-0.0, 0.5, -1.5, 1e-300, 1e-30, 1e30, 1e300, float("nan"), float("inf"), -float("inf")),
    *("", "8", "nan", "\x00", "gelu", "eager", "float16", "int8", "nn"),
    *([], [1], [4, 4], [4, "4"], [2**31, 2**31], (8, 8), (4, 8, 4), {}, {"a": 1}, {0: "x"}, {1: "x", 7: "y"}),
    *(b"8", 1j, torch.tensor(4), torch.float16, torch.int8, object),
]


@st.composite
def cases(draw):
    """The name of a case, fields, and the names of those that are wild: a few of all, in half of the examples."""
    case = draw(st.sampled_from(list(CASES)))
    tame = TAME | (TOKENS if "vocab_size" in CASES[case][1] else IMAGES)
    fields = {name: draw(st.sampled_from(values)) for name, values in tame.items()}
    names = sorted({*TAME, *IMAGES, *TOKENS, *INHERITED})
    wild = draw(st.lists(st.sampled_from(names), max_size=2, unique=True)) if draw(st.booleans()) else []
    return case, fields | {name: draw(st.sampled_from(WILD)) for name in wild}, wild


def make_batch(case: str, config: HyperSETConfig) -> dict[str, torch.Tensor]:
    """Inputs and labels of two samples."""
    if "vocab_size" in CASES[case][1]:
        length = config.max_position_embeddings
        batch = {"input_ids": torch.randint(0, max(1, config.vocab_size - 1), (2, length))}
    else:
        length = config.grid_size[0] * config.grid_size[1]
        batch = {"pixel_values": torch.randn(2, config.num_channels, *config.image_height_width)}
    if case in ("image-classification", "sequence-classification"):
        kind = config.problem_type or ("regression" if config.num_labels == 1 else "single_label_classification")
        if kind == "single_label_classification":
            batch["labels"] = torch.randint(0, config.num_labels, (2,))
        else:
            labels = torch.rand(2, config.num_labels).round()
            batch["labels"] = labels.squeeze(-1) if kind == "regression" else labels
    elif case in ("token-classification", "masked-lm", "causal-lm"):
        classes = config.num_labels if case == "token-classification" else config.vocab_size
        batch["labels"] = torch.randint(0, classes, (2, length))
    elif case in ("masked-pixels", "masked-codes"):
        batch["bool_masked_pos"] = (torch.arange(length) % 2 == 0).expand(2, length)
    return batch


def train_one_step(model, batch) -> None:
    """SGD; loss, gradients and weights are finite."""
    model.train()
    outputs = model(**batch, return_dict=True)
    loss = outputs["loss"] if "loss" in outputs else outputs.last_hidden_state.square().mean()
    assert torch.isfinite(loss), f"a loss of {loss}"
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), f"the gradient of {name}"
            parameter.data -= 1e-3 * parameter.grad.clamp(-1e6, 1e6)


def saved_fields(config: HyperSETConfig) -> dict:
    """The fields as JSON holds them, without what saving adds."""
    added = ("architectures", "auto_map", "transformers_version", "dtype", "_name_or_path")
    return {
        name: value for name, value in json.loads(config.to_json_string(use_diff=False)).items() if name not in added
    }


def check_round_trip(model, batch) -> None:
    """Saved and loaded, the weights, buffers and fields are the same bit for bit, and so are the outputs but for rounding."""
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded, info = type(model).from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    for (name, tensor), (loaded_name, loaded_tensor) in zip(
        [*model.named_parameters(), *model.named_buffers()],
        [*loaded.named_parameters(), *loaded.named_buffers()],
        strict=True,
    ):
        assert name == loaded_name and tensor.dtype == loaded_tensor.dtype and torch.equal(tensor, loaded_tensor), name
    assert saved_fields(model.config) == saved_fields(loaded.config)
    with torch.no_grad():
        outputs, again = (one(**batch, return_dict=True) for one in (model, loaded))
    # Loaded weights lie elsewhere in memory, where a product of matrices may round otherwise.
    tensors, again = (
        {name: value for name, value in one.items() if name != "past_key_values"} for one in (outputs, again)
    )
    torch.testing.assert_close(tensors, again, equal_nan=False)


def examine(case: str, fields: dict, wild: list[str]) -> str:
    """What becomes of a config: `"refused"` or `"trained"`."""
    torch.manual_seed(0)
    try:
        config = HyperSETConfig(**fields)
        model = CASES[case][0](config)
    except ValueError as error:
        named = [name for name in (*fields, "hidden_size") if f"`{name}" in str(error) or f"'{name}'" in str(error)]
        assert named or ("`dtype`" in str(error) and "torch_dtype" in wild), f"{error} names no field"
        return "refused"
    batch = make_batch(case, config)
    train_one_step(model, batch)
    check_round_trip(model, batch)
    return "trained"


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_refused_or_trained(example):
    examine(*example)


@pytest.mark.slow
def test_many_are_refused_or_trained(capsys):
    counts = Counter()

    @settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
    @given(cases())
    def run(example):
        counts[examine(*example)] += 1

    run()
    with capsys.disabled():
        print(f"\nOf {counts.total()} configs {counts['refused']} were refused and {counts['trained']} trained.")
    assert counts["trained"] > 75 and counts["refused"] > 75


@pytest.mark.parametrize("name", [*TAME, *IMAGES, *TOKENS, *INHERITED])
def test_every_field_with_every_wild_value(name):
    """A config or a `ValueError` that names the field, before any tensor is made."""
    for value in WILD:
        kind = {"vocab_size": 9} if name == "max_position_embeddings" else {}
        try:
            HyperSETConfig(**(kind | {name: value}))
        except ValueError as error:
            assert name.removeprefix("torch_") in str(error), f"{name}={value!r}: {error}"


@pytest.mark.parametrize("fields", [{"hidden_size": "32"}, {"output_hidden_states": 1j}, {"id2label": [1]}])
def test_a_wrong_type_is_both_transformers_error_and_a_value_error(fields):
    (name, value), *_ = fields.items()
    with pytest.raises(ValueError, match=name) as caught:
        HyperSETConfig(**fields)
    assert isinstance(caught.value, StrictDataclassError)
    config = HyperSETConfig()
    with pytest.raises(ValueError, match=name):
        setattr(config, name, value)


def test_fields_that_transformers_says_do_not_go_together():
    with pytest.raises(ValueError, match="output_attentions"):
        HyperSETConfig(output_attentions=True, attn_implementation="sdpa")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_iteration": 3}, "`num_iteration`.*Do you mean `num_iterations`"),
        ({"validate": 5}, "`validate` is not a field"),
        ({"attribute_map": {"hidden_size": "patch_size"}}, "`attribute_map` is not a field"),
        ({"__class__": "x"}, "`__class__` is not a field"),
        ({"head_dim": 3}, "`head_dim` is not a field"),
        ({"per_layer_config": {"0": {}}}, "per_layer_config"),
        ({"id2label": {1: "x", 7: "y"}}, "id2label"),
        ({"num_labels": True}, "num_labels"),
        ({"num_labels": 10**10}, "num_labels"),
        ({"dtype": "nn"}, "dtype"),
        ({"image_size": 2**24, "patch_size": 1}, "image_size"),
        ({"patch_size": 2**12, "image_size": 2**12}, "patch_size"),
        ({"output_energies": True, "layer_type": "crate"}, "output_energies"),
        ({"step_size_attention": float("nan")}, "step_size_attention"),
        ({"initializer_range": float("nan")}, "initializer_range"),
        ({"initializer_range": float("inf")}, "initializer_range"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
    ],
    ids=str,
)
def test_refused_by_name(fields, message):
    with pytest.raises(ValueError, match=message):
        HyperSETConfig(**fields)


def test_what_a_newer_transformers_may_add_is_kept():
    config = HyperSETConfig(some_new_thing=[1, 2], quantization_config={"bits": 4})
    assert config.some_new_thing == [1, 2] and config.to_dict()["some_new_thing"] == [1, 2]


def test_baselines_without_energies_say_so_before_they_run():
    config = HyperSETConfig(image_size=8, patch_size=4, hidden_size=8, num_attention_heads=2, layer_type="transformer")
    config.output_energies = True
    with pytest.raises(ValueError, match="output_energies"):
        HyperSETForImageClassification(config)
