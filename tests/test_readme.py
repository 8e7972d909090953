# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The README's code runs, and its two commands are what they say."""

import re
from pathlib import Path

from modeling_hyperset.presets import PRESETS


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    assert len(blocks("python")) >= 4
    for block in blocks("python"):
        exec(block, namespace)
    assert namespace["attention"].shape == namespace["feedforward"].shape == (24, 2)
    assert (tmp_path / "outputs" / "text" / "modeling_hyperset.py").is_file()


def test_the_two_commands_come_first():
    first, second = blocks("bash")[:2]
    assert "scripts/run_image_classification.py scripts/recipes/digits.yaml" in first
    assert second.rstrip().endswith("-m pytest")
    assert all("pip install -c constraints.txt" in block for block in (first, second))


def test_every_file_that_documents_name_exists():
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for name in re.findall(r"`((?:tests|scripts|modeling_hyperset)/[\w/.]+\.\w+)`", text):
            assert (ROOT / name).exists(), f"{document} names {name}"
    for name in re.findall(r"`(\w+_hyperset\.py|presets\.py)`", README):
        assert (ROOT / "modeling_hyperset" / name).is_file()
    assert PRESETS.keys() >= set(re.findall(r'preset_config\("([\w-]+)"\)', README))
