# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The demonstration without a browser: drawings, what is watched, what is drawn of it, and what is refused."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from support.builders import make_model
from support.sudoku_boards import PUZZLE, SOLUTION, board
from transformers import ViTImageProcessorPil


SCRIPTS = Path(__file__).parents[2] / "scripts"
DIGITS = {"num_labels": 10, "id2label": {index: str(index) for index in range(10)}}
DIGIT_MODEL = DIGITS | {"image_size": 16, "num_iterations": 3}
SUDOKU_MODEL = {"vocab_size": 10, "max_position_embeddings": 81, "num_labels": 9}


def script(name: str):
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def held_out() -> list[Image.Image]:
    """Twelve of the digits that the recipe holds out, of 8 × 8 pixels."""
    return script("hyperset_lab.images.data").digits()["test"][:12]["image"]


def difference(first: Image.Image, second: Image.Image) -> float:
    """Mean difference of two images' pixels, in sixteenths of white: the unit of scikit-learn's digits."""
    return float(np.abs(np.asarray(first, dtype=float) - np.asarray(second, dtype=float)).mean()) * 16 / 255


def drawing(*strokes, width: int = 24, size: int = 320, ink: str = "black", paper: str = "white") -> Image.Image:
    """Strokes of a round pen."""
    sheet = Image.new("RGB", (size, size), paper)
    pen = ImageDraw.Draw(sheet)
    for points in strokes:
        pen.line(points, fill=ink, width=width, joint="curve")
        for x, y in points:
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=ink)
    return sheet


SEVEN = [(90, 80), (220, 80), (150, 250)]


def test_a_digit_drawn_large_becomes_what_it_was(held_out):
    demo_drawing = script("hyperset_lab.demo.drawing")
    differences = []
    for digit in held_out:
        strokes = demo_drawing.strokes_of(digit)
        assert difference(demo_drawing.as_digit(strokes), digit) < 0.5  # the shape holds the ink of every pixel
        differences.append(difference(demo_drawing.to_digit(demo_drawing.enlarged(digit)), digit))
        assert difference(Image.new("L", (8, 8)), digit) > 4  # so that the bounds say something
    assert np.mean(differences) < 1.6, differences  # one that was not centred is moved


def test_place_size_and_colours_of_a_drawing_do_not_matter(held_out):
    demo_drawing = script("hyperset_lab.demo.drawing")
    sheet = demo_drawing.enlarged(held_out[0])
    expected = demo_drawing.to_digit(sheet)
    paper = Image.new("RGBA", (700, 500), "white")
    paper.alpha_composite(sheet, (340, 150))
    grey = paper.convert("L")
    for other in (paper, grey, ImageOps.invert(grey), grey.point(lambda value: 150 + value * 105 // 255)):
        assert difference(demo_drawing.to_digit(other), expected) < 0.1
    assert difference(demo_drawing.to_digit(paper.resize((1400, 1000))), expected) < 0.5


@pytest.mark.parametrize("width", [3, 8, 24, 60])
def test_the_pen_does_not_matter_much(width):
    demo_drawing = script("hyperset_lab.demo.drawing")
    digit = np.asarray(demo_drawing.to_digit(drawing(SEVEN, width=width)))
    assert (
        digit.shape == (8, 8) and 0.2 < (digit / 255).mean() < 0.4
    )  # of scikit-learn's digits, 95 of 100 have 0.25 to 0.36
    assert digit[0].max() > 150 and digit[7].max() > 100  # from top to bottom
    assert difference(Image.fromarray(digit), demo_drawing.to_digit(drawing(SEVEN))) < 3


def test_nothing_drawn():
    demo_drawing = script("hyperset_lab.demo.drawing")
    for sheet in (Image.new("RGBA", (320, 320)), Image.new("L", (40, 30), 255), Image.new("L", (40, 30), 0)):
        assert demo_drawing.to_digit(sheet) is None


@settings(max_examples=10)
@given(
    strokes=st.lists(
        st.lists(st.tuples(st.integers(0, 319), st.integers(0, 319)), min_size=1, max_size=4), min_size=1, max_size=3
    ),
    width=st.integers(3, 70),
)
def test_any_drawing_becomes_a_digit(strokes, width):
    sheet = ImageOps.expand(drawing(*strokes, width=width), 40, "white")
    digit = np.asarray(script("hyperset_lab.demo.drawing").to_digit(sheet))
    assert digit.shape == (8, 8) and digit.dtype == np.uint8 and digit.max() > 0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"pooling": "mean"},
        {"num_hidden_layers": 2},
        {"lora_rank": 2},
        {"layer_type": "crate"},
        {"energy_tolerance": 0.1},
    ],
    ids=str,
)
def test_what_is_watched_is_what_the_model_gives(fields):
    demo_descent = script("hyperset_lab.demo.descent")
    model, images = make_model("image-classification", **fields), torch.randn(1, 3, 12, 12)
    descent = demo_descent.descend(model, pixel_values=images)
    assert descent.trained == 3 and descent.depth == (3 if "lora_rank" in fields else 12)
    for depth in range(1, descent.depth + 1):
        options = {"num_iterations": depth, "energy_tolerance": False}
        outputs = model(images, output_energies=descent.energies is not None, **options)
        wanted = outputs.logits[0].softmax(dim=-1).detach().numpy()
        np.testing.assert_allclose(descent.probabilities[depth - 1], wanted, atol=1e-5)
        if descent.energies is not None:
            wanted = outputs.energies[-1][0].detach().numpy()
            np.testing.assert_allclose(descent.energies[depth - 1], wanted, rtol=1e-4)
    assert (descent.total_energy is None) == ("layer_type" in fields)


def test_a_sudoku_is_watched_too():
    demo_descent = script("hyperset_lab.demo.descent")
    model, cells = make_model("token-classification", **SUDOKU_MODEL), torch.arange(81)[None] % 10
    descent = demo_descent.descend(model, input_ids=cells)
    for depth in (1, 3, 12):
        wanted = model(cells, num_iterations=depth).logits[0].softmax(dim=-1).detach().numpy()
        np.testing.assert_allclose(descent.probabilities[depth - 1], wanted, atol=1e-5)


def points_of(svg: str) -> list[np.ndarray]:
    """The curves of a chart, in its dots."""
    curves = re.findall(r'<g id="curve-\d+">\s*<path d="([^"]+)"', svg)
    return [np.array(re.findall(r"[ML] (\S+) (\S+)", curve), dtype=float) for curve in curves]


def a_descent(**fields):
    model = make_model("image-classification", **DIGITS, **fields)
    return script("hyperset_lab.demo.descent").descend(model, pixel_values=torch.randn(1, 3, 12, 12))


def test_the_curves_are_the_numbers():
    pictures = script("hyperset_lab.demo.pictures")
    descent = a_descent()
    (curve,) = points_of(pictures.energy_chart(descent, 5))
    assert len(curve) == 12 and (np.diff(curve[:, 0]) > 0).all()
    # Straight lines from dots to iterations and energies: what two points say holds for all.
    scale, offset = np.polyfit(curve[:, 1], descent.total_energy, 1)
    np.testing.assert_allclose(
        scale * curve[:, 1] + offset, descent.total_energy, atol=0.01 * np.ptp(descent.total_energy)
    )
    assert scale < 0  # up is more
    curves = points_of(pictures.share_chart(descent, 5, [str(index) for index in range(10)]))
    assert len(curves) == 10
    # One scale for all of them; up is more.
    dots = np.sort([-curve[:, 1] for curve in curves], axis=0)
    shares = np.sort(descent.probabilities.T, axis=0)
    scale, offset = np.polyfit(dots.ravel(), shares.ravel(), 1)
    assert scale > 0
    np.testing.assert_allclose(scale * dots + offset, shares, atol=0.001)


def test_the_view_of_a_digit():
    pictures = script("hyperset_lab.demo.pictures")
    descent, labels = a_descent(), [str(index) for index in range(10)]
    for iteration in (1, 3, 12):
        view = pictures.digit_view(descent, iteration, labels, truth="4")
        best = descent.probabilities[iteration - 1].argmax()
        assert f'data-answer="{best}"' in view and "it is a 4" in view and "trained depth 3" in view
        assert f"{descent.probabilities[iteration - 1].max():.0%} sure after {iteration} iteration" in view
        assert f"energy {descent.total_energy[iteration - 1]:.1f}" in view
    assert "Draw a digit" in pictures.digit_view(None, 3, labels)
    assert "derived from no energy" in pictures.digit_view(a_descent(layer_type="transformer"), 3, labels)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Saved models, some of which the demonstration cannot show."""
    folder = tmp_path_factory.mktemp("models")
    models = {
        "digits": make_model("image-classification", **DIGIT_MODEL),
        "five": make_model("image-classification", image_size=16),
        "base": make_model("images", image_size=16),
        "sudoku": make_model("token-classification", **SUDOKU_MODEL),
        "tags": make_model("token-classification"),
        "no-processor": make_model("image-classification", **DIGIT_MODEL),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
        if name != "no-processor":
            ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder / name)
    (folder / "empty").mkdir()
    return {path.name: str(path) for path in folder.iterdir()} | {"missing": str(folder / "missing")}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "run_image_classification.py"),
        ("empty", "run_image_classification.py"),
        ("five", "ten digits"),
        ("base", "HyperSETForImageClassification"),
        ("sudoku", "HyperSETForImageClassification"),
        ("no-processor", "image processor"),
    ],
)
def test_models_that_are_no_digit_models(folders, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        script("hyperset_lab.demo.descent").load_digit_model(folders[name])
    assert "--model_name_or_path" in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing", "run_sudoku.py"), ("digits", "HyperSETForTokenClassification"), ("tags", "81 cells")],
)
def test_models_that_solve_no_sudoku(folders, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        script("hyperset_lab.demo.descent").load_sudoku_model(folders[name])
    assert "--sudoku_model" in str(caught.value) and name in str(caught.value)


@pytest.fixture
def site():
    pytest.importorskip("gradio", reason="the page needs Gradio: pip install -e '.[demo]'")
    return script("hyperset_lab.demo.site")


def test_the_page_of_digits(site, folders, held_out):
    page = site.Digits(*script("hyperset_lab.demo.descent").load_digit_model(folders["digits"]))
    watched, digit = page.sample(0)
    assert difference(digit, held_out[0]) == 0 and watched["truth"] in page.labels
    pixels = page.processor([held_out[0].convert("RGB")], return_tensors="pt")["pixel_values"]
    wanted = page.model(pixels).logits[0].softmax(dim=-1).detach().numpy()
    np.testing.assert_allclose(watched["descent"].probabilities[2], wanted, atol=1e-5)
    assert page.recognise(Image.new("RGBA", (320, 320))) == (None, None)
    url = script("hyperset_lab.demo.pictures").data_url(drawing(SEVEN))
    watched, digit = page.recognise(site.picture_of(url))
    assert (
        watched["truth"] is None
        and difference(digit, script("hyperset_lab.demo.drawing").to_digit(drawing(SEVEN))) == 0
    )
    assert f'data-answer="{watched["descent"].probabilities[1].argmax()}"' in page.show(watched, 2)
    for bad in ("", "data:image/png;base64,@@", "data:image/png;base64,aGFsbG8=", "data:text/html,<b>"):
        with pytest.raises(ValueError, match="drawing"):
            site.picture_of(bad)


def test_the_page_of_sudokus(site, folders):
    page = site.Sudokus(script("hyperset_lab.demo.descent").load_sudoku_model(folders["sudoku"]))
    watched = page.solve(PUZZLE)
    assert "".join(map(str, watched["solution"])) == SOLUTION and not watched["problem"]
    view = page.show(watched, 2)
    digits = board(re.search(r'data-board="(\d{81})"', view)[1])
    puzzle = board(PUZZLE)
    assert (digits[puzzle != 0] == puzzle[puzzle != 0]).all() and digits.min() >= 1
    right = int((digits == board(SOLUTION))[puzzle == 0].sum())
    assert f"{right} of {(puzzle == 0).sum()} blanks right" in view
    assert view.count('<div class="right">') == right and view.count('<div class="given">') == 17
    assert "contradicts" in page.show(page.solve("11" + "0" * 79), 1)
    assert "several solutions" in page.show(page.solve("1" + "0" * 80), 1)
    assert page.solve("0" * 81) is None and "Type a Sudoku" in page.show(None, 1)
    with pytest.raises(ValueError, match="81 digits"):
        page.solve("12")
    assert page.example(1, 60) == page.example(1, 60) != page.example(2, 60)
    assert page.example(1, 40).count("0") == 41


def test_the_whole_page_is_built(site, folders):
    both = site.build_page(
        site.Digits(*script("hyperset_lab.demo.descent").load_digit_model(folders["digits"])),
        site.Sudokus(script("hyperset_lab.demo.descent").load_sudoku_model(folders["sudoku"])),
    )
    sliders = [block for block in both.blocks.values() if block.get_block_name() == "slider"]
    assert [(slider.maximum, slider.value) for slider in sliders] == [(12, 3), (74, 50), (12, 3)]


def test_what_plays_ends_with_the_next_event(site, folders, monkeypatch):
    """No picture of an old drawing comes after one of a new."""
    monkeypatch.setattr(site, "SECONDS_PER_ITERATION", 0)
    page = site.Digits(*script("hyperset_lab.demo.descent").load_digit_model(folders["digits"]))
    with site.gr.Blocks():
        watch = site.Watch(page)
    (watched, _), turn = page.sample(0), {"number": 0}
    assert [step for step, _ in watch.play(turn, watched, 3)] == list(range(1, 13))
    for event in (
        lambda: watch.end(turn),
        lambda: watch.slide(turn, watched, 2),
        lambda: next(watch.play(turn, watched, 3)),
    ):
        playing = watch.play(turn, watched, 3)
        assert [next(playing)[0], next(playing)[0]] == [1, 2]
        event()
        assert list(playing) == [(site.gr.skip(), site.gr.skip())]  # nothing changes


def test_without_flags_it_shows_the_models_that_come_along(site, monkeypatch, capsys, tmp_path):
    demo, shown = script("demo"), []
    monkeypatch.setattr(demo, "launch", lambda page, **options: shown.append(page))
    demo.main([])
    tabs = [block.label for block in shown[0].blocks.values() if block.get_block_name() == "tabitem"]
    titles = {"model_name_or_path": "Digits", "sudoku_model": "Sudoku", "text_model": "Text"}
    here = {path.name for path in demo.MODEL_CARDS.iterdir() if path.is_dir()}
    assert "Digits" in tabs
    assert tabs == [titles[flag] for flag, name in demo.COME_ALONG.items() if name in here]
    monkeypatch.setattr(demo, "MODEL_CARDS", tmp_path)
    with pytest.raises(SystemExit):
        demo.main([])
    assert "pass `--model_name_or_path`" in capsys.readouterr().err


def test_bad_flags_end_with_a_sentence(site, folders, capsys):
    for flags, message in (
        (["--model_name_or_path", folders["missing"]], "there is no folder and no model of the Hub"),
        (["--model_name_or_path", folders["digits"], "--sudoku_model", folders["tags"]], "81 cells"),
    ):
        with pytest.raises(SystemExit) as caught:
            script("demo").main(flags)
        assert caught.value.code == 2 and message in capsys.readouterr().err


def test_without_gradio_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("demo", "hyperset_lab.demo.site"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[demo\]"'):
        script("demo")


def test_pictures_that_are_opened(site, tmp_path):
    drawing(SEVEN).resize((600, 200)).save(tmp_path / "seven.jpg")
    sheet = site.on_sheet(site.open_picture(str(tmp_path / "seven.jpg")))
    assert sheet.size == (320, 320) and script("hyperset_lab.demo.drawing").to_digit(sheet) is not None
    (tmp_path / "words.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"words\.png"):
        site.open_picture(str(tmp_path / "words.png"))
