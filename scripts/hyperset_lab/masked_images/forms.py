# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The two forms of masked image modeling, of VQ codes and of pixels: what the model reads, and how it fills in images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from hyperset_lab.arguments import check_choice, check_least, option
from hyperset_lab.images.pixels import read_image
from hyperset_lab.images.reading import ImageReader
from hyperset_lab.masked_images.decoding import iterative_decode
from hyperset_lab.masked_images.metrics import LPIPS_NETS
from hyperset_lab.masked_images.program import bernoulli_cells, grid_schedule
from hyperset_lab.masked_images.tokenizer import VQTokenizer


@dataclass
class MaskingArguments:
    """What is masked, what fills it in, and how the result is measured."""

    mask_ratio: list[float] | None = option(  # noqa: RUF009
        None,
        "Share of every training image to mask, or two numbers to draw it between each time. If not given: 0 0.4 for "
        "codes (Appendix D.4), 0.6 for pixels.",
    )
    eval_mask_ratio: list[float] | None = option(  # noqa: RUF009
        None, "Shares to mask at evaluation; the largest of `--mask_ratio` if not given."
    )
    mask_patch_size: int | None = option(
        None, "Side of the squares to mask, a multiple of the model's patches; one patch if not given. For pixels."
    )
    vq_model_name_or_path: str | None = option(
        None, "The `VQModel` of diffusers that turns images into codes: a folder or a name on the Hub."
    )
    vq_subfolder: str | None = option(None, "The folder of the VQ model in there.")
    vq_zero_to_one: bool = option(
        False, "Whether the VQ model takes pixels in [0, 1] (aMUSEd) rather than in [-1, 1] (VQGAN)."
    )
    image_size: int | None = option(None, "Side in pixels of the images to turn into codes; 256 if not given.")
    codes_dir: str | None = option(
        None, "Where to keep the codes of images; a folder beside the data sets' cache if not given."
    )
    decoding_steps: int | None = option(
        None, "Steps in which masked codes are filled in; 24 if not given, as in the paper."
    )
    decoding_temperature: float | None = option(
        None, "Temperature of the softmax that codes are drawn from, 0 for the most probable ones; 1 if not given."
    )
    choice_temperature: float | None = option(
        None, "Scale of the noise of the first step in the choice of the most certain codes; 4.5 if not given."
    )
    perceptual_metrics: bool | None = option(
        None,
        "Whether to measure LPIPS and FID. `true`: what is missing for them is an error before the training. If not given, "
        "they are measured if all is there, and a line before the training says what is missing.",
    )
    lpips_net: str = option("alex", f"Network of LPIPS: {', '.join(LPIPS_NETS)}.")
    lpips_weights: str | None = option(
        None, "Weights of that network, torchvision's file of ImageNet; from torch's cache if not given."
    )
    inception_weights: str | None = option(
        None, "Weights of FID's Inception, a file of torch-fidelity's; from torch's cache if not given."
    )
    program_measures: bool = option(
        False,
        "Whether to measure as the authors' program does too, beside our measures: codes masked one by one, no noise in the "
        "choice of codes, images stretched to [0, 1]. For VQ codes.",
    )

    def __post_init__(self):
        for flag in ("mask_ratio", "eval_mask_ratio"):
            ratios = getattr(self, flag)
            if ratios is not None and not all(0.0 <= ratio <= 1.0 for ratio in ratios):
                raise ValueError(f"`--{flag}` must lie in [0, 1], got {ratios}.")
        ratios = self.mask_ratio
        if ratios is not None and (len(ratios) not in (1, 2) or ratios[0] > ratios[-1]):
            raise ValueError(f"`--mask_ratio` must be one number or two rising ones, got {ratios}.")
        check_least(self, 1, "mask_patch_size", "image_size", "decoding_steps")
        check_least(self, 0, "decoding_temperature", "choice_temperature")
        check_choice(self, "lpips_net", LPIPS_NETS)

    def settle(self, codes: bool) -> None:
        """Set what was not given, for VQ codes or for pixels. Refuse flags of the other form, and codes without a VQ model."""
        defaults = {"image_size": 256, "decoding_steps": 24, "decoding_temperature": 1.0, "choice_temperature": 4.5}
        only_codes = (
            "vq_model_name_or_path",
            "vq_subfolder",
            "vq_zero_to_one",
            "codes_dir",
            "program_measures",
            *defaults,
        )
        foreign = ("mask_patch_size",) if codes else only_codes
        if given := [flag for flag in foreign if not any(getattr(self, flag) is unset for unset in (None, False))]:
            form = "of VQ codes (its config has a vocab_size)" if codes else "of pixels (its config has no vocab_size)"
            raise ValueError(f"The model is one {form}: {', '.join(f'`--{flag}`' for flag in given)} is not for it.")
        if codes:
            if self.vq_model_name_or_path is None:
                raise ValueError("A model of VQ codes (its config has a vocab_size) needs `--vq_model_name_or_path`.")
            for flag, value in defaults.items():
                if getattr(self, flag) is None:
                    setattr(self, flag, value)
        if self.mask_ratio is None:
            self.mask_ratio = [0.0, 0.4] if codes else [0.6]
        if self.eval_mask_ratio is None:
            self.eval_mask_ratio = [self.mask_ratio[-1]]


def masked_cells(num_cells: int, ratio: list[float], rng: np.random.Generator) -> np.ndarray:
    """
    Where to mask, `(num_cells,)` booleans: a share of the cells drawn evenly from `ratio` (one number, or two to draw between),
    at least one cell. With the same random numbers, a smaller ratio masks some of the cells that a larger one does.
    """
    share = rng.uniform(ratio[0], ratio[-1])
    masked = np.zeros(num_cells, dtype=bool)
    masked[rng.permutation(num_cells)[: max(1, round(share * num_cells))]] = True
    return masked


class ImagesWithCodes(Dataset):
    """Examples of `data` with their `codes`, of shape `(rows, columns)` each; without the image where it is not read."""

    def __init__(self, data, codes: torch.Tensor, with_images: bool):
        self.data, self.codes, self.with_images = data, codes, with_images

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> dict:
        image = {"image": self.data[index]["image"]} if self.with_images else {}
        return {"codes": self.codes[index].long(), **image}


def mask_codes(example: dict, rng: np.random.Generator, ratio: list[float], mask_token_id: int) -> dict:
    """Codes of shape `(rows, columns)` → what the model reads: `input_ids` and `labels`, `(rows · columns,)` each."""
    codes = example["codes"].flatten()
    masked = torch.from_numpy(masked_cells(len(codes), ratio, rng))
    return {"input_ids": codes.masked_fill(masked, mask_token_id), "labels": codes.masked_fill(~masked, -100)}


def mask_image_with_codes(example: dict, rng: np.random.Generator, ratio: list[float], processor) -> dict:
    """Codes and image → what [`CodeTask`] reconstructs. With the same random numbers it masks what [`mask_codes`] does."""
    num_cells = example["codes"].numel()
    return {
        "codes": example["codes"],
        "masked": torch.from_numpy(masked_cells(num_cells, ratio, rng)),
        "seed": int(rng.integers(2**62)),
        "program_masked": torch.from_numpy(bernoulli_cells(num_cells, ratio[0], rng)),
        "pixel_values": to_pixels(processor, example["image"]),
    }


def mask_squares(
    rng: np.random.Generator, ratio: list[float], grid: tuple[int, int], scale: int
) -> dict[str, torch.Tensor]:
    """
    What is masked of an image of a model of pixels: `bool_masked_pos` of shape `(rows · columns,)`, whole squares of `scale` ×
    `scale` patches of the `grid`.
    """
    rows, columns = (side // scale for side in grid)
    squares = masked_cells(rows * columns, ratio, rng).reshape(rows, columns)
    return {"bool_masked_pos": torch.from_numpy(squares.repeat(scale, axis=0).repeat(scale, axis=1).flatten())}


def mask_one(
    example: dict, rng: np.random.Generator, reader: ImageReader, draw: Callable[[np.random.Generator], dict]
) -> dict:
    """An image of a stream → its `pixel_values` and what `draw` gives, as [`ImageExamples`] has them of a data set."""
    return draw(rng) | {"pixel_values": reader([example["image"]], [rng])[0]}


def to_pixels(processor, image) -> torch.Tensor:
    """What a data set holds of an image → what `processor` makes of it, `(3, height, width)`."""
    return processor([read_image(image)], return_tensors="pt")["pixel_values"][0]


def batch_to_pixels(batch: dict[str, list], processor) -> dict[str, list[torch.Tensor]]:
    """The `pixel_values` of the images of a batch."""
    return {"pixel_values": [to_pixels(processor, image) for image in batch["image"]]}


class CodeTask:
    """Masked VQ codes, filled in by iterative decoding. The `tokenizer`, on the model's device, makes an image of them."""

    def __init__(self, tokenizer: VQTokenizer, arguments: MaskingArguments):
        self.tokenizer, self.arguments = tokenizer, arguments
        self.mask_token_id = tokenizer.num_codes

    def originals(self, batch: dict) -> torch.Tensor:
        return batch["pixel_values"]

    def ceiling(self, batch: dict) -> torch.Tensor:
        return self.tokenizer.decode(batch["codes"])

    def masked(self, batch: dict) -> torch.Tensor:
        return in_grey(batch["pixel_values"], batch["masked"].unflatten(1, batch["codes"].shape[1:]))

    def reconstruct(self, model, batch: dict) -> torch.Tensor:
        noise = {"choice_temperature": self.arguments.choice_temperature}
        return self.tokenizer.decode(self.fill(model, batch, batch["masked"], **noise))

    def reconstruct_as_program(self, model, batch: dict) -> torch.Tensor | None:
        if not self.arguments.program_measures:
            return None

        def schedule(num_masked: int, num_steps: int) -> list[int]:
            return grid_schedule(num_masked, batch["codes"][0].numel(), num_steps)

        codes = self.fill(model, batch, batch["program_masked"], choice_temperature=0.0, schedule=schedule)
        return self.tokenizer.decode(codes, clamp=False)

    def fill(self, model, batch: dict, masked: torch.Tensor, **options) -> torch.Tensor:
        """The codes of a batch, filled in where they are `masked`."""
        codes = iterative_decode(
            lambda codes: model(input_ids=codes).logits,
            batch["codes"].flatten(1),
            masked,
            self.mask_token_id,
            self.arguments.decoding_steps,
            [torch.Generator().manual_seed(seed) for seed in batch["seed"].tolist()],
            temperature=self.arguments.decoding_temperature,
            **options,
        )
        return codes.unflatten(1, batch["codes"].shape[1:])


class PixelTask:
    """Masked patches of pixels, filled in at once. The `grid` has the rows and columns of the model's patches."""

    def __init__(self, processor, grid: tuple[int, int]):
        self.grid = grid
        statistics = (processor.image_mean, processor.image_std)
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in statistics)

    def originals(self, batch: dict) -> torch.Tensor:
        return self.unnormalised(batch["pixel_values"])

    def unnormalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels * self.std.to(pixels.device) + self.mean.to(pixels.device)).clamp(0, 1)

    def ceiling(self, batch: dict) -> None:
        """Pixels have no tokenizer that limits them."""

    def masked(self, batch: dict) -> torch.Tensor:
        return in_grey(self.originals(batch), batch["bool_masked_pos"].unflatten(1, self.grid))

    def reconstruct(self, model, batch: dict) -> torch.Tensor:
        """Only the masked patches are the model's; the others are the images' own."""
        filled = self.unnormalised(model(**batch).reconstruction.float())
        masked = magnify(batch["bool_masked_pos"].unflatten(1, self.grid), filled.shape[-2:])
        return torch.where(masked, filled, self.originals(batch))

    def reconstruct_as_program(self, model, batch: dict) -> None:
        """The program has no model of pixels."""


def magnify(cells: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Cells `(batch_size, rows, columns)` → pixels `(batch_size, 1, height, width)` of `size`."""
    rows, columns = cells.shape[1:]
    cells = cells.repeat_interleave(size[0] // rows, dim=1).repeat_interleave(size[1] // columns, dim=2)
    return cells[:, None]


def in_grey(images: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Images `(batch_size, 3, height, width)` with `cells` `(batch_size, rows, columns)` of them in grey."""
    return torch.where(magnify(cells, images.shape[-2:]), 0.5, images)
