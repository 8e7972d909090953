# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the documents say runs: every code block of the README, CONTRIBUTING.md and `docs/`, every example of a docstring."""

import doctest
import importlib
import pkgutil
import re

import pytest

import modeling_hyperset
from modeling_hyperset.presets import PRESETS
from support.documents import MARKER, PAGES, ROOT, Reader, blocks, commands
from support.processes import in_a_process


README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = [
    importlib.import_module(f"modeling_hyperset.{module.name}")
    for module in pkgutil.iter_modules(modeling_hyperset.__path__)
    if not module.name.startswith("triton")
]


@pytest.fixture(scope="module")
def scripts():
    """The scripts, imported once for all pages."""
    for name in (
        "run_image_classification",
        "run_text_classification",
        "run_masked_image_modeling",
        "run_sudoku",
        "run_clm",
        "run_mlm",
    ):
        importlib.import_module(name)
    yield


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs_from_top_to_bottom(scripts, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert in_a_process(lambda: Reader(page).follow()) == 0


def test_a_page_that_is_wrong_does_not_pass(scripts, tmp_path, monkeypatch, capfd):
    """Each of these mistakes stops the reader: a test of pages that cannot fail would be worth nothing."""
    monkeypatch.setattr("support.documents.ROOT", tmp_path)
    for name in ("scripts", "tests", "modeling_hyperset", "constraints.txt", "constraints-oldest.txt", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    script = ".venv/bin/python scripts/run_image_classification.py"
    mistakes = {
        "```python\nassert 1 == 2\n```\n": "AssertionError",
        "<!-- not run: why -->\n```python\nassert 1 ==\n```\n": "SyntaxError",
        f"<!-- not run: why -->\n```bash\n{script} scripts/recipes/digits.yaml --no_such_flag 1\n```\n": "no_such_flag",
        f"<!-- not run: why -->\n```bash\n{script} scripts/recipes/no_such.yaml\n```\n": "no_such.yaml",
        f"<!-- not run: why -->\n```bash\n{script} --config_name no-such-preset --dataset_name digits\n```\n": "no-such-preset",
        '```bash\n.venv/bin/pip install -e ".[no_such_extra]"\n```\n': "no_such_extra",
        "```bash\n.venv/bin/python -m pytest -m no_such_marker\n```\n": "no_such_marker",
        "```bash\nfrobnicate\n```\n": "no rule for",
        "```\nwhat is it?\n```\n": "no rule for a block of ''",
        "```python\npass\n": "not closed",
    }
    for index, (text, message) in enumerate(mistakes.items()):
        folder = tmp_path / str(index)
        folder.mkdir()
        monkeypatch.chdir(folder)
        page = tmp_path / f"{index}.md"
        page.write_text(text, encoding="utf-8")
        assert in_a_process(lambda page=page: Reader(page).follow()) != 0, text
        assert message in capfd.readouterr().err, text


def test_what_is_not_run_says_why():
    for page in PAGES:
        for block in blocks(page):
            assert "not run" not in block.markers or len(block.markers["not run"].split()) > 2, f"{page}:{block.line}"
        text = page.read_text(encoding="utf-8")
        assert len(MARKER.findall(text)) == sum(len(block.markers) for block in blocks(page)), (
            f"{page}: a stray marker"
        )


def test_commands_are_split_as_a_shell_does():
    script = "A=1 one --flag 'two  words' \\\n    more  # comment\npython -c 'first\nsecond' && three"
    assert list(commands(script)) == [
        ["one", "--flag", "two  words", "more"],
        ["python", "-c", "first\nsecond"],
        ["three"],
    ]


def test_the_two_commands_come_first():
    first, second = (block.text for block in blocks(ROOT / "README.md") if block.language == "bash" and block.markers)
    assert "scripts/run_image_classification.py scripts/recipes/digits.yaml" in first
    assert second.rstrip().endswith("-m pytest -n 2 --dist loadfile")
    assert all("pip install -c constraints.txt" in block for block in (first, second))


def test_every_file_that_documents_name_exists():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:tests|scripts|modeling_hyperset)/[\w/.]+\.\w+)`", text):
            assert (ROOT / name).exists(), f"{page} names {name}"
        assert PRESETS.keys() >= set(re.findall(r'preset_config\("([\w-]+)"', text)), page
    for name in re.findall(r"`(\w+_hyperset\.py|presets\.py)`", README):
        assert (ROOT / "modeling_hyperset" / name).is_file()


def test_every_module_is_in_the_reference():
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.parent.name == "api")
    for module in pkgutil.iter_modules(modeling_hyperset.__path__):
        if module.name != "checks_hyperset":  # which callers meet as errors alone
            assert f"::: modeling_hyperset.{module.name}" in pages, module.name


def examples(module) -> list[doctest.DocTest]:
    """The examples of a module's docstrings. Their fences of Markdown are no output."""
    finder, parser, found = doctest.DocTestFinder(), doctest.DocTestParser(), []
    for test in finder.find(module, module.__name__):
        source = re.sub(r"^\s*```(python)?$", "", test.docstring or "", flags=re.MULTILINE)
        found.append(parser.get_doctest(source, {}, test.name, test.filename, test.lineno))
    return [test for test in found if test.examples]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_examples_of_docstrings_run(module, capsys):
    runner = doctest.DocTestRunner()
    for test in examples(module):
        runner.run(test)
    assert runner.failures == 0, capsys.readouterr().out


def test_every_public_class_has_an_example():
    documented = {test.name.rpartition(".")[2] for module in MODULES for test in examples(module)}
    assert set(modeling_hyperset.__all__) - {"HyperSETPreTrainedModel"} <= documented
