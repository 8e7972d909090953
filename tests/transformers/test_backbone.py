# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Feature maps of chosen iterations, as transformers' heads for detection, segmentation and depth take them."""

import json

import pytest
import torch

from modeling_hyperset import HyperSETBackbone, HyperSETConfig, HyperSETForImageClassification, HyperSETModel
from support.builders import make_config, make_inputs, make_model, wake
from transformers import (
    AutoBackbone,
    AutoConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)


def make_backbone(**fields) -> HyperSETBackbone:
    return wake(AutoBackbone.from_config(make_config(**fields))).eval()


@pytest.mark.parametrize(
    "fields", [{}, {"pooling": "mean"}, {"num_hidden_layers": 2}, {"layer_type": "crate"}], ids=str
)
def test_feature_maps_are_the_tokens_of_their_iterations(fields):
    backbone = make_backbone(**fields)
    last = len(backbone.stage_names) - 1
    assert backbone.stage_names == ["stem", *(f"stage{index}" for index in range(1, last + 1))]
    assert backbone.out_features == backbone.stage_names[-1:] and backbone.out_indices == [last]
    backbone.out_indices = (0, 2, last)
    assert backbone.out_features == ["stem", "stage2", f"stage{last}"] and backbone.channels == [32, 32, 32]
    images = make_inputs("images")["pixel_values"]
    outputs = backbone(images)
    assert outputs.hidden_states is None and outputs.attentions is None and len(outputs.feature_maps) == 3
    base = backbone.hyperset(pixel_values=images, output_hidden_states=True)
    for feature_map, index in zip(outputs.feature_maps, backbone.out_indices, strict=True):
        assert feature_map.shape == (2, 32, 3, 3)
        tokens = backbone.hyperset.norm(base.hidden_states[index])[:, -9:]
        for patch in range(9):
            torch.testing.assert_close(feature_map[:, :, patch // 3, patch % 3], tokens[:, patch])
    torch.testing.assert_close(outputs.feature_maps[-1].flatten(2).mT, base.last_hidden_state[:, -9:])
    recorded = backbone(images, output_hidden_states=True, output_attentions=True)
    assert len(recorded.hidden_states) == last + 1 and len(recorded.attentions) == last
    assert torch.equal(backbone(images, return_dict=False)[0][0], outputs.feature_maps[0])


def test_images_of_other_sizes():
    backbone = make_backbone(out_features=["stage1"])
    (feature_map,) = backbone(torch.randn(1, 3, 16, 8)).feature_maps
    assert feature_map.shape == (1, 32, 4, 2)
    with pytest.raises(ValueError, match="pixel_values"):
        backbone(torch.randn(1, 3, 16, 7))


def test_gradients_reach_what_a_stage_depends_on():
    backbone = make_backbone(out_features=["stem", "stage2"]).train()
    images = make_inputs("images")["pixel_values"].requires_grad_()
    stem, second = backbone(images).feature_maps
    stem[:, :, 0, 0].sum().backward(retain_graph=True)
    assert backbone.hyperset.layers[0].attention.bases.weight.grad is None
    assert images.grad[:, :, :4, :4].abs().sum() > 0 and images.grad[:, :, 4:].abs().sum() == 0
    second[:, 0, 0, 0].sum().backward()
    assert backbone.hyperset.layers[0].attention.bases.weight.grad.abs().sum() > 0
    assert images.grad[:, :, 8:, 8:].abs().sum() > 0


def test_from_the_folder_of_a_classifier(tmp_path):
    """transformers' `AutoBackbone.from_pretrained` takes names on the Hub only, of any model; the class takes folders."""
    model, inputs = make_model("image-classification"), make_inputs("images")
    model.save_pretrained(tmp_path / "classifier")
    backbone, loading = HyperSETBackbone.from_pretrained(
        tmp_path / "classifier", out_features=["stem", "stage3"], output_loading_info=True
    )
    assert not loading["missing_keys"] and backbone.out_indices == [0, 3]
    wanted = model.hyperset(**inputs).last_hidden_state[:, 1:]
    maps = backbone(**inputs).feature_maps
    torch.testing.assert_close(maps[1].flatten(2).mT, wanted)
    backbone.save_pretrained(tmp_path / "backbone")
    config = AutoConfig.from_pretrained(tmp_path / "backbone")
    assert config.out_features == ["stem", "stage3"]
    assert json.loads((tmp_path / "backbone" / "config.json").read_text())["auto_map"]["AutoBackbone"]
    again = HyperSETBackbone.from_pretrained(tmp_path / "backbone")
    assert all(torch.equal(a, b) for a, b in zip(again(**inputs).feature_maps, maps, strict=True))
    deeper = HyperSETBackbone.from_pretrained(tmp_path / "classifier", num_iterations=5)
    assert deeper.out_features == ["stage5"] and deeper.num_features == [32] * 6


@pytest.mark.parametrize(
    "fields",
    [
        {"out_features": ["stage4"]},
        {"out_features": ["stage2", "stage1"]},
        {"out_features": "stem"},
        {"out_indices": [0, 7]},
        {"out_indices": [1, 1]},
        {"out_features": ["stem"], "out_indices": [1]},
    ],
    ids=str,
)
def test_stages_that_do_not_exist(fields):
    with pytest.raises(ValueError, match=r"out_(features|indices)"):
        make_config(**fields)


def test_text_has_no_feature_maps():
    config = make_config(vocab_size=7)
    assert config.out_features is None and config.out_indices is None
    with pytest.raises(ValueError, match=r"`vocab_size` must be None.*, got 7"):
        AutoBackbone.from_config(config)
    with pytest.raises(ValueError, match="out_features"):
        make_config(vocab_size=7, out_indices=[0])


def test_stages_follow_the_number_of_iterations():
    config = HyperSETConfig(num_iterations=12)
    config.num_iterations = 4
    assert config.out_features == ["stage4"] and config.out_indices == [4]
    HyperSETModel(make_config(out_features=["stage3"], num_iterations=3))
    config = make_config(out_features=["stage3"])
    config.num_iterations = 2
    HyperSETForImageClassification(config)  # which asks for no feature map
    with pytest.raises(ValueError, match="stage3"):
        HyperSETBackbone(config)


def test_upernet_segments_with_it(tmp_path):
    """A semantic segmentation head of transformers, trained one step, saved and loaded."""
    config = UperNetConfig(
        backbone_config=make_config(out_features=["stem", "stage1", "stage2", "stage3"]),
        hidden_size=8, pool_scales=[1, 2], auxiliary_channels=8, auxiliary_in_channels=32, num_labels=4,
    )  # fmt: skip
    model = UperNetForSemanticSegmentation(config)
    wake(model.backbone)
    inputs = make_inputs("images") | {"labels": torch.arange(144).view(12, 12).expand(2, -1, -1) % 4}
    loss = model(**inputs).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in model.backbone.hyperset.layers.parameters())
    model.save_pretrained(tmp_path)
    loaded = UperNetForSemanticSegmentation.from_pretrained(tmp_path)
    assert isinstance(loaded.backbone, HyperSETBackbone)
    logits = model.eval()(inputs["pixel_values"]).logits
    assert logits.shape == (2, 4, 12, 12)
    torch.testing.assert_close(loaded(inputs["pixel_values"]).logits, logits)


def test_mask2former_segments_with_it():
    """Queries over a pixel decoder, which reads four maps."""
    config = Mask2FormerConfig(
        backbone_config=make_config(out_features=["stem", "stage1", "stage2", "stage3"]),
        feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16, dim_feedforward=16,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=5, num_labels=3,
    )  # fmt: skip
    outputs = Mask2FormerForUniversalSegmentation(config)(torch.randn(1, 3, 12, 12))
    assert outputs.masks_queries_logits.shape == (1, 5, 3, 3)
