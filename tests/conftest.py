# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Set up every test alike: no network, no GPU unless a test asks for one, the same random numbers every time."""

import os


os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
import torch
from hypothesis import settings

import modeling_hyperset  # noqa: F401 (registers the family with the Auto classes)


settings.register_profile("default", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def seed():
    """The random numbers of a test do not depend on the tests before it."""
    torch.manual_seed(0)
