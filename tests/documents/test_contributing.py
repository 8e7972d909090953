# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""CONTRIBUTING's walk "Add a head", followed word by word in a copy of the package and its tests."""

import os
import shutil
import subprocess
import sys

import pytest

from support.documents import ROOT, blocks


def code_of(section: str) -> list[str]:
    """The blocks of code in a section of CONTRIBUTING.md."""
    page = ROOT / "CONTRIBUTING.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    first = lines.index(f"## {section}")
    last = next(index for index in range(first + 1, len(lines)) if lines[index].startswith("## "))
    return [block.text for block in blocks(page) if first < block.line < last]


@pytest.mark.slow
def test_add_a_head(tmp_path):
    head, entry, cases = code_of("Add a head")
    for folder in ("modeling_hyperset", "scripts", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "outputs"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def edit(name: str, before: str, after: str) -> None:
        path = tmp_path / name
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, (name, before)
        path.write_text(text.replace(before, after), encoding="utf-8")

    name = "HyperSETForNextSentencePrediction"
    modeling = "modeling_hyperset/modeling_hyperset.py"
    edit(modeling, "    MaskedLMOutput,\n", "    MaskedLMOutput,\n    NextSentencePredictorOutput,\n")
    edit(modeling, "AUTO_CLASSES = {\n", f"{head}\n\nAUTO_CLASSES = {{\n    {entry}")
    imported = "    HyperSETForMaskedLM,\n"
    edit("modeling_hyperset/__init__.py", imported, f"{imported}    {name},\n")
    edit("tests/support/builders.py", imported, f"{imported}    {name},\n")
    made = "\n\ndef make_config("
    edit("tests/support/builders.py", made, f"{cases}HEADS.append('next-sentence')\n{made}")
    tests = ["tests/transformers/test_transformers.py", "tests/model/test_waits.py", "tests/model/test_iteration.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "next-sentence", *tests]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout[-3000:]
    assert int(finished.stdout.split(" passed")[0].split()[-1]) >= 10, finished.stdout[-500:]
