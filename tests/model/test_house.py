# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""How the package is built: no circles, configuration on the ground, and checkpoints that carry what they need, no more."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import modeling_hyperset
from modeling_hyperset import HyperSETConfig
from support.builders import make_config, make_model


PACKAGE = Path(modeling_hyperset.__file__).parent


def imports_of(path: Path) -> set[str]:
    """The modules of this package that a file imports, wherever in it, also for type checkers alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = path.relative_to(PACKAGE).with_suffix("").parts[: -node.level]
            found.add(".".join((*parts, *(node.module or "").split("."))).strip("."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modeling_hyperset."):
            found.add(node.module.removeprefix("modeling_hyperset."))
    return found


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): imports_of(path) for path in PACKAGE.rglob("*.py")
}


def below(name: str, seen: tuple[str, ...] = ()) -> set[str]:
    """All that `name` imports, directly or not."""
    assert name not in seen, f"a circle of imports: {' → '.join((*seen, name))}"
    own = {module for module in MODULES.get(name, ()) if module in MODULES}
    return own.union(*(below(module, (*seen, name)) for module in own))


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__init__")])
def test_imports_have_no_circle(name):
    below(name)


def test_a_circle_is_found(monkeypatch):
    monkeypatch.setitem(MODULES, "registry_hyperset", {"energies_hyperset"})
    with pytest.raises(AssertionError, match="a circle"):
        below("energies_hyperset")


def test_the_configuration_needs_nothing_of_the_model(tmp_path):
    assert not below("configuration_hyperset")
    make_config().save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "configuration_hyperset.py"}


def test_reading_a_saved_config_registers_no_operators(tmp_path):
    make_config().save_pretrained(tmp_path)
    code = (
        "import sys, torch\n"
        "from transformers import AutoConfig\n"
        "before = len(torch._C._dispatch_get_all_op_names())\n"
        f"config = AutoConfig.from_pretrained({str(tmp_path)!r}, trust_remote_code=True)\n"
        "assert type(config).__module__.startswith('transformers_modules'), type(config)\n"
        "assert len(torch._C._dispatch_get_all_op_names()) == before\n"
        "assert not [name for name in sys.modules if name.endswith('energies_hyperset')]\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_a_saved_model_carries_what_it_needs(tmp_path):
    model = make_model("image-classification")
    model.save_pretrained(tmp_path)
    files = {path.stem for path in tmp_path.glob("*.py")}
    assert files == below("modeling_hyperset") | {"modeling_hyperset"}
    assert len(files) <= 25


def test_names_stay_where_users_import_them():
    for name in modeling_hyperset.__all__:
        assert getattr(modeling_hyperset, name).__name__ == name
    assert modeling_hyperset.HyperSETConfig is HyperSETConfig
