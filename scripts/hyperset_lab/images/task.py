# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Train or fine-tune an image classifier."""

from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from hyperset_lab.arguments import ModelArguments
from hyperset_lab.classes import checkpoint_with_head
from hyperset_lab.draws import StreamedExamples
from hyperset_lab.images.augmentation import (
    AugmentationArguments,
    MixingTrainer,
    RandomView,
)
from hyperset_lab.images.data import ImageDataArguments, check_max_steps, load_images
from hyperset_lab.images.pixels import read_image
from hyperset_lab.images.reading import ImageExamples, ImageReader, keep_images
from hyperset_lab.images.report import write_energies
from hyperset_lab.models import label_fields, load_config, load_model, model_of
from hyperset_lab.run import check_splits
from hyperset_lab.tasks import Score, Task, card_of
from hyperset_lab.trainer import ScriptTrainer, ScriptTrainingArguments
from modeling_hyperset import HyperSETConfig
from transformers import AutoModelForImageClassification, ViTImageProcessorPil, set_seed


def build_processor(arguments: ModelArguments, config, data_arguments: AugmentationArguments):
    """The checkpoint's image processor, or a new one for the config's image size."""
    crop_pct, statistics = data_arguments.crop_pct, data_arguments.processor_fields
    if arguments.model_name_or_path is not None:
        for flag in ("crop_pct", "image_mean", "image_std"):
            if (value := getattr(data_arguments, flag)) is not None:
                raise ValueError(f"`--{flag}` is for a new image processor, and the checkpoint has one, got {value}.")
        try:
            return AutoImageProcessor.from_pretrained(arguments.model_name_or_path, **arguments.hub_options)
        except OSError as error:
            raise ValueError(
                f"`--model_name_or_path` {arguments.model_name_or_path!r} has no image processor, so it is no model of "
                f"images: {error}"
            ) from error
    if not isinstance(config, HyperSETConfig):
        raise ValueError(f"`--config_name` must be the config of a Hyper-SET model, got one of {config.model_type!r}.")
    height, width = config.image_height_width
    size = {"height": height, "width": width}
    if crop_pct is None:
        return ViTImageProcessorPil(size=size, **statistics)
    if height != width:
        raise ValueError(f"`--crop_pct` is for square images, but the config has {(height, width)}.")
    shortest = {"shortest_edge": round(height / crop_pct)}
    return ViTImageProcessorPil(size=shortest, do_center_crop=True, crop_size=size, **statistics)


def read_one(example: dict, rng: np.random.Generator | None, reader: ImageReader) -> dict[str, Any]:
    """An image of a stream. Workers that are started anew (`spawn`) get this by name, so it is no function within one."""
    return {
        "pixel_values": reader([example["image"]], None if rng is None else [rng])[0],
        "label": example["label"],
    }


def collate(examples: list[dict]) -> dict[str, torch.Tensor]:
    """A batch of `pixel_values` and `labels`."""
    return {
        "pixel_values": torch.stack([example["pixel_values"] for example in examples]),
        "labels": torch.tensor([example["label"] for example in examples]),
    }


def accuracy(prediction) -> dict[str, float]:
    """Share of samples whose largest logit is that of their label."""
    return {"accuracy": float(accuracy_score(prediction.label_ids, np.argmax(prediction.predictions, axis=-1)))}


def build_trainer(
    model_arguments: ModelArguments, data_arguments: ImageDataArguments, training_arguments: ScriptTrainingArguments
) -> tuple[ScriptTrainer, dict[str, Any]]:
    """The trainer that the arguments ask for, and what its model card says. Nothing is trained or written yet."""
    training_arguments.remove_unused_columns = False  # the images are transformed when they are read
    set_seed(training_arguments.seed)
    check_max_steps(data_arguments, training_arguments)
    with training_arguments.main_process_first():  # one process downloads, the others find it done
        data = load_images(
            data_arguments,
            training_arguments.seed,
            model_arguments.hub_options,
            training_arguments.do_train,
            training_arguments.do_eval,
            checkpoint_with_head(model_arguments, TASK.head),
            model_arguments.ignore_mismatched_sizes,
            training_arguments.dataloader_num_workers,
        )
    check_splits(training_arguments, data)
    names = next(iter(data.values())).features["label"].names
    config = load_config(model_arguments, **label_fields(names))
    processor = build_processor(model_arguments, config, data_arguments)
    model = load_model(AutoModelForImageClassification, model_arguments, config)
    if training_arguments.process_index == 0:
        print(f"{type(model).__name__} with {model.num_parameters():,} parameters, {len(names)} classes, {data}")

    # Images that the model cannot take are an error now, not hours later in the first step of a run that waited.
    image = read_image(next(iter(next(iter(data.values()))))["image"])
    first = processor([image], return_tensors="pt")["pixel_values"][0]
    model.eval()
    with torch.no_grad():
        model(first[None])
    view = RandomView(data_arguments, (first.shape[-2], first.shape[-1]), processor)

    seed, asked = training_arguments.seed, {"train": training_arguments.do_train, "eval": training_arguments.do_eval}
    readers = {
        split: ImageReader(view, varies=split == "train" and data_arguments.varies_images)
        for split in data
        if asked[split]
    }
    examples: dict[str, Any] = {}
    if data_arguments.streaming:
        for split, reader in readers.items():
            transform = partial(read_one, reader=reader)
            examples[split] = StreamedExamples(data[split], transform, seed, repeat=split == "train")
    else:
        shared = training_arguments.dataloader_num_workers > 0
        kept = keep_images(data, readers, data_arguments.cache_images, shared)
        for split, reader in readers.items():
            examples[split] = ImageExamples(data[split], reader, seed, kept.get(split))

    trainer_class: type[ScriptTrainer] = ScriptTrainer
    options: dict[str, Any] = {}
    if data_arguments.mixes:
        trainer_class, options = MixingTrainer, {"augmentation": data_arguments}
    trainer = trainer_class(
        model=model,
        args=training_arguments,
        train_dataset=examples.get("train"),
        eval_dataset=examples.get("eval"),
        compute_metrics=accuracy,
        processing_class=processor,
        data_collator=collate,
        **options,
    )
    tags = ("image-classification", "vision", "hyperset")
    return trainer, card_of(tags[0], tags, data_arguments.dataset_name, model_arguments)


def report_energies(
    trainer: ScriptTrainer,
    metrics: dict[str, float],
    model_arguments: ModelArguments,
    data_arguments: ImageDataArguments,
    training_arguments: ScriptTrainingArguments,
) -> None:
    """Load what was trained again, and print and draw its accuracy and energies."""
    wanted = training_arguments.do_train and training_arguments.do_eval and trainer.is_world_process_zero()
    data: Any = trainer.eval_dataset
    if wanted and model_of(trainer).config.model_type == "hyperset":
        write_energies(
            str(training_arguments.output_dir),
            data.data,
            batch_size=training_arguments.per_device_eval_batch_size,
            device=training_arguments.device,
            trust_remote_code=model_arguments.trust_remote_code,
        )


TASK = Task(
    script="scripts/run_image_classification.py",
    arguments=(ModelArguments, ImageDataArguments, ScriptTrainingArguments),
    build_trainer=build_trainer,
    score=lambda trainer: Score("accuracy"),
    after=report_energies,
    head="ForImageClassification",
)
main = TASK.main
