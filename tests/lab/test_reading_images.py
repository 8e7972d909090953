# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Images that are kept and varied a batch at a time are those that Pillow and the image processor make of each, bit for bit."""

import io

import numpy as np
import pytest
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from hyperset_lab.draws import numbers
from hyperset_lab.images import reading
from hyperset_lab.images.augmentation import AugmentationArguments, RandomView, random_box
from hyperset_lab.images.pixels import read_image
from hyperset_lab.images.reading import ImageExamples, ImageReader, KeptImages, keep_images
from hyperset_lab.images.task import collate
from transformers import ViTImageProcessorPil


SIDE = 8
SQUARE = {"height": SIDE, "width": SIDE}
PROCESSORS = {
    "squeezed": ViTImageProcessorPil(size=SQUARE, image_mean=[0.1, 0.5, 0.9], image_std=[0.2, 0.3, 0.7]),
    "centre": ViTImageProcessorPil(size={"shortest_edge": 10}, do_center_crop=True, crop_size=SQUARE),
    "not normalised": ViTImageProcessorPil(size=SQUARE, do_normalize=False),
}
VIEWS = {
    "whole": {},
    "mirrored": {"random_flip": True},
    "padded": {"random_crop": "padded", "crop_padding": 2, "random_flip": True},
    "resized": {"random_crop": "resized", "random_flip": True},
    "policy": {"random_crop": "padded", "random_flip": True, "auto_augment": "cifar10"},
}


def stored(image: Image.Image, form: str, **options) -> dict:
    file = io.BytesIO()
    image.save(file, form, **options)
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Files of several kinds and sizes, some of them of the model's size, one turned."""
    rng, turned = np.random.default_rng(0), Image.Exif()
    turned[0x0112] = 6
    sizes = [
        (SIDE, SIDE, 3),
        (SIDE, SIDE),
        (9, 20, 3),
        (20, 9, 4),
        (16, 16, 3),
        (5, 7),
        (SIDE, 12, 3),
        (SIDE, SIDE, 4),
    ]
    pictures = [Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)) for size in sizes]
    files = [stored(picture, "PNG" if picture.mode == "RGBA" else "JPEG") for picture in pictures]
    files[4] = stored(pictures[4].convert("P"), "PNG")
    files.append(stored(pictures[6], "JPEG", exif=turned))
    files.append(stored(Image.fromarray(rng.integers(0, 65536, (SIDE, 9), dtype=np.uint16)), "PNG"))
    columns = {"image": files, "label": list(range(len(files)))}
    return Dataset.from_dict(columns).cast_column("image", ImageFeature(decode=False))


def plain_pixels(view: RandomView, value: dict, rng: np.random.Generator | None) -> torch.Tensor:
    """What the model reads of one image, by Pillow and the image processor alone."""
    arguments, image = view.arguments, read_image(value)
    if rng is None:
        return view.processor([image], return_tensors="pt")["pixel_values"][0]
    if arguments.random_crop == "resized":
        image = image.resize((SIDE, SIDE), view.resample, box=random_box(image.size, arguments.crop_scale, rng))
    else:
        options = {"do_rescale": False, "do_normalize": False, "return_tensors": "np"}
        image = Image.fromarray(
            view.processor([image], **options)["pixel_values"][0].transpose(1, 2, 0).astype("uint8")
        )
    if arguments.random_crop == "padded":
        padding = arguments.crop_padding
        left, top = (int(offset) for offset in rng.integers(0, 2 * padding + 1, size=2))
        image = ImageOps.expand(image, padding).crop((left, top, left + SIDE, top + SIDE))
    if arguments.random_flip and rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if view.policy is not None:
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255
        with torch.random.fork_rng():
            torch.manual_seed(int(rng.integers(2**63)))
            pixels = view.policy(pixels)
        image = Image.fromarray((pixels[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    return view.processor([image], do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"][0]


def examples_of(data: Dataset, processor, kept: bool = True, **options) -> ImageExamples:
    arguments = AugmentationArguments(**options)
    reader = ImageReader(RandomView(arguments, (SIDE, SIDE), processor), arguments.varies_images)
    room = keep_images({"train": data}, {"train": reader}, wanted=kept or False, shared=True)
    return ImageExamples(data, reader, seed=3, kept=room.get("train"))


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("view", VIEWS)
def test_batches_are_what_each_image_gives_by_itself(data, view, processor):
    if "auto_augment" in VIEWS[view]:
        pytest.importorskip("kornia")
    for kept in (True, False):
        examples = examples_of(data, PROCESSORS[processor], kept, **VIEWS[view])
        assert examples.reader.table is not None and (examples.kept is not None) == (kept and view != "resized")
        for epoch in (0, 1):
            examples.set_epoch(epoch)
            rngs = [numbers(3, epoch, index) if view != "whole" else None for index in range(len(data))]
            values = [row["image"] for row in data]
            wanted = [plain_pixels(examples.reader.view, *pair) for pair in zip(values, rngs, strict=True)]
            for indices in ([5, 0, 9], [3], [8, 7, 6, 4, 2, 1, 3]):  # some of them for the second time
                got = examples.__getitems__(indices)
                assert [example["label"] for example in got] == indices
                for index, example in zip(indices, got, strict=True):
                    assert torch.equal(example["pixel_values"], wanted[index]), (epoch, index)
            assert torch.equal(examples[2]["pixel_values"], wanted[2])
    with pytest.raises(IndexError):
        examples[len(data)]


class OfWholeImages(ViTImageProcessorPil):
    """One that does more to an image than to its bytes: it takes away the mean."""

    def _preprocess(self, images, **options):
        features = super()._preprocess(images, **options)
        if options["do_normalize"]:
            features["pixel_values"] = features["pixel_values"] - features["pixel_values"].mean()
        return features


def test_a_processor_that_does_more_is_asked_about_each_image(data):
    processor = OfWholeImages(size=SQUARE)
    for options in (VIEWS["whole"], VIEWS["padded"]):
        examples = examples_of(data, processor, kept=False, **options)
        assert examples.reader.table is None
        rngs = [numbers(3, 0, index) if options else None for index in (0, 2)]
        for index, rng in zip((0, 2), rngs, strict=True):
            wanted = plain_pixels(examples.reader.view, data[index]["image"], rng)
            torch.testing.assert_close(examples[index]["pixel_values"], wanted)
        assert keep_images({"train": data}, {"train": examples.reader}, None, False) == {}
        with pytest.raises(ValueError, match="`--cache_images true` is not for this image processor"):
            keep_images({"train": data}, {"train": examples.reader}, True, False)


@pytest.mark.parametrize("options", [{}, {"random_flip": True}], ids=["whole", "varied"])
def test_an_image_that_gets_another_size_is_named(data, options):
    examples = examples_of(data, ViTImageProcessorPil(size={"shortest_edge": SIDE}), kept=False, **options)
    with pytest.raises(ValueError, match="makes 8 × 17 pixels of an image, but 8 × 8 are needed: give it a `size`"):
        examples[2]


def check_workers(data: Dataset, monkeypatch, num_workers: int, context: str) -> None:
    """Workers read what this process does. What they kept outlives them, so nothing is opened again, by others or here."""
    examples, alone = (examples_of(data, PROCESSORS["centre"], **VIEWS["padded"]) for _ in range(2))
    workers = {"num_workers": num_workers, "multiprocessing_context": context}
    for epoch, options in enumerate((workers, workers if context == "fork" else {}, {})):
        for one in (examples, alone):
            one.set_epoch(epoch)
        wanted = torch.stack([alone[index]["pixel_values"] for index in range(len(data))])
        batches = DataLoader(examples, batch_size=3, collate_fn=collate, **options)
        assert torch.equal(torch.cat([batch["pixel_values"] for batch in batches]), wanted)
        empty = {"bytes": b"", "path": None}  # what would be an error to open
        monkeypatch.setattr(examples, "data", Dataset.from_dict({"image": [empty] * len(data)}))


def test_workers_keep_images_for_each_other(data, monkeypatch):
    check_workers(data, monkeypatch, 2, "fork")


@pytest.mark.slow
def test_workers_that_start_anew_keep_images_for_each_other(data, monkeypatch):
    check_workers(data, monkeypatch, 1, "spawn")


def test_what_is_kept_has_a_limit(data, monkeypatch):
    splits, (train, eval) = {"train": data, "eval": data}, ({"random_flip": True}, {})
    readers = {"train": examples_of(data, PROCESSORS["centre"], False, **train).reader,
               "eval": examples_of(data, PROCESSORS["centre"], False, **eval).reader}  # fmt: skip

    def kept(wanted: bool | None) -> set[str]:
        return set(keep_images(splits, readers, wanted, shared=False))

    needed = len(data) * 3 * SIDE * SIDE
    for room, fitting in ((2 * needed, {"train", "eval"}), (2 * needed - 1, {"train"}), (needed - 1, set())):
        monkeypatch.setattr(reading, "KEPT_BYTES", room)
        assert kept(None) == fitting and kept(False) == set() and kept(True) == {"train", "eval"}
    readers["train"] = examples_of(data, PROCESSORS["centre"], False, **VIEWS["resized"]).reader
    assert kept(True) == {"eval"}  # they start from the original image


def test_memory_that_is_not_there(data, monkeypatch, caplog):
    def refuse(*arguments):
        raise RuntimeError("no space left")

    monkeypatch.setattr(KeptImages, "__init__", refuse)
    readers = {"train": examples_of(data, PROCESSORS["centre"], False).reader}
    assert keep_images({"train": data}, readers, None, shared=True) == {}
    assert "1,920 bytes of memory, which are not to be had (no space left)" in caplog.text
    with pytest.raises(ValueError, match=r"1,920 bytes of memory.*: leave `--cache_images` out"):
        keep_images({"train": data}, readers, True, shared=True)
