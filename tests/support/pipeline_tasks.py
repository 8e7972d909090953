# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
What transformers' own tests of pipelines need and its source distribution does not hold: small models in folders, and for each
task a pipeline with inputs.
"""

from pathlib import Path

import torch
from PIL import Image

from modeling_hyperset import HyperSETConfig
from support.builders import make_model
from transformers import BertTokenizer, ViTImageProcessorPil, pipeline


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
TEXTS = ["good film", "bad [UNK] film bad", "film"]
IMAGES = [Image.new("RGB", (20, 30), color) for color in ("red", "white")]


def write_small_models(folder: Path, cases: list[str]) -> dict[str, dict[str, list[str]]]:
    """A folder of a model and what prepares its inputs for each of the cases; the classes of the latter by the model's."""
    summary = {}
    for case in cases:
        fields = {"vocab_size": len(WORDS)} if "image" not in case else {}
        model = make_model(case, **fields)
        place = folder / HyperSETConfig.model_type / type(model).__name__
        model.save_pretrained(place)
        if fields:
            BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}).save_pretrained(place)
        else:
            ViTImageProcessorPil(size={"height": 12, "width": 12}).save_pretrained(place)
        summary[type(model).__name__] = {
            "tokenizer_classes": ["BertTokenizer"] if fields else [],
            "processor_classes": [] if fields else ["ViTImageProcessorPil"],
        }
    return summary


def assert_same(found, wanted) -> None:
    """Of answers, however they are nested: numbers but for rounding, everything else exactly."""
    assert type(found) is type(wanted)
    if isinstance(found, dict):
        assert found.keys() == wanted.keys()
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(found, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    elif isinstance(found, float):
        assert abs(found - wanted) < 0.01
    else:
        assert found == wanted


class PipelineTask:
    """A task: `get_test_pipeline` and `run_pipeline_test` are called by transformers' tests."""

    task: str
    examples: list = TEXTS

    def get_test_pipeline(self, model, tokenizer=None, image_processor=None, dtype="float32"):
        model = model.to(getattr(torch, dtype))
        return pipeline(self.task, model=model, tokenizer=tokenizer, image_processor=image_processor), self.examples

    def run_pipeline_test(self, pipeline, examples) -> None:
        """A batch of all answers what each does alone."""
        alone, together = (
            list(pipeline((example for example in examples), batch_size=size)) for size in (1, len(examples))
        )
        assert len(alone) == len(examples)
        assert_same(together, alone)


class FeatureExtractionPipelineTests(PipelineTask):
    task = "feature-extraction"
    examples = ["good film", "bad [UNK]"]  # of one length: the pipeline returns padding as well


class FillMaskPipelineTests(PipelineTask):
    task = "fill-mask"
    examples = ["good [MASK]", "[MASK] film bad"]


class TextClassificationPipelineTests(PipelineTask):
    task = "text-classification"


class TokenClassificationPipelineTests(PipelineTask):
    task = "token-classification"


class ImageClassificationPipelineTests(PipelineTask):
    task = "image-classification"
    examples = IMAGES


class ImageFeatureExtractionPipelineTests(PipelineTask):
    task = "image-feature-extraction"
    examples = IMAGES
