# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Take the pictures of `docs/demo.md`: the demonstration of the models in `model_cards`, in headless Chromium.

    python scripts/demo_pictures.py

Needs Chromium with its chromedriver, and `pip install -e ".[dev]"`. Look at the pictures before you commit them.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from selenium.webdriver.chrome.webdriver import WebDriver

from hyperset_lab.demo import browser
from hyperset_lab.demo.descent import load_digit_model, load_sudoku_model, load_text_model
from hyperset_lab.demo.site import build_page, launch
from hyperset_lab.demo.tabs import Digits, Sudokus
from hyperset_lab.demo.texts import Texts
from hyperset_lab.origin import ROOT
from modeling_hyperset.files import write_whole


CARDS = ROOT / "model_cards"
THREE = [(95, 75), (140, 45), (200, 60), (215, 105), (180, 140), (140, 150), (190, 160), (225, 200), (205, 250)]
THREE += [(150, 272), (95, 250)]  # on a sheet of 320 × 320


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--output_dir", default=str(ROOT / "docs" / "pictures"), help="Folder of the pictures.")
    return flags


def use(driver: WebDriver, tab: str) -> None:
    """Draw a digit, take a Sudoku, or begin a text, and wait for what the model makes of it."""
    wait_for = partial(browser.wait_for, driver)
    browser.open_tab(driver, tab)
    if tab == "Digits":
        browser.draw(driver, THREE)
    elif tab == "Sudoku":
        random.seed(0)  # the page runs in this process, and draws its example with it
        wait_for(".example").click()
    else:
        wait_for(".look").click()
        wait_for(".write").click()
        wait_for(".written textarea", lambda element: len(element.get_attribute("value") or "") > 40)
    wait_for('.view [data-chart="energy"]')


def main(arguments: Sequence[str] | None = None) -> None:
    folder = Path(parser().parse_args(arguments).output_dir)
    page = build_page(
        Digits(*load_digit_model(str(CARDS / "hyperset-digits"))),
        Sudokus(load_sudoku_model(str(CARDS / "hyperset-sudoku"))),
        Texts(*load_text_model(str(CARDS / "hyperset-shakespeare"))),
    )
    _, address, _ = launch(page, prevent_thread_lock=True, quiet=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        driver = browser.start(temporary)
        try:
            driver.get(address)
            for tab in ("Digits", "Sudoku", "Text"):
                use(driver, tab)
                path = folder / f"demo_{tab.lower()}.png"
                write_whole(path, partial(browser.picture_of_tab(driver).save, optimize=True))
                print(f"Written: {path}, {path.stat().st_size:,} bytes", flush=True)
        finally:
            driver.quit()
            page.close()


if __name__ == "__main__":
    main()
