# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The page of the demonstration, in Gradio."""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported

try:
    import gradio as gr
except ImportError as error:
    raise ImportError('The demonstration needs Gradio: pip install -e ".[demo]"') from error

from hyperset_lab.demo.descent import deepest
from hyperset_lab.demo.drawing import enlarged
from hyperset_lab.demo.pictures import data_url
from hyperset_lab.demo.tabs import Digits, Sudokus, on_sheet, open_picture, picture, picture_of
from hyperset_lab.demo.texts import EXAMPLE, Texts


PAGE = Path(__file__).parent / "page"
SECONDS_PER_ITERATION = 0.35  # of the animation
SHEET = '<div class="sheet"><canvas width="320" height="320" aria-label="Sheet to draw on"></canvas><button>Wipe</button></div>'
LABELS = [f"Row {cell // 9 + 1}, column {cell % 9 + 1}" for cell in range(81)]
CELLS = "".join(f'<input inputmode="numeric" aria-label="{label}">' for label in LABELS)
GIVENS, GIVENS_AT_FIRST = (30, 74), 50  # of an example; the solver that comes along was trained with 36 to 71
BOARD = f'<div class="board">{CELLS}</div>'


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Within it, a ValueError is shown on the page."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(str(error)) from error


class Watch:
    """
    The part that all pages have: the slider over the iterations of the `page`'s model, the button that plays them, and the
    view that the `page` shows.
    """

    def __init__(self, page: Digits | Sudokus | Texts):
        self.page, self.trained = page, page.model.config.num_iterations
        self.watched = gr.State(None)
        self.turn = gr.State({"number": 0})  # each session has its own, and the events change it in place
        with gr.Row(equal_height=True):
            label = f"Iterations (trained with {self.trained})"
            self.slider = gr.Slider(1, deepest(page.model), self.trained, step=1, label=label, scale=5)
            button = gr.Button("▶ Play", scale=1, min_width=90, elem_classes="play")
        self.view = gr.HTML(page.show(None, self.trained), elem_classes="view")
        seen = [self.turn, self.watched, self.slider]
        self.options: dict[str, Any] = {"show_progress": "hidden"}
        button.click(self.play, seen, [self.slider, self.view], **self.options)
        self.slider.input(self.slide, seen, self.view, trigger_mode="always_last", **self.options)
        # An event with something new to watch sets these.
        self.outputs = [self.watched, self.slider, self.view]

    def end(self, turn: dict) -> int:
        """
        End what plays, and return the number of the turn that begins. Gradio's `cancels` would let one more picture through. It
        could be of an old drawing, and come after the first of a new one.
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

    # Every stroke counts. Gradio's `always_last` would lose the data of our own events.
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
            givens = gr.Slider(*GIVENS, GIVENS_AT_FIRST, step=1, label="Given digits of an example")
        with gr.Column(scale=6, min_width=380):
            watch = Watch(page)

    def edit(turn: dict, event: gr.EventData):
        watch.end(turn)
        with told():
            return watch.start(page.solve(event.cells))

    def take_example(turn: dict, num_givens: int):
        watch.end(turn)
        cells = page.example(random.randrange(2**32), num_givens)
        return [*watch.start(page.solve(cells)), cells]

    def wipe(turn: dict):
        watch.end(turn)
        return [*watch.start(None), "0" * 81]

    board.edit(edit, watch.turn, watch.outputs, trigger_mode="multiple", **watch.options)
    example.click(take_example, [watch.turn, givens], [*watch.outputs, board], **watch.options)
    clear.click(wipe, watch.turn, [*watch.outputs, board], **watch.options)


def add_texts(page: Texts) -> None:
    """The tab of text: a prompt, what may come next, and the text that the model writes at the chosen depth."""
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            prompt = gr.Textbox(EXAMPLE, label="The beginning of a text", lines=4, elem_classes="prompt")
            with gr.Row():
                look = gr.Button("What comes next?", size="sm", min_width=120, elem_classes="look")
                write = gr.Button("Write on", size="sm", min_width=120, elem_classes="write")
            written = gr.Textbox(label="Written at the depth of the slider", lines=8, elem_classes="written")
        with gr.Column(scale=6, min_width=380):
            watch = Watch(page)

    def read(turn: dict, text: str):
        watch.end(turn)
        with told():
            return watch.start(page.read(text))

    def write_on(text: str, iterations: int):
        with told():
            return page.write(text, iterations)

    look.click(read, [watch.turn, prompt], watch.outputs, **watch.options)
    prompt.submit(read, [watch.turn, prompt], watch.outputs, **watch.options)
    write.click(write_on, [prompt, watch.slider], written)


def build_page(
    digit_page: Digits | None = None, sudoku_page: Sudokus | None = None, text_page: Texts | None = None
) -> gr.Blocks:
    """The page, with a tab for each of what is given."""
    with gr.Blocks(title="Hyper-SET: watch a forward pass") as page:
        gr.Markdown(
            "# Hyper-SET\nEvery iteration takes a step against the gradient of an energy. Watch energy and answer change, also "
            "beyond the trained depth.",
            elem_classes="page-title",
        )
        if digit_page is not None:
            with gr.Tab("Digits"):
                add_digits(digit_page)
        if sudoku_page is not None:
            with gr.Tab("Sudoku"):
                add_sudokus(sudoku_page)
        if text_page is not None:
            with gr.Tab("Text"):
                add_texts(text_page)
    return page


def launch(page: gr.Blocks, **options) -> tuple:
    """Serve the page from this machine alone, with nothing on it from elsewhere. See Gradio's `launch`."""
    fonts = ("system-ui", "sans-serif")
    mono = ("ui-monospace", "monospace")
    theme = gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=mono)
    options["theme"] = theme.set(body_text_color_subdued="*neutral_500")  # Gradio's own is too pale to read on white
    options["css"] = script("style.css")
    return page.launch(share=False, footer_links=[], ssr_mode=False, show_error=True, **options)
