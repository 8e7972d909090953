# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the documents say runs: every code block of the README, of CONTRIBUTING.md and of `docs/`, and every docstring's example."""

import doctest
import importlib
import pkgutil
import re
import sys

import pytest
from documents import PAGES, ROOT, Reader, blocks, commands
from processes import in_a_process

import modeling_hyperset
from modeling_hyperset.presets import PRESETS


README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def scripts():
    """The scripts, imported once for all pages."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(ROOT / "scripts")
        for name in ("run_image_classification", "run_text_classification", "run_masked_image_modeling", "run_sudoku"):
            importlib.import_module(name)
        yield


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert in_a_process(lambda: Reader(page).follow()) == 0
