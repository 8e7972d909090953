# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What random views and mixes are, and the losses that are taken with them."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from hyperset_lab.draws import RandomExamples, StreamedExamples, numbers
from hyperset_lab.trainer import ScriptTrainer, ScriptTrainingArguments
from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification
from transformers import ViTImageProcessorPil


SCRIPTS = Path(__file__).parents[2] / "scripts"
BILINEAR = Image.Resampling.BILINEAR


@pytest.fixture(scope="module")
def augmentation():
    yield importlib.import_module("hyperset_lab.images.augmentation")


def processor_of(height: int, width: int, **options) -> ViTImageProcessorPil:
    return ViTImageProcessorPil(size={"height": height, "width": width}, **options)


def picture(width: int = 12, height: int = 10) -> Image.Image:
    """No two pixels alike."""
    return Image.fromarray(
        np.arange(1, 3 * width * height + 1, dtype=np.uint16).astype(np.uint8).reshape(height, width, 3)
    )


def test_without_flags_only_the_size_changes(augmentation):
    view = augmentation.RandomView(augmentation.AugmentationArguments(), (5, 6), processor_of(5, 6))
    assert not view.arguments.varies_images and not view.arguments.mixes
    assert view(picture(), numbers(0)).tobytes() == picture().resize((6, 5), BILINEAR).tobytes()


def test_half_of_the_images_are_mirrored(augmentation):
    view = augmentation.RandomView(
        augmentation.AugmentationArguments(random_flip=True), (10, 12), processor_of(10, 12)
    )
    mirrored = picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()
    seen = [view(picture(), numbers(seed)).tobytes() for seed in range(200)]
    assert set(seen) == {picture().tobytes(), mirrored} and 70 < seen.count(mirrored) < 130


def test_padded_crops_are_shifts_by_up_to_the_padding(augmentation):
    arguments = augmentation.AugmentationArguments(random_crop="padded", crop_padding=2)
    view = augmentation.RandomView(arguments, (10, 12), processor_of(10, 12))
    padded = np.pad(np.asarray(picture()), ((2, 2), (2, 2), (0, 0)))
    shifts = {padded[top : top + 10, left : left + 12].tobytes() for top in range(5) for left in range(5)}
    seen = {view(picture(), numbers(seed)).tobytes() for seed in range(300)}
    assert seen == shifts and len(shifts) == 25


@pytest.mark.parametrize("crop", [None, "padded"])
def test_views_show_the_part_that_is_evaluated(augmentation, crop):
    """Its centre, where the processor crops: not the whole image, squeezed."""
    side, cut = 8, {"do_center_crop": True, "crop_size": {"height": 8, "width": 8}}
    processor = ViTImageProcessorPil(size={"shortest_edge": 10}, **cut)
    arguments = augmentation.AugmentationArguments(random_crop=crop, crop_padding=1, random_flip=True)
    for image in (picture(40, 20), picture(side, side)):
        pixels = processor([image], do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
        view = augmentation.RandomView(arguments, (side, side), processor)
        seen = np.asarray(view(image, numbers(3)))
        expected = pixels.transpose(1, 2, 0).astype(np.uint8)
        shifts = [np.pad(expected, ((1, 1), (1, 1), (0, 0)))[top : top + side, left : left + side]
                  for top in range(3) for left in range(3)]  # fmt: skip
        assert any(np.array_equal(seen, one) or np.array_equal(seen, one[:, ::-1]) for one in shifts)


def test_statistics_are_those_of_a_new_processor(augmentation):
    build_processor = importlib.import_module("hyperset_lab.images.task").build_processor
    arguments = augmentation.AugmentationArguments(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], crop_pct=0.5)
    model = SimpleNamespace(model_name_or_path=None)
    processor = build_processor(model, HyperSETConfig(image_size=8, patch_size=4), arguments)
    assert [*processor.image_mean, *processor.image_std] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    model.model_name_or_path = "a checkpoint"
    arguments.crop_pct = None
    with pytest.raises(ValueError, match="`--image_mean` is for a new image processor"):
        build_processor(model, None, arguments)
    refuse = importlib.import_module("hyperset_lab.masked_images.data").refuse_statistics
    with pytest.raises(ValueError, match="`--image_mean` is not for a VQ model"):
        refuse(arguments)


@pytest.mark.parametrize(
    "values", [{"image_mean": [0.5]}, {"image_std": [1.0, 0.0, 1.0]}, {"image_mean": [0.5, 0.5, float("nan")]}]
)
def test_statistics_that_make_no_sense_are_refused(augmentation, values):
    with pytest.raises(ValueError, match=r"`--image_(mean|std)` must be three numbers"):
        augmentation.AugmentationArguments(**values)


@settings(max_examples=100)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    seed=st.integers(0, 2**31),
    scale=st.tuples(st.floats(0.05, 1.0), st.floats(0.05, 1.0)).map(sorted),
)
def test_resized_crops_lie_inside_and_have_their_area_and_shape(augmentation, width, height, seed, scale):
    box = augmentation.random_box((width, height), scale, numbers(seed))
    left, top, right, bottom = box
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    wide, high = right - left, bottom - top
    # Up to rounding to whole pixels; the largest central part where no share of the area fits.
    assert (3 / 4 <= (wide + 0.5) / (high - 0.5) and (wide - 0.5) / (high + 0.5) <= 4 / 3) or min(wide, high) == 1
    central = wide in (width, round(height * 4 / 3)) and high in (height, round(width * 4 / 3))
    least, most = (share * width * height for share in scale)
    assert central or ((wide + 0.5) * (high + 0.5) >= least and (wide - 0.5) * (high - 0.5) <= most)


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_auto_augment_varies_and_leaves_the_global_random_numbers_alone(augmentation, policy):
    pytest.importorskip("kornia")
    view = augmentation.RandomView(
        augmentation.AugmentationArguments(auto_augment=policy), (16, 16), processor_of(16, 16)
    )
    image = picture(16, 16)
    state = torch.get_rng_state()
    first = [view(image, numbers(seed)).tobytes() for seed in range(12)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert [view(image, numbers(seed)).tobytes() for seed in range(12)] == first
    assert len(set(first)) > 4 and {len(pixels) for pixels in first} == {16 * 16 * 3}


def test_views_are_a_function_of_seed_epoch_and_index(augmentation):
    data = Dataset.from_dict({"value": list(range(4))})

    def read(seed, epoch, indices):
        images = RandomExamples(data, lambda example, rng: (example["value"], rng.random()), seed)
        images.set_epoch(epoch)
        return [images[index] for index in indices]

    assert read(0, 0, [0, 1, 2, 3]) == read(0, 0, [3, 2, 1, 0])[::-1]
    values = [value for seed in (0, 1) for epoch in (0, 1) for _, value in read(seed, epoch, range(4))]
    assert len(set(values)) == 16


def test_streams_repeat_and_shuffle_anew(augmentation):
    data = Dataset.from_dict({"value": list(range(8))}).to_iterable_dataset().shuffle(seed=0, buffer_size=8)

    def read(count, repeat=True):
        stream = StreamedExamples(data, lambda example, rng: (example["value"], rng.random()), 0, repeat)
        return [example for example, _ in zip(stream, range(count), strict=False)]

    first = read(24)
    assert first == read(24) and len({value for _, value in first}) == 24
    passes = [tuple(value for value, _ in first[start : start + 8]) for start in (0, 8, 16)]
    assert len(set(passes)) == 3 and all(sorted(one) == list(range(8)) for one in passes)
    assert len(read(24, repeat=False)) == 8


@settings(max_examples=50)
@given(seed=st.integers(0, 2**31), size=st.integers(1, 6), kind=st.sampled_from(["mixup", "cutmix"]))
def test_labels_are_the_shares_of_the_pixels(augmentation, seed, size, kind):
    """Image i is constant at i and has class i: what it is mixed of can be read off it."""
    arguments = augmentation.AugmentationArguments(**{f"{kind}_alpha": 1.0})
    images = torch.arange(size, dtype=torch.float64)[:, None, None, None].expand(size, 3, 9, 7)
    mixed, labels = augmentation.mix(images, torch.arange(size), 8, arguments, numbers(seed))
    assert mixed.shape == images.shape and labels.shape == (size, 8)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(size, dtype=torch.float64))
    torch.testing.assert_close(labels @ torch.arange(8.0, dtype=torch.float64), mixed.mean(dim=(1, 2, 3)))
    assert (labels[:, size:] == 0).all()
    if kind == "cutmix":
        assert ((mixed == mixed.round()) & (mixed >= 0)).all()  # every pixel is from one image
    else:
        assert (mixed == mixed[:, :1, :1, :1]).all()


def test_with_both_alphas_either_mix_comes(augmentation):
    arguments = augmentation.AugmentationArguments(mixup_alpha=0.8, cutmix_alpha=1.0)
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 8, 8)
    whole = 0
    for seed in range(200):
        mixed, _ = augmentation.mix(images, torch.arange(4), 4, arguments, numbers(seed))
        whole += bool((mixed == mixed[:, :, :1, :1]).all())
    assert 60 < whole < 150  # MixUp's images stay constant, CutMix's but for whole ones do not


def tiny_model() -> HyperSETForImageClassification:
    config = HyperSETConfig(
        image_size=8, patch_size=4, hidden_size=16, num_attention_heads=2, num_iterations=2, num_labels=5
    )
    return HyperSETForImageClassification(config).eval()


@pytest.fixture
def batch():
    return {"pixel_values": torch.randn(6, 3, 8, 8), "labels": torch.tensor([0, 1, 2, 3, 4, 1])}


def test_smoothing_is_that_of_cross_entropy(augmentation, batch, tmp_path):
    """Trainer's `label_smoothing_factor` with our outputs, which hold energies too."""
    model = tiny_model()
    model.config.output_energies = True
    arguments = ScriptTrainingArguments(str(tmp_path), label_smoothing_factor=0.1, use_cpu=True, report_to="none")
    trainer = ScriptTrainer(model=model, args=arguments)
    loss, outputs = trainer.compute_loss(model, dict(batch), return_outputs=True)
    assert outputs.energies is not None
    wanted = F.cross_entropy(model(batch["pixel_values"]).logits, batch["labels"], label_smoothing=0.1)
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_batches_are_trained_on_with_their_shares(augmentation, batch, tmp_path, smoothing):
    """The gradient of one training step is that of the cross-entropy with the mixed labels, also when it is accumulated."""
    arguments = ScriptTrainingArguments(
        str(tmp_path), label_smoothing_factor=smoothing, use_cpu=True, report_to="none", seed=3
    )
    mixing = augmentation.AugmentationArguments(mixup_alpha=0.8, cutmix_alpha=1.0)
    model = tiny_model()
    trainer = augmentation.MixingTrainer(model=model, args=arguments, augmentation=mixing)
    trainer.create_optimizer()
    for _ in range(2):
        trainer.training_step(model, dict(batch), num_items_in_batch=torch.tensor(12))
    got = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    model.zero_grad()
    for accumulated in range(2):
        rng = numbers(3, 0, accumulated, 0)
        images, labels = augmentation.mix(batch["pixel_values"], batch["labels"], 5, mixing, rng)
        smooth = (1 - smoothing) * labels + smoothing / 5
        (-(smooth * model(images).logits.log_softmax(dim=-1)).sum() / 12).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad, msg=name)
    # What is evaluated is not mixed.
    loss, _, labels = trainer.prediction_step(model, dict(batch), prediction_loss_only=False)
    logits = model(batch["pixel_values"]).logits
    torch.testing.assert_close(loss, F.cross_entropy(logits, batch["labels"], label_smoothing=smoothing).detach())
    assert torch.equal(labels, batch["labels"])


def test_the_central_crop_is_kept_with_the_processor(augmentation, tmp_path):
    script, common = (
        importlib.import_module("hyperset_lab.images.task"),
        importlib.import_module("hyperset_lab.arguments"),
    )
    arguments = common.ModelArguments(config_name="imagenet-small")
    config = HyperSETConfig(image_size=32, patch_size=4, hidden_size=16, num_attention_heads=2)
    processor = script.build_processor(arguments, config, augmentation.AugmentationArguments(crop_pct=0.5))
    processor.save_pretrained(tmp_path)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))
    (pixels,) = type(processor).from_pretrained(tmp_path)([image], return_tensors="pt")["pixel_values"]
    central = np.asarray(image.crop((32, 16, 64, 48)), dtype=np.float32).transpose(2, 0, 1)
    np.testing.assert_allclose(pixels.numpy(), central / 127.5 - 1, atol=1e-5)
    with pytest.raises(ValueError, match="square"):
        wide = HyperSETConfig(image_size=(32, 64), patch_size=4, hidden_size=16, num_attention_heads=2)
        script.build_processor(arguments, wide, augmentation.AugmentationArguments(crop_pct=0.5))
