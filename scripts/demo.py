# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Watch a model's answer and its energy change from iteration to iteration, in a browser.

    python scripts/demo.py
    python scripts/demo.py --model_name_or_path outputs/digits
    python scripts/demo.py --model_name_or_path outputs/digits --sudoku_model outputs/sudoku-small --server_port 8000
    python scripts/demo.py --text_model outputs/shakespeare

Draw a digit, or take one that the model was not trained on; type a Sudoku; or type the beginning of a text. The slider goes
beyond the trained depth. Without flags, the models are those that come along, in `model_cards`. The page sends nothing to
other machines, and loads nothing from them. Needs `pip install -e ".[demo]"`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hyperset_lab.demo.descent import load_digit_model, load_sudoku_model, load_text_model
from hyperset_lab.demo.site import build_page, launch
from hyperset_lab.demo.tabs import Digits, Sudokus
from hyperset_lab.demo.texts import Texts


MODEL_CARDS = Path(__file__).resolve().parents[1] / "model_cards"
COME_ALONG = {
    "model_name_or_path": "hyperset-digits",
    "sudoku_model": "hyperset-sudoku",
    "text_model": "hyperset-shakespeare",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Load the models and serve the page until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", help="A model of the digits: a folder or a name on the Hub.")
    parser.add_argument("--sudoku_model", help="A Sudoku solver: a folder or a name on the Hub.")
    parser.add_argument("--text_model", help="A model that writes text: a folder or a name on the Hub.")
    parser.add_argument("--trust_remote_code", action="store_true", help="Whether to run code that a model brings.")
    parser.add_argument("--server_name", default="127.0.0.1", help="Address; 0.0.0.0 serves other machines too.")
    parser.add_argument("--server_port", type=int, help="Port to serve at; the first free one from 7860 if not given.")
    parser.add_argument("--open", action="store_true", help="Open the page in the browser.")
    options = parser.parse_args(arguments)
    if options.model_name_or_path is options.sudoku_model is options.text_model is None:
        for flag, name in COME_ALONG.items():
            if (MODEL_CARDS / name).is_dir():
                setattr(options, flag, str(MODEL_CARDS / name))
    if options.model_name_or_path is options.sudoku_model is options.text_model is None:
        parser.error(
            f"{MODEL_CARDS} has no models here: pass `--model_name_or_path`, `--sudoku_model` or `--text_model`, or several."
        )
    digit_page = sudoku_page = text_page = None
    try:
        if options.model_name_or_path is not None:
            digit_page = Digits(*load_digit_model(options.model_name_or_path, options.trust_remote_code))
        if options.sudoku_model is not None:
            sudoku_page = Sudokus(load_sudoku_model(options.sudoku_model, options.trust_remote_code))
        if options.text_model is not None:
            text_page = Texts(*load_text_model(options.text_model, options.trust_remote_code))
    except ValueError as error:
        parser.error(str(error))
    address = {"server_name": options.server_name, "server_port": options.server_port, "inbrowser": options.open}
    launch(build_page(digit_page, sudoku_page, text_page), **address)


if __name__ == "__main__":
    main()
