# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the tabs of the demonstration do, apart from Gradio."""

import base64
import binascii
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from hyperset_lab.demo.descent import descend
from hyperset_lab.demo.drawing import to_digit
from hyperset_lab.demo.pictures import data_url, digit_view, sudoku_view
from hyperset_lab.images.data import digits
from hyperset_lab.images.pixels import read_image
from hyperset_lab.models import label_names
from hyperset_lab.sudoku.generator import generate_puzzles
from hyperset_lab.sudoku.puzzles import parse_boards
from hyperset_lab.sudoku.solver import solve


def picture_of(url: str) -> Image.Image:
    """The picture that a browser sends."""
    head, _, data = url.partition(",")
    try:
        if head != "data:image/png;base64":
            raise ValueError(f"it starts with {head[:40]!r}")
        return Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGBA")
    except (ValueError, binascii.Error, UnidentifiedImageError) as error:
        raise ValueError(f"The drawing must be a PNG in a data URL: {error}.") from error


class Digits:
    """What the page of digits does, apart from Gradio. What is watched is a `dict` of `descent` and, if known, `truth`."""

    def __init__(self, model, processor):
        self.model, self.processor = model, processor
        self.labels = label_names(model.config)
        self.samples = digits()["test"]  # those that `recipes/digits.yaml` holds out

    def recognise(self, drawing: Image.Image) -> tuple[dict | None, Image.Image | None]:
        """A drawing, watched, and the 8 × 8 image that the model sees of it; nothing where nothing is drawn."""
        digit = to_digit(drawing)
        return (None, None) if digit is None else (self.watch(digit), digit)

    def sample(self, index: int) -> tuple[dict, Image.Image]:
        """A digit that the model was not trained on, watched, and its 8 × 8 image."""
        row = self.samples[index % len(self.samples)]
        return self.watch(row["image"], str(row["label"])), row["image"]

    def watch(self, digit: Image.Image, truth: str | None = None) -> dict:
        """An image as the data set has them, watched."""
        inputs = self.processor([digit.convert("RGB")], return_tensors="pt")
        return {"descent": descend(self.model, **inputs), "truth": truth}

    def show(self, watched: dict | None, iteration: int) -> str:
        """The view at one iteration."""
        return digit_view(iteration=iteration, labels=self.labels, **(watched or {"descent": None}))


class Sudokus:
    """
    What the page of Sudokus does, apart from Gradio. What is watched is a `dict` of the `descent`, the `puzzle`, its `solution`
    if it has exactly one, and otherwise the `problem`.
    """

    def __init__(self, model):
        self.model = model

    def solve(self, cells: str) -> dict | None:
        """81 digits, 0 for a blank, watched; nothing where all are blank."""
        puzzle = parse_boards([cells], "the board", "cells")[0]
        if not puzzle.any():
            return None
        (number,), (solution,) = solve(puzzle[None])
        problems = {0: "This board contradicts itself: it has no solution.", 1: ""}
        problem = problems.get(int(number), "This board has several solutions: which digits are right cannot be said.")
        descent = descend(self.model, input_ids=torch.from_numpy(puzzle.astype(np.int64))[None])
        return {"descent": descent, "puzzle": puzzle, "solution": None if problem else solution, "problem": problem}

    def example(self, seed: int, num_givens: int) -> str:
        """A puzzle with so many given digits, as 81 digits."""
        puzzles, _ = generate_puzzles(1, num_givens, num_givens, (seed,))
        return "".join(map(str, puzzles[0]))

    def show(self, watched: dict | None, iteration: int) -> str:
        """The view at one iteration."""
        return sudoku_view(iteration=iteration, **(watched or {"descent": None}))


def picture(image: Image.Image | None) -> str:
    """What the model sees of a drawing."""
    if image is None:
        return ""
    return (
        f'<div class="seen"><img src="{data_url(image)}" alt=""><span>What the model sees: 8 × 8 pixels</span></div>'
    )


def on_sheet(image: Image.Image, size: int = 320) -> Image.Image:
    """A picture of any size as a sheet, whole and in the middle of white paper."""
    image = image.convert("RGBA")
    image.thumbnail((size, size))
    sheet = Image.new("RGBA", (size, size), "white")
    sheet.alpha_composite(image, ((size - image.width) // 2, (size - image.height) // 2))
    return sheet


def open_picture(path: str) -> Image.Image:
    """The picture in a file, as a viewer shows it."""
    try:
        return read_image({"path": path})
    except ValueError as error:
        raise ValueError(f"{Path(path).name} is no picture that can be read.") from error
