# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints of the authors' program as folders that the Auto classes load."""

import importlib.resources
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from hyperset_lab.models import label_fields
from modeling_hyperset.conversion import convert_original_checkpoint, load_original_state_dict
from transformers import PreTrainedModel, ViTImageProcessorPil


PAPER = "Hyper-SET: Designing Transformers via Hyperspherical Energy Minimization"
AUTO_CLASSES = {
    "image-classification": "AutoModelForImageClassification",
    "sudoku": "AutoModelForTokenClassification",
    "masked-image-modeling": "AutoModelForMaskedImageModeling",
}
PIPELINE_TAGS = {"image-classification": "image-classification", "sudoku": "token-classification"}
# Mean and deviation of the training images' channels.
STATISTICS = {
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "cifar100": ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
    "imagenet-1k": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}


def guess_dataset(num_labels: int, image_size: int) -> str:
    """The data set that a number of classes and an image size stand for, or "" where they say nothing."""
    known = {10: "cifar10", 100: "cifar100"} if image_size == 32 else {1000: "imagenet-1k"}
    return known.get(num_labels, "")


def set_labels(model: PreTrainedModel, task: str) -> str:
    """Name the classes of the model where they are known; returns the name of the data set, or ""."""
    dataset, names, num_labels = "", None, len(model.config.id2label or ())
    if task == "sudoku":
        names = [str(digit + 1) for digit in range(num_labels)]
    elif task == "image-classification":
        dataset = guess_dataset(num_labels, model.config.image_height_width[0])
        text = importlib.resources.files("modeling_hyperset").joinpath("label_names.json").read_text(encoding="utf-8")
        names = json.loads(text).get(dataset)
    if names:
        for field, value in label_fields(names).items():
            setattr(model.config, field, value)
    return dataset


def new_processor(model: PreTrainedModel, dataset: str) -> ViTImageProcessorPil:
    """An image processor for the model's image size, with the channel statistics of the data set if it is known."""
    height, width = model.config.image_height_width
    statistics: dict[str, Any] = dict(zip(("image_mean", "image_std"), STATISTICS.get(dataset, ()), strict=False))
    return ViTImageProcessorPil(size={"height": height, "width": width}, do_convert_rgb=True, **statistics)


def build_card(model: PreTrainedModel, options: dict[str, Any], dataset: str, command: str) -> ModelCard:
    """A model card that says where the weights come from and nothing of how good they are."""
    task = options["task"]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=PIPELINE_TAGS.get(task),
        tags=["hyperset", task],
        datasets=[dataset] if dataset else None,
    )
    normalisation = ""
    if task == "image-classification":
        statistics = f"those of {dataset}" if dataset else "means and deviations of 0.5"
        normalisation = f"""
The checkpoint does not record how its images were normalised; the image processor here uses {statistics}.
"""
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
Options of the original program: `{json.dumps({k: v for k, v in options.items() if v is not None}, ensure_ascii=False)}`

Converted with `{command}`.
"""
    return ModelCard(text)


def convert(checkpoint: str, options_file: str, output_dir: str) -> PreTrainedModel:
    """
    Convert a checkpoint into `output_dir`, which appears whole or not at all.

    Raises:
        `ValueError`: a file that does not exist or does not fit, or an output folder that is not empty.
    """
    output = Path(output_dir).resolve()
    for flag, path in (("CHECKPOINT", checkpoint), ("--options", options_file)):
        if not Path(path).is_file():
            raise ValueError(f"`{flag}` must be a file, got {path!r}.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"`--output_dir` must be a new or an empty folder, got {output_dir!r}.")
    try:
        options = json.loads(Path(options_file).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"`--options` {options_file!r} is no JSON: {error}.") from error
    if not isinstance(options, dict):
        raise ValueError(f"`--options` must hold a JSON object, got {type(options).__name__}.")
    options = {name: value for name, value in options.items() if name not in ("about", "file", "format", "parameters")}

    model = convert_original_checkpoint(load_original_state_dict(checkpoint), options)
    dataset = set_labels(model, options["task"])
    command = f"convert_original_checkpoint.py {Path(checkpoint).name} --options {Path(options_file).name}"
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        folder = Path(temporary) / "model"
        model.save_pretrained(folder)
        if options["task"] == "image-classification":
            new_processor(model, dataset).save_pretrained(folder)
        build_card(model, options, dataset, command).save(folder / "README.md")
        os.replace(folder, output)
    return model
