# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""accelerate fetches weights for a module's call and drops them after it: no weight may be used outside such a call."""

import pytest
import torch

import transformers
from accelerate import (
    cpu_offload,
    disk_offload,
    infer_auto_device_map,
    init_empty_weights,
    load_checkpoint_and_dispatch,
)
from support.builders import AUTO_OF_CASE, CASES, main_output, make_inputs, make_model


VARIANTS = [("images", {"layer_type": name}) for name in ("transformer", "crate", "crate_t", "energy_transformer")]
VARIANTS += [("tokens", {"lora_rank": 2, "num_hidden_layers": 2}), ("tokens", {"shared_qkv_norm": True})]
VARIANTS += [("images", {"step_size_condition": "initial"})]


def outputs_of(model, case: str) -> list[torch.Tensor]:
    """The main output, and the energies of a layer that has them."""
    torch.manual_seed(1)
    with torch.no_grad():
        outputs = model(**make_inputs(case), output_energies=model.config.has_energies)
    return [main_output(outputs), *(outputs.energies or ())]


def assert_equal(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    for tensor, expected in zip(got, wanted, strict=True):
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize(("case", "fields"), [*((case, {}) for case in CASES), *VARIANTS], ids=str)
def test_offloaded_weights_compute_the_same(case, fields, tmp_path):
    for offload in (cpu_offload, lambda model: disk_offload(model, tmp_path)):
        model = make_model(case, **fields)
        wanted = outputs_of(model, case)
        offload(model)
        assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
        assert_equal(outputs_of(model, case), wanted)
        assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize("case", ["image-classification", "masked-lm"])
def test_device_maps(case, tmp_path):
    """From a folder: a map by hand, layers on the disk; accelerate's own, made for little memory; and its loader."""
    model = make_model(case, num_hidden_layers=2)
    wanted = outputs_of(model, case)
    model.save_pretrained(tmp_path / "model")
    auto = getattr(transformers, AUTO_OF_CASE[case])
    parts = [f"hyperset.{name}" for name, _ in model.hyperset.named_children()]
    parts += [name for name, _ in model.named_children() if name != "hyperset"]
    by_hand = {name: "disk" if name == "hyperset.layers" else "cpu" for name in parts}
    loaded = auto.from_pretrained(tmp_path / "model", device_map=by_hand, offload_folder=tmp_path / "by-hand").eval()
    assert {parameter.device.type for parameter in loaded.hyperset.layers.parameters()} == {"meta"}
    assert_equal(outputs_of(loaded, case), wanted)

    with init_empty_weights():
        empty = auto.from_config(model.config)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    empty.tie_weights()
    kilobytes = sum(parameter.nbytes for parameter in model.parameters()) // 2
    device_map = infer_auto_device_map(
        empty, max_memory={"cpu": kilobytes, "disk": 10**9}, no_split_module_classes=list(empty._no_split_modules)
    )
    assert set(device_map.values()) == {"cpu", "disk"}
    assert not any(".layers.0." in name for name in device_map)  # a layer is kept whole
    loaded = load_checkpoint_and_dispatch(empty, tmp_path / "model", device_map, offload_folder=tmp_path / "auto")
    assert_equal(outputs_of(loaded.eval(), case), wanted)


def test_adapters_cannot_be_merged_into_weights_that_are_away():
    model = make_model("images", lora_rank=2, num_iterations=1, num_hidden_layers=2)
    cpu_offload(model)
    with pytest.raises(ValueError, match="meta"):
        model.merge_adapters()
