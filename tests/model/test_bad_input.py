# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Bad input is refused with an error that names the argument."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification, HyperSETModel
from modeling_hyperset.modeling_hyperset import AUTO_CLASSES
from support.builders import CASES, IMAGES, SMALL, TEXT, make_config, make_inputs, make_model


BAD_FIELDS = [
    ({"num_attention_heads": 5}, "num_attention_heads"),
    ({"num_iterations": 0}, "num_iterations"),
    ({"num_hidden_layers": -1}, "num_hidden_layers"),
    ({"hidden_size": 0}, "hidden_size"),
    ({"intermediate_size": 0}, "intermediate_size"),
    ({"num_channels": 0}, "num_channels"),
    ({"patch_size": 5}, "image_size"),
    ({"image_size": [12, 13]}, "image_size"),
    ({"image_size": [12]}, "image_size"),
    ({"image_size": 0}, "image_size"),
    ({"hidden_size": 33, "num_attention_heads": 3}, "hidden_size"),
    ({"hidden_size": 30, "num_attention_heads": 3, "position_embedding_type": "sinusoidal_2d"}, "hidden_size"),
    ({"position_embedding_type": "rotary"}, "position_embedding_type"),
    ({"pooling": "max"}, "pooling"),
    ({"norm_type": "none"}, "norm_type"),
    ({"sublayer_norm_type": "none"}, "sublayer_norm_type"),
    ({"attention_beta": 0.0}, "attention_beta"),
    ({"attention_beta": float("nan")}, "attention_beta"),
    ({"hidden_act": "swish"}, "hidden_act"),
    ({"step_size_type": "annealed"}, "step_size_type"),
    ({"step_size_condition": "x0"}, "step_size_condition"),
    ({"step_size_time_network": "big"}, "step_size_time_network"),
    ({"step_size_time_init": "ones"}, "step_size_time_init"),
    ({"step_size_time_dim": 7}, "step_size_time_dim"),
    ({"step_size_time_dim": 2}, "step_size_time_dim"),
    ({"step_size_time_network": "none"}, "step_size_time_dim"),
    ({"embedding_dropout": 1.0}, "embedding_dropout"),
    ({"initializer_range": -0.1}, "initializer_range"),
    ({"vocab_size": 0}, "vocab_size"),
    ({"num_labels": 0}, "num_labels"),
    ({"vocab_size": 9, "max_position_embeddings": 0}, "max_position_embeddings"),
    ({"vocab_size": 9, "max_position_embeddings": 15, "position_embedding_type": "sinusoidal_2d"}, "max_position"),
]


@pytest.mark.parametrize(("fields", "name"), BAD_FIELDS, ids=str)
def test_config_refuses(fields, name):
    with pytest.raises(ValueError, match=name):
        make_config(**fields)


@pytest.mark.parametrize("name", ["attention_energy", "feedforward_energy", "update_rule"])
def test_a_model_refuses_names_that_nobody_registered(name, tmp_path):
    """A config takes them: the file that registers them may come later."""
    config = make_config(**{name: "mine"})
    config.save_pretrained(tmp_path)
    for loaded in (config, HyperSETConfig.from_pretrained(tmp_path)):
        with pytest.raises(ValueError, match=f"`{name}` must be one of .*, got 'mine'"):
            HyperSETModel(loaded)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, "fused, eager, sdpa"),
        ({"attention_energy": "linear"}, "eager"),
        ({"attention_energy": "sigmoid"}, "eager"),
        ({"layer_type": "transformer"}, "sdpa, eager"),
        ({"layer_type": "energy_transformer"}, "eager"),
    ],
)
def test_attention_implementations_that_would_do_nothing(fields, names):
    model = make_model("images", **fields)
    assert model.config._attn_implementation == names.split(", ")[0]
    for name in {"fused", "eager", "sdpa", "flash_attention_2"} - set(names.split(", ")):
        with pytest.raises(ValueError, match=f"{name}.*must be one of {names}"):
            model.set_attn_implementation(name)


@pytest.mark.parametrize(
    "fields",
    [{"hidden_size": "32"}, {"num_iterations": 2.5}, {"num_iterations": True}, {"pooling": 3}, {"vocab_size": "x"}],
)
def test_config_refuses_wrong_types(fields):
    with pytest.raises((ValueError, StrictDataclassError), match=next(iter(fields))):
        make_config(**fields)


def test_config_changed_after_it_was_made():
    config = make_config()
    config.num_attention_heads = 5
    with pytest.raises(ValueError, match="num_attention_heads"):
        HyperSETModel(config)


@pytest.mark.parametrize("num_iterations", [0, -1, 2.0, True, "3"])
def test_num_iterations_in_a_call(num_iterations):
    with pytest.raises(ValueError, match="num_iterations"):
        make_model("images")(**make_inputs("images"), num_iterations=num_iterations)


@pytest.mark.parametrize(
    "auto_class", [name for name in AUTO_CLASSES if name not in ("AutoModel", "AutoModelForMaskedImageModeling")]
)
def test_heads_refuse_the_other_kind_of_input(auto_class):
    kind = TEXT if auto_class in ("AutoBackbone", "AutoModelForImageClassification") else IMAGES
    with pytest.raises(ValueError, match="vocab_size"):
        AUTO_CLASSES[auto_class](HyperSETConfig(**(SMALL | kind)))


def test_both_or_neither_input():
    images, tokens = make_model("images"), make_model("tokens")
    pixel_values, input_ids = torch.randn(1, 3, 12, 12), torch.zeros(1, 4, dtype=torch.long)
    for model, inputs in [
        (images, {}),
        (tokens, {}),
        (images, {"pixel_values": pixel_values, "input_ids": input_ids}),
        (tokens, {"pixel_values": pixel_values, "input_ids": input_ids}),
        (tokens, {"input_ids": input_ids, "inputs_embeds": torch.randn(1, 4, 32)}),
        (images, {"input_ids": input_ids}),
        (tokens, {"pixel_values": pixel_values}),
    ]:
        with pytest.raises(ValueError, match="exactly one of"):
            model(**inputs)


@pytest.mark.parametrize(
    ("pixel_values", "message"),
    [
        (torch.randn(2, 3, 16, 12), "interpolate_pos_encoding"),
        (torch.randn(2, 1, 12, 12), r"\(batch_size, 3, height, width\)"),
        (torch.randn(3, 12, 12), r"\(batch_size, 3, height, width\)"),
        (torch.zeros(2, 3, 12, 12, dtype=torch.uint8), "floating point"),
    ],
    ids=["size", "channels", "dimensions", "dtype"],
)
def test_pixel_values(pixel_values, message):
    with pytest.raises(ValueError, match=f"pixel_values.*{message}"):
        make_model("images")(pixel_values=pixel_values)


@pytest.mark.parametrize("size", [(13, 12), (2, 12), (0, 12)])
def test_interpolated_size_is_a_multiple_of_the_patch(size):
    with pytest.raises(ValueError, match=r"pixel_values.*patch_size"):
        make_model("images")(pixel_values=torch.randn(1, 3, *size), interpolate_pos_encoding=True)


@pytest.mark.parametrize("ids", [[[0, 20]], [[-1, 3]]])
@pytest.mark.parametrize("case", ["tokens", "sequence-classification", "masked-lm"])
def test_ids_outside_the_vocabulary(ids, case):
    with pytest.raises(ValueError, match=r"input_ids.*vocab_size=20"):
        make_model(case)(input_ids=torch.tensor(ids))


def test_ids_of_another_kind():
    model = make_model("tokens")
    for ids, message in [
        (torch.zeros(4, dtype=torch.long), "shape"),
        (torch.zeros(2, 4), "integers"),
        (torch.zeros(2, 17, dtype=torch.long), "max_position_embeddings"),
        (torch.zeros(2, 0, dtype=torch.long), "shape"),
    ]:
        with pytest.raises(ValueError, match=f"input_ids.*{message}"):
            model(input_ids=ids)
    for embeds in (torch.randn(2, 4, 31), torch.randn(2, 0, 32), torch.randn(2, 17, 32), torch.ones(2, 4, 32).long()):
        with pytest.raises(ValueError, match="inputs_embeds"):
            model(inputs_embeds=embeds)
    with pytest.raises(ValueError, match="whole grid"):
        make_model("masked-codes")(input_ids=torch.zeros(1, 9, dtype=torch.long))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 15), "shape"),
        (torch.ones(1, 16), "shape"),
        (torch.ones(2, 1, 1, 16), "shape"),
        (torch.zeros(2, 16).masked_fill(torch.arange(16) > 4, -1e9), "1 for tokens"),
        (torch.arange(16).expand(2, -1), "1 for tokens"),
    ],
    ids=["short", "broadcast", "4d", "additive", "positions"],
)
def test_attention_mask(mask, message):
    with pytest.raises(ValueError, match=f"attention_mask.*{message}"):
        make_model("sequence-classification")(**make_inputs("tokens"), attention_mask=mask)


@pytest.mark.parametrize(
    ("case", "labels", "fields"),
    [
        ("image-classification", torch.tensor([0, 5]), {}),
        ("image-classification", torch.tensor([0, -1]), {}),
        ("image-classification", torch.tensor([0]), {}),
        ("image-classification", torch.tensor([[0], [1]]), {}),
        ("image-classification", torch.tensor([0.0, 1.0]), {}),
        ("image-classification", torch.zeros(2, 4), {"problem_type": "multi_label_classification"}),
        ("image-classification", torch.zeros(2, 5, dtype=torch.long), {"problem_type": "multi_label_classification"}),
        ("sequence-classification", torch.tensor([0, 5]), {}),
        ("sequence-classification", torch.tensor([0.5, 1.0, 2.0]), {"num_labels": 1}),
        ("sequence-classification", torch.tensor([1, 2]), {"num_labels": 1}),
        ("token-classification", torch.full((2, 16), 5), {}),
        ("token-classification", torch.full((2, 16), -2), {}),
        ("token-classification", torch.zeros(2, 15, dtype=torch.long), {}),
        ("token-classification", torch.zeros(2, 16), {}),
        ("masked-lm", torch.full((2, 16), 20), {}),
        ("masked-codes", torch.full((2, 16), 19), {}),
        ("masked-pixels", torch.zeros(2, 9, dtype=torch.long), {}),
    ],
)
def test_labels(case, labels, fields):
    with pytest.raises(ValueError, match="labels"):
        make_model(case, **fields)(**make_inputs(case), labels=labels)


def test_bool_masked_pos():
    for case, tokens in (("masked-pixels", 9), ("masked-codes", 16)):
        model, inputs = make_model(case), make_inputs(case)
        for shape in ((2, tokens + 1), (1, tokens), (tokens,), (2, 2, tokens // 2), (2, tokens, 1, 1)):
            with pytest.raises(ValueError, match="bool_masked_pos"):
                model(**inputs, bool_masked_pos=torch.ones(shape, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"bool_masked_pos.*mask token"):
        make_model("images")(**make_inputs("images"), bool_masked_pos=torch.ones(2, 9, dtype=torch.bool))


def test_codes():
    model = make_model("masked-codes")
    for codes in (torch.full((1, 16), 20), torch.zeros(16).long(), torch.zeros(1, 2, 8).long()):
        with pytest.raises(ValueError, match="input_ids"):
            model(input_ids=codes)
    already = torch.full((1, 16), model.mask_token_id)
    with pytest.raises(ValueError, match=r"input_ids.*codebook"):
        model(input_ids=already, bool_masked_pos=torch.ones(1, 16, dtype=torch.bool))
    with pytest.raises(ValueError, match="labels"):
        model(input_ids=already, labels=torch.zeros(16).long())
    with pytest.raises(AttributeError, match="mask_token_id"):
        make_model("masked-pixels").mask_token_id  # noqa: B018


@pytest.mark.parametrize("case", ["tokens", "sequence-classification", "masked-codes"])
def test_arguments_for_images_given_to_a_model_of_tokens(case):
    model, inputs = make_model(case), make_inputs(case)
    with pytest.raises(ValueError, match="interpolate_pos_encoding"):
        model(**inputs, interpolate_pos_encoding=True)
    if case != "masked-codes":
        with pytest.raises(ValueError, match="bool_masked_pos"):
            model(**inputs, bool_masked_pos=torch.ones(2, 16, dtype=torch.bool))


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_tensor(case):
    """Lists and arrays of NumPy, in the place of any tensor."""
    inputs = make_inputs(case, labels=case not in ("images", "tokens"))
    if case in ("tokens", "sequence-classification", "token-classification", "masked-lm"):
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    model = make_model(case)
    model(**inputs)
    for name, tensor in inputs.items():
        for value in (tensor.tolist(), tensor.numpy()):
            with pytest.raises(ValueError, match=f"`{name}` must be a tensor, got (list|ndarray)"):
                model(**inputs | {name: value})


def test_things_an_image_model_does_not_have():
    with pytest.raises(ValueError, match="vocab_size=None"):
        make_model("image-classification").resize_token_embeddings(7)
    for wrong in ([0, 4], 4, [-5], ["all"]):
        with pytest.raises(ValueError, match="output_hidden_states"):
            make_model("images")(**make_inputs("images"), output_hidden_states=wrong)


def test_masked_codes_need_a_code():
    with pytest.raises(ValueError, match="vocab_size"):
        AUTO_CLASSES["AutoModelForMaskedImageModeling"](make_config(vocab_size=1))


@pytest.mark.parametrize("case", ["images", "image-classification", "masked-pixels"])
def test_arguments_that_do_not_exist(case):
    with pytest.raises(TypeError, match="num_iteration"):
        make_model(case)(**make_inputs(case), num_iteration=3)


OPTIONS = {
    "position_embedding_type": ["sinusoidal", "sinusoidal_2d", "learned", "else"],
    "pooling": ["cls", "mean"],
    "norm_type": ["layernorm", "rmsnorm"],
    "hidden_act": ["relu", "gelu"],
    "step_size_type": ["learned", "fixed"],
    "step_size_condition": ["current", "initial"],
    "step_size_time_network": ["normed_mlp", "mlp", "none"],
    "step_size_time_dim": [3, 4, 8, 12],
    "step_size_token_norm": [True, False],
    "step_size_sum_norm": [True, False],
    "step_size_per_layer": [True, False],
    "shared_qkv_norm": [True, False],
    "patch_embedding_norm": [True, False],
    "hidden_size": [1, 4, 8, 12],
    "num_attention_heads": [1, 2, 3],
    "intermediate_size": [None, 1, 7],
    "num_hidden_layers": [1, 2],
    "num_iterations": [0, 1, 3],
    "image_size": [8, (4, 12), 9],
    "patch_size": [2, 4],
}


@given(fields=st.fixed_dictionaries({name: st.sampled_from(values) for name, values in OPTIONS.items()}))
def test_every_config_is_refused_or_trains(fields):
    try:
        config = HyperSETConfig(num_labels=3, **fields)
    except ValueError as error:
        assert "`" in str(error)  # the message names a field
        return
    torch.manual_seed(0)
    model = HyperSETForImageClassification(config).train()
    pixel_values = torch.randn(2, 3, *config.image_height_width)
    loss = model(pixel_values=pixel_values, labels=torch.tensor([0, 2])).loss
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("case", ["image-classification", "token-classification"])
def test_values_that_are_not_there_are_not_checked(case):
    """Of fake tensors, as planners of memory use them, shapes alone are known."""
    model = make_model(case)
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs = {name: torch.empty_like(tensor) for name, tensor in make_inputs(case, labels=True).items()}
        assert model(**inputs).logits.shape[0] == 2
