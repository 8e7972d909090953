# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What is released: the version, the citation, and both archives; the wheel is installed where the checkout is out of reach."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import tomllib
import torch
import yaml

import modeling_hyperset


ROOT = Path(__file__).parents[2]

# What somebody does first with the package, printed in the end so that it is known to have got there.
SMOKE = """
import importlib.metadata, importlib.resources, sys
from pathlib import Path
import modeling_hyperset, torch
from modeling_hyperset import conversion, presets
from transformers import AutoModelForSequenceClassification

assert Path(modeling_hyperset.__file__).is_relative_to(sys.prefix), modeling_hyperset.__file__
for name in ("py.typed", "label_names.json"):
    assert importlib.resources.files(modeling_hyperset).joinpath(name).is_file(), name
config = presets.preset_config("yelp-small", hidden_size=32, num_attention_heads=2, vocab_size=50)
model = AutoModelForSequenceClassification.from_config(config).eval()
model.save_pretrained("saved")
again = AutoModelForSequenceClassification.from_pretrained("saved").eval()
ids = torch.arange(8)[None]
torch.testing.assert_close(model(ids).logits, again(ids).logits)
print("works", importlib.metadata.version("modeling_hyperset"), modeling_hyperset.__version__)
"""


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "modeling_hyperset.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", modeling_hyperset.__version__)
    assert importlib.metadata.version("modeling_hyperset") == modeling_hyperset.__version__


def test_the_citation_is_of_this_version_and_of_the_paper_that_the_cards_cite():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert {"message", "title", "authors"} <= citation.keys()  # what the format demands
    assert citation["version"] == modeling_hyperset.__version__ and citation["license"] == "Apache-2.0"
    paper = citation["preferred-citation"]
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    for page in ("docs/index.md", "model_cards/hyperset-base.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"{{{paper['title']}}}" in text and f"{{{authors}}}" in text and f"{{{paper['year']}}}" in text, page


def run(*command, **options) -> str:
    """Run a command that must succeed, and return what it printed."""
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600, check=False, **options)
    assert result.returncode == 0, f"{command}:\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout


@pytest.mark.slow
def test_wheel_and_source_distribution_work_without_the_checkout(tmp_path):
    left_out = shutil.ignore_patterns(".*", "outputs", "site", "build", "dist", "*.egg-info", "__pycache__")
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=left_out)
    shutil.copytree(ROOT / ".ci", source / ".ci")
    # The wheel is built from the source distribution, with the setuptools that is installed.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", source, cwd=tmp_path)
    (wheel,), (archive,) = (tmp_path / "dist").glob("*.whl"), (tmp_path / "dist").glob("*.tar.gz")

    version = modeling_hyperset.__version__
    paths = [path for path in (ROOT / "modeling_hyperset").rglob("*") if path.is_file()]
    package = {str(path.relative_to(ROOT)) for path in paths if "__pycache__" not in path.parts}
    with zipfile.ZipFile(wheel) as file:
        files = {name for name in file.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        assert f"\nVersion: {version}\n" in file.read(metadata).decode()
    assert files == package >= {"modeling_hyperset/py.typed", "modeling_hyperset/label_names.json"}
    with tarfile.open(archive) as file:
        names = {name.removeprefix(f"modeling_hyperset-{version}/") for name in file.getnames()}
    for name in (
        "tests/documents/test_release.py",
        "tests/fixtures/golden/ic_hyperset/checkpoint.pth",
        "scripts/recipes/digits.yaml",
    ):
        assert name in names
    assert {"LICENSE", "CITATION.cff", "CHANGELOG.md", "constraints.txt", "mkdocs.yml", "docs/index.md"} <= names
    assert not [name for name in names if name.endswith(".pyc") or name.startswith("outputs")]

    # The wheel comes from the archive, so one that works shows that both do.
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # The dependencies are those of the tests. Python does not follow a checkout that is linked from their folder.
    (site / "dependencies.pth").write_text(f"{Path(torch.__file__).parents[1]}\n", encoding="utf-8")
    flags = ["--no-deps", "--no-index", "--quiet", "--ignore-installed"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *flags, wheel)
    folder = environment / "elsewhere"
    folder.mkdir()
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    printed = run(python, "-c", SMOKE, cwd=folder, env=variables)
    assert printed.splitlines()[-1] == f"works {version} {version}"
