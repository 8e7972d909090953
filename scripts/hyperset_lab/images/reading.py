# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
How images become what a model reads, a batch at a time.

An image is opened, resized and cropped by itself. From there on it is bytes. These are kept in memory where there is room, so
each file is read once and not in every epoch. Shifts, mirroring and normalisation are done for a whole batch. The numbers are
those of the image processor, bit for bit: it is asked once what it makes of each byte.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image as PILImage

from hyperset_lab.draws import DrawnExamples
from hyperset_lab.images.augmentation import RandomView, as_picture, noise
from hyperset_lab.images.pixels import read_image


logger = logging.getLogger(__name__)

# Without `--cache_images`, a process keeps so many bytes of all splits: CIFAR-10 takes 184 million.
KEPT_BYTES = 512 * 2**20
# The random numbers of each image of a batch, or `None` where nothing is random.
Numbers = Sequence[np.random.Generator] | None


class ImageReader:
    """
    What a data set holds of images → their `pixel_values`, `(batch_size, 3, height, width)`, as the image processor of the
    `view` makes them: of whole images, or if it `varies`, of random views.
    """

    def __init__(self, view: RandomView, varies: bool):
        self.view, self.varies = view, varies
        self.table = byte_table(view)

    @property
    def can_keep(self) -> bool:
        """Whether an image starts from the same bytes in every epoch."""
        return self.table is not None and not (self.varies and self.view.starts_anew)

    def __call__(self, values: Sequence[Any], rngs: Numbers = None) -> torch.Tensor:
        if self.table is None and not self.varies:
            pixels = [self.processed([read_image(value)])[0] for value in values]
            for image in pixels:
                self.view.check_size(image.shape)
            return torch.stack(pixels)
        return self.finish(self.start(values, rngs), rngs)

    def start(self, values: Sequence[Any], rngs: Numbers = None) -> np.ndarray:
        """The bytes that [`finish`] takes, and that can be kept if [`can_keep`] says so."""
        images = [*map(read_image, values)]
        if not self.varies or rngs is None:
            return np.stack([self.view.as_evaluated(image) for image in images])
        return np.stack([self.view.start(image, rng) for image, rng in zip(images, rngs, strict=True)])

    def finish(self, images: np.ndarray, rngs: Numbers = None) -> torch.Tensor:
        """Bytes `(batch_size, 3, height, width)` → `pixel_values`."""
        if self.varies and rngs is not None:
            images = self.view.vary(images, rngs)
        if self.table is not None:
            return look_up(self.table, images)
        options = {"do_resize": False, "do_center_crop": False}
        return torch.stack(list(self.processed([*map(as_picture, images)], **options)))

    def processed(self, images: list[PILImage.Image], **options) -> torch.Tensor:
        return self.view.processor(images, return_tensors="pt", **options)["pixel_values"]


def byte_table(view: RandomView) -> np.ndarray | None:
    """
    What the image processor makes of each byte in each channel once the image has its size, `(3, 256)`. `None` if there is more
    to it, as for a processor that normalises before it resizes: then it is asked about each image.
    """
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    height, width = view.size

    def processed(image: PILImage.Image, **options) -> np.ndarray:
        return view.processor([image], return_tensors="pt", **options)["pixel_values"][0].numpy()

    try:
        table = processed(PILImage.fromarray(grey), do_resize=False, do_center_crop=False)
        table = np.ascontiguousarray(table.reshape(3, 256))
        for size in ((height, width), (2 * height + 1, width + 3)):
            image = PILImage.fromarray(noise(size))
            if not np.array_equal(look_up(table, view.as_evaluated(image)[None])[0].numpy(), processed(image)):
                return None
    except Exception as error:  # processors of other models raise many kinds
        logger.info("The image processor is asked about each image, because it cannot be about bytes: %s", error)
        return None
    return table


def look_up(table: np.ndarray, images: np.ndarray) -> torch.Tensor:
    """Bytes `(batch_size, channels, height, width)` → what the `table`, `(channels, 256)`, has of them."""
    values = np.empty(images.shape, dtype=table.dtype)
    for channel, of_bytes in enumerate(table):
        values[:, channel] = of_bytes[images[:, channel]]
    return torch.from_numpy(values)


class KeptImages:
    """
    The bytes of `count` images of `size`, kept from the first time that each is read.

    If they are `shared`, what one worker has read is there for all, and after it has ended, however workers are started. Two
    may write the same bytes at the same time. None reads what another writes meanwhile: an image comes once in an epoch, and an
    epoch's workers have answered before those of the next are asked.
    """

    def __init__(self, count: int, size: tuple[int, int], shared: bool):
        self.pixels = torch.empty((count, 3, *size), dtype=torch.uint8)
        self.known = torch.zeros(count, dtype=torch.bool)
        if shared:
            self.pixels.share_memory_()
            self.known.share_memory_()

    def of(self, indices: Sequence[int], read: Callable[[list[int]], np.ndarray]) -> np.ndarray:
        """The bytes of the images at `indices`; `read` gives those that are not known yet."""
        places = torch.tensor(indices)
        known = self.known[places].tolist()
        if missing := [index for index, is_known in zip(indices, known, strict=True) if not is_known]:
            self.pixels[missing] = torch.from_numpy(read(missing))
            self.known[missing] = True
        return self.pixels[places].numpy()


def keep_images(
    data: Mapping[str, Dataset], readers: Mapping[str, ImageReader], wanted: bool | None, shared: bool
) -> dict[str, KeptImages]:
    """
    Room for the images of those splits that can be kept. `wanted` is `--cache_images`: yes for all of them, no, or `None` for
    those that fit in [`KEPT_BYTES`] together.

    Raises:
        `ValueError`: they are wanted, but the memory for them is not there, or the image processor must see each image.
    """
    room, kept = math.inf if wanted else KEPT_BYTES, dict[str, KeptImages]()
    for name, reader in readers.items() if wanted is not False else ():
        if wanted and reader.table is None:
            raise ValueError(
                "`--cache_images true` is not for this image processor, which does not give all images one size, or does more "
                "than resize, crop and normalise them: leave it out."
            )
        size = reader.view.size
        needed = len(data[name]) * 3 * math.prod(size)
        if not reader.can_keep or needed > room:
            continue
        try:
            kept[name] = KeptImages(len(data[name]), size, shared)
        except RuntimeError as error:  # torch's, for want of memory
            message = f"The images of {name} take {needed:,} bytes of memory, which are not to be had ({error})"
            if wanted:
                raise ValueError(f"{message}: leave `--cache_images` out.") from error
            logger.warning("%s. They are read again in every epoch.", message)
            continue
        room -= needed
    return kept


class ImageExamples(DrawnExamples):
    """
    The images of a split as a model reads them: `pixel_values`, the `label` if there is one, and what `draw` gives for the
    random numbers of an image. The example of an image is a function of the seed, the epoch and its index, in any batch.
    """

    def __init__(
        self,
        data: Dataset,
        reader: ImageReader,
        seed: int,
        kept: KeptImages | None = None,
        draw: Callable[[np.random.Generator], dict[str, Any]] | None = None,
    ):
        super().__init__(data, seed)
        self.reader, self.kept, self.draw = reader, kept, draw
        self.labels = np.asarray(data["label"][:]) if "label" in data.column_names else None
        self.builder_name, self.split = data.builder_name, data.split  # for the model card

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """The examples of a batch: what torch's `DataLoader` calls."""
        rngs, examples = None, [dict[str, Any]() for _ in indices]
        if self.reader.varies or self.draw is not None:
            rngs = [self.numbers_of(index) for index in indices]
        if self.draw is not None and rngs is not None:
            examples = [self.draw(rng) for rng in rngs]
        if self.kept is None:
            pixels = self.reader(self.values(indices), rngs)
        else:
            pixels = self.reader.finish(self.kept.of(indices, self.start), rngs)
        for index, example, image in zip(indices, examples, pixels, strict=True):
            example["pixel_values"] = image
            if self.labels is not None:
                example["label"] = int(self.labels[index])
        return examples

    def values(self, indices: list[int]) -> list[Any]:
        """What the data set holds of these images."""
        return self.data[indices]["image"]

    def start(self, indices: list[int]) -> np.ndarray:
        """The bytes of these images, to be kept."""
        return self.reader.start(self.values(indices))
