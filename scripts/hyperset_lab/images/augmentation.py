# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Random views of training images: crops, flips and AutoAugment of each image, MixUp and CutMix of a batch.

Every view is a function of the seed, the epoch and the image's index, and every mix one of the seed and the step. They take
nothing from the global random numbers, so a resumed run sees what an unbroken one does, with any number of workers.

kornia does AutoAugment alone. Its MixUp has no Beta(α, α). Its CutMix takes the global random numbers. Its crops take nine
times as long on one image (7.0 ms against 0.8 ms for 500 × 375 pixels to 224 × 224 on one core).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch.nn import functional as F

from hyperset_lab.arguments import check_choice, check_least, option
from hyperset_lab.draws import numbers
from hyperset_lab.models import model_of
from hyperset_lab.trainer import ScriptTrainer


CROPS, POLICIES = ("resized", "padded"), ("imagenet", "cifar10", "svhn")


@dataclass
class AugmentationArguments:
    """How the training images vary. By default they do not."""

    random_crop: str | None = option(
        None, "`resized`: a random part of random shape, resized; `padded`: padded on all sides and cut back to size."
    )
    crop_scale: list[float] = field(
        default_factory=lambda: [0.08, 1.0],
        metadata={"help": "Least and largest share of the image's area that `--random_crop resized` takes."},
    )
    crop_padding: int = option(4, "Pixels that `--random_crop padded` pads on each side.")
    random_flip: bool = option(False, "Whether to mirror half of the images.")
    auto_augment: str | None = option(None, f"Policy of AutoAugment: {', '.join(POLICIES)}. Needs kornia.")
    mixup_alpha: float = option(0.0, "MixUp with shares from Beta(alpha, alpha); 0 for none.")
    cutmix_alpha: float = option(
        0.0, "CutMix with areas from Beta(alpha, alpha); 0 for none. With both, each batch gets either one at random."
    )
    crop_pct: float | None = option(
        None,
        "Share of the height and width that the central crop keeps at evaluation, usually 0.875. If not given, the "
        "whole image is resized. Only for a new image processor, which saves it.",
    )
    image_mean: list[float] | None = option(  # noqa: RUF009
        None,
        "Means of red, green and blue that a new image processor subtracts, of pixels in [0, 1]; 0.5 each if not given.",
    )
    image_std: list[float] | None = option(  # noqa: RUF009
        None, "Deviations of red, green and blue that a new image processor divides by; 0.5 each if not given."
    )

    def __post_init__(self):
        for flag, values in (("random_crop", CROPS), ("auto_augment", POLICIES)):
            if getattr(self, flag) == "none":
                setattr(self, flag, None)
            check_choice(self, flag, values)
        if len(self.crop_scale) != 2 or not 0.0 < self.crop_scale[0] <= self.crop_scale[1] <= 1.0:
            raise ValueError(f"`--crop_scale` must be two rising numbers in (0, 1], got {self.crop_scale}.")
        check_least(self, 1, "crop_padding")
        check_least(self, 0, "mixup_alpha", "cutmix_alpha")
        if self.crop_pct is not None and not 0.0 < self.crop_pct <= 1.0:
            raise ValueError(f"`--crop_pct` must lie in (0, 1], got {self.crop_pct}.")
        for flag, least in (("image_mean", -math.inf), ("image_std", 0.0)):
            values = getattr(self, flag)
            if values is not None and (len(values) != 3 or not all(least < value < math.inf for value in values)):
                above = " above 0" if least == 0.0 else ""
                raise ValueError(f"`--{flag}` must be three numbers{above}, for red, green and blue, got {values}.")

    @property
    def processor_fields(self) -> dict[str, Any]:
        """The normalisation of a new image processor, where it is given."""
        statistics = {"image_mean": self.image_mean, "image_std": self.image_std}
        return {name: values for name, values in statistics.items() if values is not None}

    @property
    def varies_images(self) -> bool:
        return bool(self.random_crop or self.random_flip or self.auto_augment)

    @property
    def mixes(self) -> bool:
        return self.mixup_alpha > 0.0 or self.cutmix_alpha > 0.0


class RandomView:
    """
    As `arguments` say, `view(image, rng)` makes an RGB image of any size a random one of `size` (height, width). Without
    `--random_crop resized` it shows the part of the image that the image `processor` cuts out at evaluation.

    A view has two parts. [`start`] reads one image, and [`vary`] moves and changes a batch of what it gave. Images are bytes,
    `(3, height, width)` each. An image's random numbers are its own, so its view is the same in any batch.
    """

    def __init__(self, arguments: AugmentationArguments, size: tuple[int, int], processor: Any):
        self.arguments, self.size, self.processor = arguments, size, processor
        self.resample = processor.resample or PILImage.Resampling.BILINEAR
        self.policy: Callable[[torch.Tensor], torch.Tensor] | None = None
        if arguments.auto_augment is not None:
            try:
                from kornia.augmentation.auto import AutoAugment
            except ImportError as error:
                raise ValueError('`--auto_augment` needs kornia: pip install -e ".[augment]".') from error
            self.policy = AutoAugment(arguments.auto_augment)

    def __call__(self, image: PILImage.Image, rng: np.random.Generator) -> PILImage.Image:
        return as_picture(self.vary(self.start(image, rng)[None], [rng])[0])

    @cached_property
    def leaves_size(self) -> bool:
        """Whether the processor leaves an image of this size as it is. Some cut out a part of it all the same."""
        image = PILImage.fromarray(noise(self.size))
        return np.array_equal(self.processed(image), as_bytes(image))

    @property
    def starts_anew(self) -> bool:
        """Whether an image starts from other bytes in every epoch."""
        return self.arguments.random_crop == "resized"

    def start(self, image: PILImage.Image, rng: np.random.Generator) -> np.ndarray:
        """What is moved and changed of an image: a random part of it, or the part that is evaluated."""
        if not self.starts_anew:
            return self.as_evaluated(image)
        box = random_box(image.size, self.arguments.crop_scale, rng)
        return as_bytes(image.resize(self.size[::-1], self.resample, box=box))

    def as_evaluated(self, image: PILImage.Image) -> np.ndarray:
        """
        The bytes of an image as the processor resizes and crops it.

        Raises:
            `ValueError`: the processor makes another size of it than it did of the first image.
        """
        if image.size == self.size[::-1] and self.leaves_size:
            return as_bytes(image)
        pixels = self.processed(image)
        self.check_size(pixels.shape)
        return pixels

    def check_size(self, shape: Sequence[int]) -> None:
        """A `ValueError` if what the processor made of an image has another shape than the first one had."""
        if tuple(shape) != (3, *self.size):
            got, wanted = (" × ".join(map(str, sides)) for sides in (shape[1:], self.size))
            raise ValueError(
                f"The image processor makes {got} pixels of an image, but {wanted} are needed: give it a `size` with height "
                "and width, or `do_center_crop` with a `crop_size`."
            )

    def processed(self, image: PILImage.Image) -> np.ndarray:
        """The bytes of an image that the processor resizes and crops, but does not normalise."""
        pixels = self.processor([image], do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"][0]
        return pixels.round().to(torch.uint8).numpy()

    def vary(self, images: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """The views of a batch of images that [`start`] gave, with the random numbers of each."""
        if self.arguments.random_crop == "padded":
            padding = self.arguments.crop_padding
            left, top = np.array([rng.integers(0, 2 * padding + 1, size=2) for rng in rngs]).T
            padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, self.size, axis=(2, 3))
            images = windows[np.arange(len(images)), :, top, left]
        if self.arguments.random_flip:
            mirrored = np.array([rng.random() < 0.5 for rng in rngs])
            images = np.where(mirrored[:, None, None, None], images[..., ::-1], images)
        if self.policy is not None:
            pairs = zip(images, rngs, strict=True)
            images = np.stack([self.auto_augment(self.policy, image, rng) for image, rng in pairs])
        return images

    @staticmethod
    def auto_augment(
        policy: Callable[[torch.Tensor], torch.Tensor], image: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """kornia draws one policy for a batch, from torch's global random numbers: so a batch is one image here."""
        pixels = torch.from_numpy(image.transpose(1, 2, 0).copy()).permute(2, 0, 1)[None] / 255
        state = torch.get_rng_state()
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        try:
            pixels = policy(pixels)
        finally:
            torch.set_rng_state(state)
        return (pixels[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def as_bytes(image: PILImage.Image) -> np.ndarray:
    """An RGB image → its bytes, `(3, height, width)`."""
    return np.asarray(image).transpose(2, 0, 1)


def as_picture(pixels: np.ndarray) -> PILImage.Image:
    """The bytes of an image, `(3, height, width)` → an RGB image."""
    return PILImage.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def noise(size: tuple[int, int]) -> np.ndarray:
    """The bytes of a made-up image, `(height, width, 3)`: to see what an image processor does."""
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def random_box(size: tuple[int, int], scale: list[float], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """
    Left, top, right and bottom of a part of an image of `size` (width, height). The share of its area is drawn from `scale`,
    its shape between 3 : 4 and 4 : 3. If ten such parts do not fit, it is the largest part of such a shape in the middle.
    """
    width, height = size
    for _ in range(10):
        area = width * height * rng.uniform(scale[0], scale[1])
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        wide, high = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
            return left, top, left + wide, top + high
    wide, high = min(width, max(1, round(height * 4 / 3))), min(height, max(1, round(width * 4 / 3)))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def mix(
    images: torch.Tensor,
    labels: torch.Tensor,
    num_labels: int,
    arguments: AugmentationArguments,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Mix every image of a batch with another one: all pixels in shares λ and 1 − λ (MixUp), or a rectangle of area 1 − λ from the
    other (CutMix), λ from Beta(α, α). Images of shape `(batch_size, channels, height, width)` and classes of shape
    `(batch_size,)` become mixed images, and labels `(batch_size, num_labels)`: the share of each class in each image.
    """
    alphas = {"mixup": arguments.mixup_alpha, "cutmix": arguments.cutmix_alpha}
    kind = rng.choice([name for name, alpha in alphas.items() if alpha > 0.0])
    share = rng.beta(alphas[kind], alphas[kind])
    others = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    if kind == "mixup":
        mixed = share * images + (1 - share) * images[others]
    else:
        height, width = images.shape[-2:]
        side = (1 - share) ** 0.5
        row, column = rng.integers(height), rng.integers(width)
        top, bottom = (int(np.clip(row + sign * side * height / 2, 0, height)) for sign in (-1, 1))
        left, right = (int(np.clip(column + sign * side * width / 2, 0, width)) for sign in (-1, 1))
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = images[others][..., top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    targets = F.one_hot(labels, num_labels).to(images.dtype)
    return mixed, share * targets + (1 - share) * targets[others]


class MixingTrainer(ScriptTrainer):
    """[`ScriptTrainer`] that mixes its training batches. The loss is the cross-entropy with their shares of classes."""

    def __init__(self, *args, augmentation: AugmentationArguments, **kwargs):
        super().__init__(*args, compute_loss_func=self.shares_loss, **kwargs)
        self.augmentation = augmentation
        self.place = (-1, 0)  # the step, and which of the batches that it accumulates

    def shares_loss(self, outputs, labels: torch.Tensor, num_items_in_batch=None) -> torch.Tensor:
        """Cross-entropy with classes or with shares of classes, smoothed as `--label_smoothing_factor` says."""
        loss = F.cross_entropy(
            outputs["logits"].float(), labels, label_smoothing=self.args.label_smoothing_factor, reduction="sum"
        )
        return loss / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        step = self.state.global_step
        self.place = (step, self.place[1] + 1 if self.place[0] == step else 0)
        rng = numbers(self.args.seed, *self.place, self.args.process_index)
        images, labels = mix(
            inputs["pixel_values"], inputs["labels"], len(model_of(self).config.id2label or ()), self.augmentation, rng
        )
        return super().training_step(model, inputs | {"pixel_values": images, "labels": labels}, num_items_in_batch)
