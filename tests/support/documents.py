# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Read the code blocks of a page and do what a reader would, from top to bottom, in one folder and one namespace.

- A ```python block is executed; one after `<!-- file: name.py -->` is written to that file, for a command of the page to run.
- Of a ```bash block every command is parsed, and its files, extras, flags and recipe are checked. What runs in a moment is then
  run; scripts that train or analyse do so for two steps or on a few samples (`SHORT`).
- After `<!-- not run: why -->` a block is only parsed and checked.

A command that is none of those known here is an error, so that no block is left out in silence.
"""

import importlib.util
import itertools
import os
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import tomllib
from accelerate.commands.launch import launch_command_parser
from packaging.requirements import Requirement

from hyperset_lab.analyzing import AnalyzeArguments
from hyperset_lab.arguments import parse_arguments
from hyperset_lab.converting.sources import read_words
from hyperset_lab.models import load_config
from hyperset_lab.tasks import task_named
from modeling_hyperset.conversion import Source
from modeling_hyperset.conversion.given import gather


ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]

BLOCK = re.compile(r"((?:^<!--.*-->\n)*)^```(.*)\n((?:(?!```).*\n)*)^```$", re.MULTILINE)
MARKER = re.compile(r"<!-- (file|not run|command): (.+?) -->")

# What makes a training or an analysis short.
TWO_STEPS = ["--max_steps", "2", "--max_train_samples", "64", "--max_eval_samples", "20"]
TWO_STEPS += ["--use_cpu", "--disable_tqdm", "true", "--report_to", "none"]
CACHE_HERE = ["--cache_dir", "cache"]
SHORT = {
    "run_image_classification.py": TWO_STEPS + CACHE_HERE,
    "run_text_classification.py": TWO_STEPS + CACHE_HERE,
    "run_masked_image_modeling.py": TWO_STEPS + CACHE_HERE,
    "run_sudoku.py": TWO_STEPS + CACHE_HERE,
    "run_clm.py": TWO_STEPS + CACHE_HERE,
    "run_mlm.py": TWO_STEPS + CACHE_HERE,
    "train_vq_model.py": TWO_STEPS,
    "analyze.py": TWO_STEPS + CACHE_HERE,
}
# Scripts that take minutes however short: their flags are checked here, and their own tests call them.
TESTED_ELSEWHERE = {
    "benchmark.py": "lab/test_benchmark.py",
    "benchmark_data.py": "lab/test_benchmark_data.py",
    "check_gpu.py": "lab/test_check_gpu.py",
    "compare.py": "lab/test_compare.py",
    "demo.py": "lab/test_demo_page.py",
    "train_in_time.py": "lab/test_train_in_time.py",
}
IN_PARALLEL = ["-n", "2", "--dist", "loadfile"]  # tests: flags of pytest-xdist
# Tools that CI runs.
TOOLS = {"ruff": {"format", "check"}, "mypy": {""}, "mkdocs": {"build", "serve"}}


@dataclass(frozen=True)
class Block:
    """A block of code, the line it starts in, and the markers right before it."""

    language: str
    text: str
    line: int
    markers: dict[str, str]


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(language, code, text.count("\n", 0, match.start(3)), dict(MARKER.findall(markers)))
        for match in BLOCK.finditer(text)
        for markers, language, code in [match.groups()]
    ]
    assert 2 * len(found) == len(re.findall(r"^\s*```", text, flags=re.MULTILINE)), f"{page}: a block is not closed"
    return found


def commands(script: str) -> Iterator[list[str]]:
    """The words of every command of a shell script, without comments and without variables set before it."""
    pending = ""
    for line in script.splitlines():
        pending += line.removesuffix("\\") if line.endswith("\\") else line + "\n"
        if line.endswith("\\"):
            continue
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quotation goes on in the next line
            continue
        pending = ""
        command: list[str] = []
        for word in [*words, "&&"]:
            if word != "&&":
                command.append(word)
            elif command:
                while re.fullmatch(r"[A-Z_]+=.*", command[0]):
                    del command[0]
                yield command
                command = []
    assert not pending.strip(), f"the command {pending!r} does not end"


class Reader:
    """
    Somebody who follows a page, in the present folder.

    Args:
        page (`Path`): The page.
    """

    def __init__(self, page: Path):
        self.page = page
        self.namespace: dict = {"__name__": "page"}
        self.ran: list[str] = []
        for name in ("tests", "modeling_hyperset", "constraints.txt", "constraints-oldest.txt", "docs", "model_cards"):
            Path(name).symlink_to(ROOT / name)
        Path("scripts").mkdir()  # a page may add one
        for path in (ROOT / "scripts").iterdir():
            (Path("scripts") / path.name).symlink_to(path)

    def follow(self) -> None:
        """Do everything that the page says."""
        for block in blocks(self.page):
            where = f"{self.page.relative_to(ROOT)}:{block.line}"
            is_run = "not run" not in block.markers
            if block.language == "python":
                code = compile("\n" * block.line + block.text, str(self.page), "exec")
                if "file" in block.markers:
                    name = block.markers["file"]
                    used = any(name in later.text for later in blocks(self.page) if later.language == "bash")
                    assert used, f"{where}: no command of the page uses {name}"
                    Path(name).write_text(block.text, encoding="utf-8")
                elif is_run:
                    exec(code, self.namespace)
            elif block.language == "bash":
                for command in commands(block.text):
                    self.do(command, is_run, where)
            else:
                assert block.language in ("bibtex", "text"), f"{where}: no rule for a block of {block.language!r}"

    def do(self, words: list[str], is_run: bool, where: str) -> None:
        """Check one command, and run it if that takes a moment."""
        tool, rest = words[0].removeprefix(".venv/bin/").removeprefix(".venv-oldest/bin/"), words[1:]
        if tool in ("python", "python3"):
            self.python(rest, is_run, where)
        elif tool == "pip":
            self.pip(rest, where)
        elif tool == "accelerate":
            assert rest[0] == "launch", f"{where}: {rest[0]}"
            launch = launch_command_parser().parse_args(rest[1:])
            assert Path(launch.config_file).is_file(), f"{where}: {launch.config_file}"
            assert not is_run, f"{where}: several processes need several devices"
            self.script([launch.training_script, *launch.training_script_args], is_run, where)
        elif tool in TOOLS:
            in_extras = {Requirement(line).name for lines in EXTRAS.values() for line in lines}
            assert tool in in_extras and (rest or [""])[0] in TOOLS[tool], f"{where}: {words}"
        else:
            assert words == [".ci/run"] and os.access(ROOT / ".ci" / "run", os.X_OK), f"{where}: no rule for {words}"

    def pip(self, words: list[str], where: str) -> None:
        """What is installed: constraint files and extras exist."""
        assert words[0] == "install", f"{where}: {words}"
        rest = iter(words[1:])
        for word in rest:
            if word == "-c":
                assert Path(next(rest)).is_file(), where
            elif word == "-e":
                (extras,) = re.fullmatch(r"\.(?:\[([\w,]+)\])?", next(rest)).groups()
                assert set((extras or "train").split(",")) <= EXTRAS.keys(), f"{where}: {extras}"
            else:
                Requirement(word)

    def python(self, words: list[str], is_run: bool, where: str) -> None:
        if words[0] == "-c":
            code = compile(words[1], where, "exec")
            if is_run:
                exec(code, {"__name__": "__main__"})
        elif words[:2] == ["-m", "venv"]:
            assert len(words) == 3, f"{where}: {words}"
        elif words[:2] == ["-m", "pytest"]:
            declared = {line.split(":")[0] for line in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
            rest = words[6:] if words[2:6] == IN_PARALLEL else words[2:]
            is_known = rest[:1] in ([], ["-m"]) and set(rest[1:]) <= declared
            assert is_known or rest == ["-p", "randomly"], f"{where}: {words}"
        elif words[0] == "-m":
            assert words[1].startswith("modeling_hyperset."), f"{where}: no rule for {words}"
            assert importlib.util.find_spec(words[1]) is not None, f"{where}: {words[1]}"
            if is_run:
                with mock.patch.object(sys, "argv", words[1:]):
                    runpy.run_module(words[1], run_name="__main__")
        else:
            self.script(words, is_run, where)

    def script(self, words: list[str], is_run: bool, where: str) -> None:
        """Parse the flags of a script and its recipe, and run it."""
        path, flags = Path(words[0]), words[1:]
        assert path.parent == Path("scripts") and path.is_file(), f"{where}: {path}"
        self.ran.append(path.name)
        if not path.is_symlink():  # one that the page has written
            with mock.patch.object(sys, "argv", [str(path), *flags, *TWO_STEPS]):
                runpy.run_path(str(path), run_name="__main__")
            return
        module = importlib.import_module(path.stem)
        if path.name in ("benchmark.py", "benchmark_data.py", "check_gpu.py"):
            with mock.patch("torch.cuda.is_available", return_value=True):
                module.parse(flags)
        elif path.name == "compare.py":
            parse_arguments((module.ComparisonArguments,), flags)
        elif path.name == "train_in_time.py":
            parse_arguments((module.InTimeArguments,), flags)
        elif path.name == "demo.py":
            with mock.patch("gradio.Blocks.launch") as launch:  # which serves the page until it is stopped
                module.main(flags)
            launch.assert_called_once()
        elif path.name.startswith("convert_") and not is_run:
            parsed = module.parser().parse_intermixed_args(flags)
            gather([Source(read_words(getattr(parsed, "words", [])), is_strict=True)])  # names that are known
            return
        elif path.name in ("make_results.py", "keep_model.py", "demo_pictures.py"):
            # They would write into the project.
            assert not is_run, where
            module.parser().parse_args(flags)
            return
        elif path.name == "analyze.py" and not is_run:
            parse_arguments((*task_named("images").arguments, AnalyzeArguments), flags)
        elif path.name in SHORT and not is_run:
            for flag, value in itertools.pairwise(flags):
                if flag.endswith("_file") and not Path(value).exists():
                    Path(value).parent.mkdir(parents=True, exist_ok=True)
                    Path(value).touch()  # a file of the reader's
            # There may be no GPU.
            model_arguments, *_ = parse_arguments(module.TASK.arguments, [*flags, "--use_cpu"])
            if getattr(model_arguments, "config_name", None) is not None:
                load_config(model_arguments)
        else:
            assert is_run, f"{where}: no rule to check {path.name} without running it"
            getattr(module, "TASK", module).main(flags + SHORT.get(path.name, []))
            return
        assert path.name in SHORT or (ROOT / "tests" / TESTED_ELSEWHERE[path.name]).is_file()
