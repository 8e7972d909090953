# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
The one place that turns a picture file into the pixels that a model reads: those that a viewer shows on a white page.

    1, L, P, RGB, CMYK, …    as Pillow converts them to RGB; no colour profile is applied
    transparency             over white, whether it is a channel (LA, PA, RGBA), a palette's or a single colour's
    16 bits (I;16, …)        0 … 65535 become 0 … 255; of a TIFF that says 12 bits, 0 … 4095 do
    32-bit integers (I)      0 … 255 stay; values up to 65535 are 16 bits; a PNG or PGM has always 16 bits
    floats (F)               0 … 1 become 0 … 255; 0 … 255 stay; values up to 65535 are 16 bits
    TIFF whose 0 is white    turned over, also in the three cases above, which Pillow leaves
    turned by EXIF           upright
    animated, several pages  the first picture

Pillow's own `convert("RGB")` makes 16 and 32 bits white and a transparent ground black. Numbers outside of these ranges, and
files that are cut off or no pictures, are a `ValueError` that names the file.
"""

import hashlib
import io
import json
import logging
from collections.abc import Sized
from pathlib import Path
from typing import Any, cast

import numpy as np
from datasets import Dataset, Image, config
from datasets.utils import tqdm
from PIL import ExifTags, ImageOps
from PIL import Image as PILImage
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from modeling_hyperset.files import write_json


logger = logging.getLogger(__name__)

# Raise it if the rule above refuses other files than before: data sets that passed are then read again.
RULE_VERSION = 1
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
FEW_GREYS = {"L;2": 85, "L;4": 17}  # of PNG, and the factor that spreads them over 0 … 255
NUMBERS = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def as_shown(image: PILImage.Image, name: str = "The image") -> PILImage.Image:
    """
    A picture of Pillow in any mode → an `RGB` one of what a viewer shows on a white page, upright.

    Raises:
        `ValueError`: the file is cut off or has numbers of no range that this module knows; it begins with `name`.
    """
    try:
        form, tags = image.format, dict(getattr(image, "tag_v2", {}))  # a turned copy has none
        stored = [tile[3] for tile in getattr(image, "tile", ())[:1]]  # how the pixels are stored
        image.load()
        if (
            stored and stored[0] in FEW_GREYS and "transparency" in image.info
        ):  # Pillow spreads the pixels, not this grey
            image.info["transparency"] *= FEW_GREYS[stored[0]]
        if image.getexif().get(ExifTags.Base.Orientation) not in (None, 1):
            image = ImageOps.exif_transpose(image)
        if image.mode in NUMBERS:
            return PILImage.fromarray(in_8_bits(image, form, tags)).convert("RGB")
        if image.mode in WITH_ALPHA or "transparency" in image.info:
            return on_white(image)
        return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as error:  # Pillow's readers raise many kinds
        raise ValueError(f"{name} cannot be read as a picture: {error}") from error


def on_white(image: PILImage.Image) -> PILImage.Image:
    """A picture with transparency over a white page."""
    if image.mode in ("La", "RGBa"):  # colours that are multiplied by their opacity
        image = image.convert(image.mode[:-1] + "A")
    colour = image.info.get("transparency")
    if isinstance(colour, tuple) and max(colour) > 255:  # of 16 bits, while Pillow has read 8 of them
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in colour)
    image = image.convert("RGBA")
    page = PILImage.new("RGBA", image.size, "white")
    return PILImage.alpha_composite(page, image).convert("RGB")


def in_8_bits(image: PILImage.Image, form: str | None, tags: dict[int, Any]) -> np.ndarray:
    """A picture of 16-bit or 32-bit numbers, `(height, width)`, as bytes. Its file is of some `form`, a TIFF with `tags`."""
    values = np.asarray(image).astype(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (low >= 0 and high <= 65535):  # NaN too
        raise ValueError(
            f"its numbers (mode {image.mode!r}) go from {low:g} to {high:g}, but they must lie in 0 … 255 or 0 … 65535, or "
            "floats in 0 … 1. Convert it to 8 bits"
        )
    is_float = image.mode == "F"  # as in a PFM, which is a "PPM" too
    of_16_bits = image.mode.startswith("I;16") or (form in ("PNG", "PPM") and not is_float) or high > 255
    if tags.get(BITSPERSAMPLE) == (12,):
        scaled = values * (255 / 4095)
    elif of_16_bits:
        scaled = values / 257
    elif is_float and high <= 1:
        scaled = values * 255
    else:
        scaled = values
    pixels = np.rint(scaled).astype(np.uint8)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:  # it says that zero is white
        pixels = 255 - pixels
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        pixels[values == transparent] = 255
    return pixels


def opened(value: Any) -> PILImage.Image:
    """What a data set holds of an image (its file's `path` or `bytes`, or a picture of Pillow) as a picture of Pillow."""
    if isinstance(value, PILImage.Image):
        return value
    path, data = (value or {}).get("path"), (value or {}).get("bytes")
    if data is not None:
        return PILImage.open(io.BytesIO(data))
    if path is None:
        raise ValueError("it has neither a file nor bytes")
    return PILImage.open(path) if Path(path).exists() else Image().decode_example(value)


def name_of(value: Any, otherwise: str) -> str:
    """The name of the file of an image, as far as it is known."""
    path = getattr(value, "filename", None) if isinstance(value, PILImage.Image) else (value or {}).get("path")
    return f"The file {path!r}" if path else otherwise


def read_image(value: Any, otherwise: str = "An image of the data set") -> PILImage.Image:
    """
    What a data set holds of an image → its pixels as [`as_shown`] gives them. An error names its file, or calls it as
    `otherwise` says.
    """
    name = name_of(value, otherwise)
    try:
        image = opened(value)
    except Exception as error:  # Pillow's readers raise many kinds
        raise ValueError(f"{name} cannot be opened as a picture: {error}") from error
    return as_shown(image, name)


class Problems(TorchDataset):
    """What is wrong with each image of a split: an empty string, or an error that names it."""

    def __init__(self, name: str, data: Dataset):
        self.name, self.data = name, data.select_columns(["image"])

    def __len__(self) -> int:
        return len(cast(Sized, self.data))

    def __getitem__(self, index: int) -> str:
        value = self.data[index]["image"]
        otherwise = f"Image {index + 1} of the split {self.name!r}"
        name = name_of(value, otherwise)
        try:
            image = opened(value)
            if image.format == "JPEG" and image.mode in ("L", "RGB"):
                image.draft(image.mode, (1, 1))  # reads the whole file, but computes few of its pixels
        except Exception as error:  # Pillow's readers raise many kinds
            return f"{name} cannot be opened as a picture: {error}"
        try:
            as_shown(image, name)
        except ValueError as error:
            return str(error)
        return ""


def check_images(name: str, data: Dataset, cache_dir: str | None, num_workers: int = 0) -> None:
    """
    Read every image of a split once, and refuse those that a model could not read, now and not in the middle of a training.
    What has passed is noted in the cache, and not read again.
    """
    key = hashlib.sha256(json.dumps([data._fingerprint, RULE_VERSION]).encode()).hexdigest()[:32]
    note = Path(cache_dir or config.HF_DATASETS_CACHE) / "checked_images" / f"{key}.json"
    if note.exists():
        return
    loader = DataLoader(Problems(name, data), batch_size=64, num_workers=num_workers, collate_fn=list, shuffle=False)
    batches = tqdm(loader, desc=f"Checking the images of {name}", disable=len(data) < 5000)
    problems = [problem for batch in batches for problem in batch if problem]
    if problems:
        more = "" if len(problems) == 1 else f" (and {len(problems) - 1} other images)"
        raise ValueError(
            " ".join([f"{problems[0]}{more}.", *(f"{problem}." for problem in problems[1:5])])
            + " Repair these files, or take them out of the data."
        )
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, {"images": len(data)})
    except OSError as error:
        logger.warning("All images of %s can be read, but that cannot be noted for the next run: %s", name, error)
