# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The paper's models have the paper's numbers of parameters, to the digit."""

import pytest

from modeling_hyperset import HyperSETConfig, presets
from modeling_hyperset.presets import PRESETS, count_parameters, preset_config


# Counts of the authors' program; the paper rounds them (Tables 1, 2, 3, 5, 8, 16, 17 and 22).
COUNTS = {
    "imagenet-small": 1_551_808,
    "imagenet-small-fixed-step": 909_760,
    # Table 17's other rows, as torch's norms have gains and biases: no program of them is released.
    "imagenet-small-pre-norm": 1_551_808 - (3 * 64 + 384) + 2 * 384,
    "imagenet-small-layernorm": 1_551_808 + 3 * 64 + 384,
    "imagenet-small-pre-norm-layernorm": 1_551_808 - (3 * 64 + 384) + 2 * 2 * 384,
    "imagenet-small-fixed-step-pre-norm": 909_760 - (3 * 64 + 384) + 2 * 384,
    "imagenet-small-fixed-step-layernorm": 909_760 + 3 * 64 + 384,
    "imagenet-small-fixed-step-pre-norm-layernorm": 909_760 - (3 * 64 + 384) + 2 * 2 * 384,
    "imagenet-small-scaled-up": 2_395_968,
    "imagenet-wide": 3_403_968,
    "imagenet-small-scaled-up-12-layers": 8_170_880,
    "imagenet-base-12-layers": 17_562_496,
    "imagenet-small-transformer": 2_383_336,
    "imagenet-small-crate": 1_056_616,
    "imagenet-small-crate-t": 908_776,
    "imagenet-small-energy-transformer": 1_497_449,
    "imagenet100-small-scaled-up": 1_934_268,
    "imagenet100-small-scaled-up-lora-4": 2_032_572,
    "imagenet100-small-scaled-up-lora-8": 2_130_876,
    "imagenet100-small-scaled-up-lora-16": 2_327_484,
    "imagenet100-small-scaled-up-lora-32": 2_720_700,
    "sudoku": 5_195_584,
    "mim-base": 3_937_856,
    "mim-base-wide": 8_072_000,
    "yelp-small": 12_660_677,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    assert count_parameters(name) == COUNTS[name]


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.paper_parameters != "–"])
def test_counts_are_the_papers(name):
    """Rounded as the paper rounds, or truncated, as it does with 2,395,968 = 2.39 M."""
    paper = PRESETS[name].paper_parameters.removesuffix(" M")
    digit = 10.0 ** -len(paper.split(".")[1])
    assert abs(count_parameters(name) / 1e6 - float(paper)) < digit


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "imagenet100"])
def test_models_of_tables_1_and_2_on_other_data_are_those_of_imagenet(data):
    """The paper counts them on ImageNet-1K: with its images, classes and step sizes they have that count."""
    names = [*presets.TABLE_1, *(presets.TABLE_2 if data.startswith("cifar") else ())]
    for name in names:
        own, imagenet = (PRESETS[f"{prefix}-{name}"].config for prefix in (data, "imagenet"))
        pixels = {"image_size": 224, "patch_size": 14} if data.startswith("cifar") else {}
        same = {field: value for field, value in own.items() if field != "step_size_sum_norm"}
        assert same | {"num_labels": 1000} | pixels == imagenet | pixels, name
        assert preset_config(f"{data}-{name}").num_labels == (10 if data == "cifar10" else 100)


def test_default_config_is_the_base_image_classifier():
    base = preset_config("imagenet-base").to_dict()
    default = HyperSETConfig(num_labels=1000).to_dict()
    assert base == default
    config = HyperSETConfig()
    assert (config.hidden_size, config.num_attention_heads, config.intermediate_size) == (768, 12, 768)
    assert (config.num_hidden_layers, config.num_iterations, config.image_size, config.num_positions) == (
        1,
        12,
        224,
        257,
    )


def test_overrides_and_unknown_names():
    assert preset_config("sudoku", num_iterations=3).num_iterations == 3
    with pytest.raises(ValueError, match="imagenet-tiny"):
        preset_config("imagenet-tiny")


def test_command_prints_the_table(capsys):
    presets.main()
    printed = capsys.readouterr().out
    for name, count in COUNTS.items():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"{name} "))
        assert f"{count:,}" in line and PRESETS[name].paper_parameters in line


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("causal-") and name != "causal-base"])
def test_siblings_have_equal_parameters(name):
    beside = "causal-base" if name.startswith("causal-base-") else "causal-12-layers-transformer"
    assert abs(count_parameters(name) / count_parameters(beside) - 1) < 1e-3
