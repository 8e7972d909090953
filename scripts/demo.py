# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Watch a model's answer and its energy change from iteration to iteration, in a browser.

    python scripts/demo.py --model_name_or_path outputs/digits
    python scripts/demo.py --model_name_or_path outputs/digits --sudoku_model outputs/sudoku-small --server_port 8000

Draw a digit, or take one that the model was not trained on; or type a Sudoku. The slider goes beyond the depth that the model
was trained at. Nothing leaves the machine, and nothing is fetched from elsewhere. Needs `pip install -e ".[demo]"`.
"""

import argparse
import base64
import binascii
import contextlib
import io
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path


os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported

try:
    import gradio as gr
except ImportError as error:
    raise ImportError('The demonstration needs Gradio: pip install -e ".[demo]"') from error
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from hyperset_lab.demo.descent import deepest, descend, load_digit_model, load_sudoku_model
from hyperset_lab.demo.drawing import enlarged, to_digit
from hyperset_lab.demo.pictures import data_url, digit_view, sudoku_view
from hyperset_lab.images.data import digits
from hyperset_lab.sudoku.generator import generate_puzzles, solve
from hyperset_lab.sudoku.puzzles import parse_boards


PAGE = Path(__file__).parent / "hyperset_lab" / "demo" / "page"
SECONDS_PER_ITERATION = 0.35  # of the animation
SHEET = '<div class="sheet"><canvas width="320" height="320" aria-label="Sheet to draw on"></canvas><button>Wipe</button></div>'
BOARD = f"""<div class="board">{
    "".join(
        f'<input inputmode="numeric" aria-label="Row {cell // 9 + 1}, column {cell % 9 + 1}">' for cell in range(81)
    )
}</div>"""


def picture_of(url: str) -> Image.Image:
    """
    The picture that a browser sends.

    Raises:
        `ValueError`: what came is no PNG in a data URL.
    """
    head, _, data = url.partition(",")
    try:
        if head != "data:image/png;base64":
            raise ValueError(f"it starts with {head[:40]!r}")
        return Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGBA")
    except (ValueError, binascii.Error, UnidentifiedImageError) as error:
        raise ValueError(f"The drawing must be a PNG in a data URL: {error}.") from error


class Digits:
    """
    What the page of digits does, apart from Gradio. What is watched is a `dict` of the `descent` and, where it is known, the
    `truth`.
    """

    def __init__(self, model, processor):
        self.model, self.processor = model, processor
        self.labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
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
        """
        81 digits, 0 for a blank, watched; nothing where all are blank.

        Raises:
            `ValueError`: no 81 digits.
        """
        puzzle = parse_boards([cells], "the board", "cells")[0]
        if not puzzle.any():
            return None
        (number,), (solution,) = solve(puzzle[None])
        problems = {0: "This board contradicts itself: it has no solution.", 1: ""}
        problem = problems.get(int(number), "This board has several solutions: which digits are right cannot be said.")
        descent = descend(self.model, input_ids=torch.from_numpy(puzzle.astype(np.int64))[None])
        return {"descent": descent, "puzzle": puzzle, "solution": None if problem else solution, "problem": problem}

    def example(self, seed: int) -> str:
        """A puzzle as easy as those of `recipes/sudoku_small.yaml`, as 81 digits."""
        puzzles, _ = generate_puzzles(1, 66, 74, np.random.default_rng(seed))
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
    """
    Raises:
        `ValueError`: the file is no picture.
    """
    try:
        return Image.open(path).convert("RGBA")
    except (OSError, ValueError) as error:  # Pillow's own error is an OSError
        raise ValueError(f"{Path(path).name} is no picture that can be read.") from error


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Within it, a ValueError is shown on the page."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(str(error)) from error


class Watch:
    """
    The part of a page that both have: the slider over the iterations, the button that plays them, and the view.

    Args:
        page ([`Digits`] or [`Sudokus`]): Whose model's depths the slider has, and who shows what is watched.
    """

    def __init__(self, page: Digits | Sudokus):
        self.page, self.trained = page, page.model.config.num_iterations
        self.watched = gr.State(None)
        self.turn = gr.State({"number": 0})  # one of each session, which the events change in place
        with gr.Row(equal_height=True):
            label = f"Iterations (trained with {self.trained})"
            self.slider = gr.Slider(1, deepest(page.model), self.trained, step=1, label=label, scale=5)
            button = gr.Button("▶ Play", scale=1, min_width=90, elem_classes="play")
        self.view = gr.HTML(page.show(None, self.trained), elem_classes="view")
        seen, self.options = [self.turn, self.watched, self.slider], {"show_progress": "hidden"}
        button.click(self.play, seen, [self.slider, self.view], **self.options)
        self.slider.input(self.slide, seen, self.view, trigger_mode="always_last", **self.options)
        # What an event that gives something new to watch sets.
        self.outputs = [self.watched, self.slider, self.view]

    def end(self, turn: dict) -> int:
        """
        End what plays, and return the number of the turn that begins. Gradio's `cancels` would let a last picture through, and
        that of an old drawing could come after the first of a new one.
        """
        turn["number"] += 1
        return turn["number"]

    def start(self, watched: dict | None) -> list:
        """Values for `outputs`: something new to watch, at the trained depth."""
        return [watched, self.trained, self.page.show(watched, self.trained)]

    def slide(self, turn: dict, watched: dict | None, iteration: int) -> str:
        """The iteration that the slider was moved to."""
        self.end(turn)
        return self.page.show(watched, iteration)

    def play(self, turn: dict, watched: dict | None, iteration: int) -> Iterator[tuple]:
        """Every iteration in turn, from the first to the deepest, until another event ends it."""
        number = self.end(turn)
        for step in [iteration] if watched is None else range(1, watched["descent"].depth + 1):
            if turn["number"] != number:
                yield gr.skip(), gr.skip()  # Gradio sends what came last once more when it ends
                return
            yield step, self.page.show(watched, step)
            time.sleep(SECONDS_PER_ITERATION)


def script(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def add_digits(page: Digits) -> None:
    """The tab of digits: a sheet to draw on and what the model makes of it."""
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            sheet = gr.HTML(html_template=SHEET, js_on_load=script("canvas.js"), apply_default_css=False)
            with gr.Row():
                sample = gr.Button("A digit it has not seen", size="sm", min_width=120, elem_classes="sample")
                upload = gr.UploadButton("Open a picture", file_types=["image"], size="sm", min_width=120)
            seen = gr.HTML()
        with gr.Column(scale=6, min_width=380):
            watch = Watch(page)

    def draw(turn: dict, event: gr.EventData):
        watch.end(turn)
        with told():
            watched, digit = page.recognise(picture_of(event.image))
        return [*watch.start(watched), picture(digit)]

    def take_sample(turn: dict):
        watch.end(turn)
        watched, digit = page.sample(random.randrange(len(page.samples)))
        return [*watch.start(watched), picture(digit), data_url(enlarged(digit, 320))]

    def take_file(turn: dict, path: str):
        watch.end(turn)
        with told():
            drawing = on_sheet(open_picture(path))
        watched, digit = page.recognise(drawing)
        return [*watch.start(watched), picture(digit), data_url(drawing)]

    # Every stroke counts: Gradio's `always_last` loses what an event of our own carries.
    sheet.draw(draw, watch.turn, [*watch.outputs, seen], trigger_mode="multiple", **watch.options)
    sample.click(take_sample, watch.turn, [*watch.outputs, seen, sheet], **watch.options)
    upload.upload(take_file, [watch.turn, upload], [*watch.outputs, seen, sheet], **watch.options)


def add_sudokus(page: Sudokus) -> None:
    """The tab of Sudokus: a board to fill in and what the model makes of it."""
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            board = gr.HTML(html_template=BOARD, js_on_load=script("board.js"), apply_default_css=False)
            with gr.Row():
                example = gr.Button("An example", size="sm", min_width=120, elem_classes="example")
                clear = gr.Button("Clear the board", size="sm", min_width=120, elem_classes="clear")
        with gr.Column(scale=6, min_width=380):
            watch = Watch(page)

    def edit(turn: dict, event: gr.EventData):
        watch.end(turn)
        with told():
            return watch.start(page.solve(event.cells))

    def take_example(turn: dict):
        watch.end(turn)
        cells = page.example(random.randrange(2**32))
        return [*watch.start(page.solve(cells)), cells]

    def wipe(turn: dict):
        watch.end(turn)
        return [*watch.start(None), "0" * 81]

    board.edit(edit, watch.turn, watch.outputs, trigger_mode="multiple", **watch.options)
    example.click(take_example, watch.turn, [*watch.outputs, board], **watch.options)
    clear.click(wipe, watch.turn, [*watch.outputs, board], **watch.options)


def build_page(digit_page: Digits | None = None, sudoku_page: Sudokus | None = None) -> gr.Blocks:
    """The page, with a tab for each of what is given."""
    with gr.Blocks(title="Hyper-SET: watch a forward pass") as page:
        gr.Markdown(
            "# Hyper-SET\nA forward pass is a descent on an energy. Watch the answer change with every iteration, also beyond "
            "the trained depth.",
            elem_classes="page-title",
        )
        if digit_page is not None:
            with gr.Tab("Digits"):
                add_digits(digit_page)
        if sudoku_page is not None:
            with gr.Tab("Sudoku"):
                add_sudokus(sudoku_page)
    return page


def launch(page: gr.Blocks, **options) -> tuple:
    """Serve the page from this machine alone, with nothing on it from elsewhere; what Gradio's `launch` takes and gives."""
    fonts = ("system-ui", "sans-serif")
    theme = gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=("ui-monospace", "monospace")
    )
    return page.launch(
        share=False, theme=theme, css=script("style.css"), footer_links=[], ssr_mode=False, show_error=True, **options
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Load the models and serve the page until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", help="A model of the digits: a folder or a name on the Hub.")
    parser.add_argument("--sudoku_model", help="A Sudoku solver: a folder or a name on the Hub.")
    parser.add_argument("--trust_remote_code", action="store_true", help="Whether to run code that a model brings.")
    parser.add_argument(
        "--server_name", default="127.0.0.1", help="Address to serve at; 0.0.0.0 for other machines too."
    )
    parser.add_argument("--server_port", type=int, help="Port to serve at; the first free one from 7860 if not given.")
    parser.add_argument("--open", action="store_true", help="Open the page in the browser.")
    options = parser.parse_args(arguments)
    if options.model_name_or_path is None and options.sudoku_model is None:
        parser.error("pass `--model_name_or_path`, `--sudoku_model` or both.")
    digit_page = sudoku_page = None
    try:
        if options.model_name_or_path is not None:
            digit_page = Digits(*load_digit_model(options.model_name_or_path, options.trust_remote_code))
        if options.sudoku_model is not None:
            sudoku_page = Sudokus(load_sudoku_model(options.sudoku_model, options.trust_remote_code))
    except ValueError as error:
        parser.error(str(error))
    address = {"server_name": options.server_name, "server_port": options.server_port, "inbrowser": options.open}
    launch(build_page(digit_page, sudoku_page), **address)


if __name__ == "__main__":
    main()
