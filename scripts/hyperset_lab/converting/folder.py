# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints of the authors' program as folders that the Auto classes load."""

import contextlib
import importlib.resources
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from hyperset_lab.converting.files import File
from hyperset_lab.models import label_fields
from modeling_hyperset.conversion import Source, convert_original_checkpoint, load_original_state_dict, read_options
from modeling_hyperset.conversion.options import Options
from transformers import PreTrainedModel, ViTImageProcessorPil


PAPER = "Hyper-SET: Designing Transformers via Hyperspherical Energy Minimization"
AUTO_CLASSES = {
    "image-classification": "AutoModelForImageClassification",
    "sudoku": "AutoModelForTokenClassification",
    "masked-image-modeling": "AutoModelForMaskedImageModeling",
}
PIPELINE_TAGS = {"image-classification": "image-classification", "sudoku": "token-classification"}
# Mean and deviation of the training images' channels, as the program has them.
STATISTICS = {
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "cifar100": ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
    "svhn": ([0.4377, 0.4438, 0.4728], [0.1980, 0.2010, 0.1970]),
    "imagenet-1k": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "imagenet-100": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}
# The program's names of data sets.
DATASETS = {"c10": "cifar10", "c100": "cifar100", "svhn": "svhn", "in100": "imagenet-100", "in1k": "imagenet-1k"}


def guess_dataset(num_labels: int, image_size: int) -> str:
    """The data set that a number of classes and an image size stand for, or "" where they say nothing."""
    known = {10: "cifar10", 100: "cifar100"} if image_size == 32 else {1000: "imagenet-1k"}
    return known.get(num_labels, "")


def set_labels(model: PreTrainedModel, task: str, dataset: str = "") -> str:
    """Name the classes of the model where the data set, given or guessed, is known; returns its name, or ""."""
    names, num_labels = None, len(model.config.id2label or ())
    if task == "sudoku":
        names = [str(digit + 1) for digit in range(num_labels)]
    elif task == "image-classification":
        dataset = dataset or guess_dataset(num_labels, model.config.image_height_width[0])
        text = importlib.resources.files("modeling_hyperset").joinpath("label_names.json").read_text(encoding="utf-8")
        names = json.loads(text).get(dataset)
        if dataset == "svhn":
            names = [str(digit) for digit in range(num_labels)]
    if names:
        for field, value in label_fields(names).items():
            setattr(model.config, field, value)
    return dataset


def new_processor(model: PreTrainedModel, dataset: str) -> ViTImageProcessorPil:
    """
    An image processor for the model's image size, with the channel statistics of the data set if it is known. CIFAR's images of
    224 pixels are normalised as ImageNet's: the program makes them so to fine-tune a model of ImageNet.
    """
    height, width = model.config.image_height_width
    if dataset in ("cifar10", "cifar100") and height > 32:
        dataset = "imagenet-1k"
    statistics: dict[str, Any] = dict(zip(("image_mean", "image_std"), STATISTICS.get(dataset, ()), strict=False))
    return ViTImageProcessorPil(size={"height": height, "width": width}, do_convert_rgb=True, **statistics)


def build_card(
    model: PreTrainedModel, options: Options, dataset: str, is_guess: bool, checkpoint: File, command: str
) -> ModelCard:
    """A model card that says where the weights come from and nothing of how good they are."""
    task = str(options.task)
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=PIPELINE_TAGS.get(task),
        tags=["hyperset", task],
        datasets=[dataset] if dataset else None,
    )
    normalisation = ""
    if task == "image-classification":
        statistics = f"those of {dataset}" if dataset else "means and deviations of 0.5"
        why = " because of its number of classes and the size of its images" if is_guess and dataset else ""
        normalisation = f"""
The checkpoint does not record how its images were normalised; the image processor here uses {statistics}{why}.
"""
    at = f" from commit {checkpoint.commit} of {checkpoint.repo}" if checkpoint.commit else ""
    text = f"""---
{data.to_yaml()}
---

# {type(model).__name__}, converted from the authors' checkpoint

The weights of a `{model.config.layer_type}` model with {model.num_parameters():,} parameters, trained with the program that the
authors of *{PAPER}* released, in the layout of `modeling_hyperset`. Nothing was trained or measured here.

```python
from transformers import {AUTO_CLASSES[task]}

model = {AUTO_CLASSES[task]}.from_pretrained("…", trust_remote_code=True)
```
{normalisation}
Options of the original program: `{json.dumps(options.values, ensure_ascii=False)}`

Converted{at} with `{command}`.
"""
    return ModelCard(text)


@contextlib.contextmanager
def new_folder(output_dir: str) -> Iterator[Path]:
    """Within it, a folder is filled; at the end it becomes `output_dir`, whole, or nothing is left."""
    output = check_output(output_dir)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        yield folder
        os.replace(folder, output)


def check_output(output_dir: str) -> Path:
    """The folder to write, which must be new or empty."""
    output = Path(output_dir).resolve()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"`--output_dir` must be a new or an empty folder, got {output_dir!r}.")
    return output


def convert(checkpoint: File, sources: Sequence[Source], output_dir: str, command: str) -> PreTrainedModel:
    """
    Convert a checkpoint into `output_dir`, which appears whole or not at all.

    Raises:
        `ValueError`: a file that does not fit its options, or an output folder that is not empty.
    """
    check_output(output_dir)
    state_dict = load_original_state_dict(checkpoint.path)
    options = read_options(state_dict, sources)
    model = convert_original_checkpoint(state_dict, options)
    if options.unread:
        print(f"Not read, because they decide nothing about the model: {', '.join(options.unread)}.")
    task, given = str(options.task), DATASETS.get(options.get("dataset"), "")
    dataset = set_labels(model, task, given)
    if dataset and not given:
        print(
            f"Classes and images are taken for those of {dataset}, by their number and size; `data.dataset` says it."
        )
    with new_folder(output_dir) as folder:
        model.save_pretrained(folder)
        if task == "image-classification":
            new_processor(model, dataset).save_pretrained(folder)
        build_card(model, options, dataset, not given, checkpoint, command).save(folder / "README.md")
    return model
