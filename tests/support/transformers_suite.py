# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""transformers' own tests of models: fetched from its source distribution, and made ready to run on this family."""

import importlib
import importlib.util
import subprocess
import sys
import tarfile
import tempfile
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import pytest
from filelock import FileLock

import modeling_hyperset
import transformers


PACKAGE = "transformers_tests"  # the name that their package has here: `tests` is the name of our own folder
CACHE = Path(__file__).parents[2] / ".pytest_cache" / "d"
# What those tests import and the distribution does not hold: empty, so that nothing is tested by it.
STAND_INS = {
    "tests/__init__.py": "",
    "tests/exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "tests/generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "tests/utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    "tests/utils/tiny_model_summary.json": "{}\n",
    # The pipeline tests run the package beside them; empty, it leaves the installed one in its place.
    "src/transformers/__init__.py": "",
}
# What pytest has to know of.
MARKERS = ("flash_attn_test", "flash_attn_3_test", "flash_attn_4_test", "torch_compile_test", "accelerate_tests")
MARKERS += ("generate", "is_pipeline_test", "is_training_test")


class Unavailable(Exception):
    """The tests cannot be had here; the message says why."""


def fetch(cache: Path) -> Path:
    """
    The folder with the tests of the installed transformers, in `cache`; pip downloads them if they are not there yet.

    Raises:
        [`Unavailable`]: pip is missing or cannot download them.
    """
    version = transformers.__version__
    folder = cache / f"transformers-{version}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{folder.name}.lock"):  # of several workers, one downloads
        if not folder.exists():
            download(version, folder)
    return folder


def download(version: str, folder: Path) -> None:
    """Make `folder` of the source distribution that pip downloads; it is there whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        aside = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps"]
        command += ["--retries", "1", "--timeout", "20", "--no-binary", "transformers", "--dest", name]
        try:
            finished = subprocess.run(
                [*command, f"transformers=={version}"], capture_output=True, text=True, timeout=300
            )
            reason = (finished.stderr.strip().splitlines() or ["no archive came"])[-1]
        except subprocess.TimeoutExpired as error:
            reason = str(error)
        archives = list(aside.glob("transformers-*.tar.gz"))
        if not archives:
            raise Unavailable(f"pip cannot download the source distribution of transformers {version}: {reason}")
        with tarfile.open(archives[0]) as archive:
            for member in archive:
                path = Path(*Path(member.name).parts[1:])
                if member.isfile() and path.parent == Path("tests") and path.suffix == ".py":
                    whole = aside / "whole" / path
                    whole.parent.mkdir(parents=True, exist_ok=True)
                    whole.write_bytes(archive.extractfile(member).read())
        for path, text in STAND_INS.items():
            whole = aside / "whole" / path
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.write_text(text)
        (aside / "whole").rename(folder)


def load(name: str) -> ModuleType:
    """
    The module `name` of transformers' tests, with the classes of this family among those that it knows by name.

    Raises:
        [`Unavailable`]: as [`fetch`], or this version lacks the module or tests that it imports.
    """
    folder = fetch(CACHE)
    if not (folder / "tests" / f"{name}.py").exists():
        raise Unavailable(f"the source distribution of transformers {transformers.__version__} has no {name}.py")
    if PACKAGE not in sys.modules:
        init = folder / "tests" / "__init__.py"
        spec = importlib.util.spec_from_file_location(PACKAGE, init, submodule_search_locations=[str(init.parent)])
        sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACKAGE])
    pytest.register_assert_rewrite(f"{PACKAGE}.{name}")
    try:
        module = importlib.import_module(f"{PACKAGE}.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith(f"{PACKAGE}."):
            raise
        raise Unavailable(
            f"{name}.py imports {error.name}, which the source distribution of transformers {transformers.__version__} lacks"
        ) from error
    for attribute, values in vars(module).copy().items():
        # "MODEL_FOR_MASKED_LM_MAPPING_NAMES" maps model types to the names of classes; ours go into the tests' own copy.
        if attribute.endswith("_MAPPING_NAMES") and isinstance(values, OrderedDict) and "hyperset" not in values:
            known = getattr(transformers, attribute.removesuffix("_NAMES"), {})
            if modeling_hyperset.HyperSETConfig in known:
                ours = known[modeling_hyperset.HyperSETConfig].__name__
                setattr(module, attribute, OrderedDict(values, hyperset=ours))
    return module
