# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The demonstration in headless Chromium: for its tests, and for the pictures of it in the documents."""

import base64
import io
import os
import shutil
from collections.abc import Callable, Sequence

from PIL import Image
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait


CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SECONDS = 240  # that a busy machine may take
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1000",
)
SHOWN = (
    ".page-title, .view, .chart, .legend, .board, .sheet, .seen, .written"  # what a picture has, where it is visible
)


def start(folder: str | os.PathLike) -> WebDriver:
    """
    A browser that keeps its files in `folder`.

    Raises:
        `OSError`: there is no Chromium, or no driver of it.
    """
    if CHROMIUM is None or DRIVER is None:
        raise OSError("There is no chromium with its chromedriver: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return WebDriver(options=options, service=Service(DRIVER))


def wait_for(
    browser: WebDriver, selector: str, holds: Callable[[WebElement], bool] = lambda element: True
) -> WebElement:
    """The first visible element that a selector finds, once it is there and something holds of it."""

    def found(driver):
        elements = [element for element in driver.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]
        return next((element for element in elements if holds(element)), None)

    passing = (StaleElementReferenceException, NoSuchElementException)  # while the page changes
    return WebDriverWait(browser, SECONDS, ignored_exceptions=passing).until(found)


def open_tab(browser: WebDriver, name: str) -> None:
    wait_for(browser, "button[role=tab]", lambda element: element.text == name).click()


def draw(browser: WebDriver, points: Sequence[tuple[float, float]]) -> None:
    """A stroke of the mouse on the sheet of 320 × 320, from point to point."""
    sheet = wait_for(browser, "canvas")
    scale = sheet.size["width"] / 320
    offsets = [(round((x - 160) * scale), round((y - 160) * scale)) for x, y in points]
    actions = ActionChains(browser, duration=20)
    actions.move_to_element_with_offset(sheet, *offsets[0]).click_and_hold()
    for offset in offsets[1:]:
        actions.move_to_element_with_offset(sheet, *offset)
    actions.release().perform()


def picture_of_tab(browser: WebDriver, scale: float = 1.25) -> Image.Image:
    """All of the tab that is open, also what is below the window."""
    left, top, right, bottom = browser.execute_script(
        """const boxes = [...document.querySelectorAll(arguments[0])].map((element) => element.getBoundingClientRect())
          .filter((box) => box.width && box.height);
        const edge = (choose, side, scrolled) => choose(...boxes.map((box) => box[side])) + scrolled;
        return [edge(Math.min, 'left', scrollX), edge(Math.min, 'top', scrollY),
                edge(Math.max, 'right', scrollX), edge(Math.max, 'bottom', scrollY)];""",
        SHOWN,
    )
    margin = 16
    clip = {"x": left - margin, "y": max(top - margin, 0), "scale": scale}
    clip |= {"width": right - left + 2 * margin, "height": bottom + margin - clip["y"]}
    # Selenium's own screenshot ends where the window does.
    taken = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip}
    )
    return Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")
