# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Set up every test alike: no network, no GPU unless a test asks for one, the same random numbers every time."""

import os
import random


os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # there is a worker for each core

import numpy as np
import pytest
import torch
from hypothesis import settings

import modeling_hyperset  # noqa: F401 (registers the family with the Auto classes)
from support import transformers_suite
from support.digits import train_digits


settings.register_profile("default", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("default")


def seed_everything() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def seed():
    """The random numbers of a test do not depend on the tests before it."""
    seed_everything()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    """Neither do those of what several tests share."""
    if fixturedef.scope != "function":
        seed_everything()
    return (yield)


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory):
    """The folder that the README's first command writes. It takes minutes: the tests that ask for it are slow ones."""
    shared = tmp_path_factory.getbasetemp()
    return train_digits(shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared)


def pytest_configure(config):
    for marker in transformers_suite.MARKERS:
        config.addinivalue_line("markers", f"{marker}: of transformers' own tests")


def pytest_ignore_collect(collection_path, config):
    """transformers' own tests are downloaded to be collected, so they are collected only to be run."""
    if collection_path.name in ("test_transformers_suite.py", "test_transformers_pipelines.py"):
        wanted = config.option.markexpr
        return True if wanted and ("slow" not in wanted or "not slow" in wanted) else None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The longest files first: a worker of xdist that begins one when the others are done keeps all waiting."""
    order = ("lab", "transformers", "documents")
    items.sort(key=lambda item: order.index(item.path.parent.name) if item.path.parent.name in order else len(order))
