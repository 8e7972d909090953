# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""transformers' own tests of pipelines, in float32 and float16. What a pipeline must answer is in test_pipelines.py."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import pytest

from modeling_hyperset import (
    HyperSETForImageClassification,
    HyperSETForMaskedLM,
    HyperSETForSequenceClassification,
    HyperSETForTokenClassification,
    HyperSETModel,
)
from support import transformers_suite
from support.pipeline_tasks import write_small_models


pytestmark = pytest.mark.slow

try:
    pipelines = transformers_suite.load("test_pipeline_mixin")
except transformers_suite.Unavailable as reason:
    pytest.skip(str(reason), allow_module_level=True)


class PipelineSuite(pipelines.PipelineTesterMixin):
    """Small models in folders in the place of those on the Hub, and our tasks in the place of what is not distributed."""

    cases: list[str]

    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        tasks = {
            task: {"test": "support.pipeline_tasks." + named["test"].rpartition(".")[2]}
            for task, named in pipelines.pipeline_test_mapping.items()
        }
        names = {
            "TRANSFORMERS_TINY_MODEL_PATH": folder,
            "tiny_model_summary": write_small_models(Path(folder), cls.cases),
            "pipeline_test_mapping": tasks,
        }
        cls.enterClassContext(mock.patch.multiple(pipelines, **names))


class PipelinesOfTextTest(PipelineSuite, unittest.TestCase):
    cases = ["tokens", "sequence-classification", "token-classification", "masked-lm"]
    pipeline_model_mapping = {
        "feature-extraction": HyperSETModel,
        "fill-mask": HyperSETForMaskedLM,
        "text-classification": HyperSETForSequenceClassification,
        "token-classification": HyperSETForTokenClassification,
    }


class PipelinesOfImagesTest(PipelineSuite, unittest.TestCase):
    cases = ["images", "image-classification"]
    pipeline_model_mapping = {
        "image-classification": HyperSETForImageClassification,
        "image-feature-extraction": HyperSETModel,
    }
