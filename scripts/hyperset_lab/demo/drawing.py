# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Make a drawing an image like scikit-learn's digits. Those were cut out, scaled to 32 × 32 black and white dots, and counted in
blocks of 4 × 4 dots. Their strokes are thick. A drawing on a screen is often small, thin and not in the middle.
"""

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt


SIDE = 128  # dots: a pixel is 16 × 16 of them, four times as fine as for the digits, for smoother edges
STROKES = (20.0, 30.0)  # how thick a stroke may be, in dots: a little more than the middle half of the digits have


def ink(image: Image.Image) -> np.ndarray:
    """
    How much ink each dot has, in [0, 1], of shape `(height, width)`. A light border means dark strokes on light paper, a dark
    border the opposite. What is transparent is white paper.
    """
    image = image.convert("RGBA")
    paper = Image.new("RGBA", image.size, "white")
    grey = np.asarray(Image.alpha_composite(paper, image).convert("L"), dtype=np.float64) / 255
    border = np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))
    return 1 - grey if np.median(border) > 0.5 else grey


def stroke_width(dots: np.ndarray) -> float:
    """
    Mean thickness of the strokes in `dots`, booleans of shape `(height, width)`: across a stroke of width w, the mean distance
    to its edge is w / 4.
    """
    return 4 * float((distance_transform_edt(np.pad(dots, 1))[1:-1, 1:-1][dots] - 0.5).mean())


def with_strokes(dots: np.ndarray, width: float) -> np.ndarray:
    """Strokes as thick as `width`, about the same middle lines."""
    change = (width - stroke_width(dots)) / 2
    if change > 0:
        return distance_transform_edt(~dots) <= change
    return distance_transform_edt(dots) > min(-change, stroke_width(dots) / 4)  # none is worn away


def to_digit(image: Image.Image) -> Image.Image | None:
    """
    A drawing of any size as an 8 × 8 image, light on black as scikit-learn's digits are, or `None` if nothing is drawn.

    The strokes are cut out, made as thick as the digits' are, scaled so that they fill the height or the width, and put in the
    middle.
    """
    darkness = ink(image)
    dots = darkness > 0.5 * max(darkness.max(), 0.25)  # a pale pencil counts, the grain of the paper does not
    rows, columns = np.flatnonzero(dots.any(axis=1)), np.flatnonzero(dots.any(axis=0))
    if len(rows) == 0:
        return None
    dots = dots[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    extent, thickness = np.array(dots.shape), stroke_width(dots)
    wanted = float(np.clip(thickness * SIDE / extent.max(), *STROKES))
    # Thickening leaves the middle lines of the strokes where they are: they are to fill what the strokes leave of the side.
    scale = (SIDE - wanted) / max(extent.max() - thickness, 2 * thickness)  # a blot stays a blot
    height, width = (int(side) for side in np.maximum(np.round(extent * scale), 1))
    scaled = Image.fromarray(dots.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    sheet = np.zeros((2 * SIDE, 2 * SIDE), dtype=bool)
    top, left = SIDE - height // 2, SIDE - width // 2
    sheet[top : top + height, left : left + width] = np.asarray(scaled) > 127
    if not sheet.any():  # a hair
        sheet[SIDE, SIDE] = True
    sheet = with_strokes(sheet, wanted)[SIDE // 2 : -SIDE // 2, SIDE // 2 : -SIDE // 2]
    return as_digit(sheet)


def as_digit(dots: np.ndarray) -> Image.Image:
    """`SIDE` × `SIDE` dots counted in 8 × 8 blocks, in sixteenths, as 8-bit pixels."""
    return Image.fromarray(np.round(np.round(shares_of(dots) * 16) * (255 / 16)).astype(np.uint8))


def shares_of(dots: np.ndarray) -> np.ndarray:
    """The share of ink in each of 8 × 8 blocks."""
    return dots.reshape(8, SIDE // 8, 8, SIDE // 8).mean(axis=(1, 3))


def strokes_of(digit: Image.Image) -> np.ndarray:
    """
    Smooth strokes from which an 8 × 8 digit may have been counted, `SIDE` × `SIDE` booleans: the digit is enlarged, and
    corrected where a block has more or less ink than its pixel says.
    """
    shares = np.asarray(digit.convert("L"), dtype=np.float32) / 255
    surface = np.zeros((SIDE, SIDE), dtype=np.float32)
    correction = np.pad(shares, 1) - 0.5  # with paper around it, so that strokes end round
    for _ in range(20):
        smooth = Image.fromarray(correction).resize((SIDE * 10 // 8, SIDE * 10 // 8), Image.Resampling.BICUBIC)
        surface += np.asarray(smooth)[SIDE // 8 : -SIDE // 8, SIDE // 8 : -SIDE // 8]
        correction = np.pad(0.5 * (shares - shares_of(surface > 0)).astype(np.float32), 1)
    return surface > 0


def enlarged(digit: Image.Image, size: int = 320) -> Image.Image:
    """A digit of 8 × 8 pixels as a drawing: dark strokes on a transparent sheet of `size` dots, with some room around them."""
    inner = round(size * 0.7)
    opacity = Image.fromarray(strokes_of(digit).astype(np.uint8) * 255).resize(
        (inner, inner), Image.Resampling.BICUBIC
    )
    sheet = np.zeros((size, size, 4), dtype=np.uint8)
    start = (size - inner) // 2
    sheet[start : start + inner, start : start + inner, 3] = np.asarray(opacity)
    return Image.fromarray(sheet)
