# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Train a model to fill in masked images, as VQ codes or as pixels, and measure what it fills in."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from sklearn.metrics import accuracy_score

from hyperset_lab.arguments import ModelArguments
from hyperset_lab.draws import RandomExamples, StreamedExamples
from hyperset_lab.images.augmentation import RandomView
from hyperset_lab.images.data import ImageDataArguments
from hyperset_lab.images.reading import ImageExamples, ImageReader, keep_images
from hyperset_lab.images.task import build_processor
from hyperset_lab.masked_images import forms
from hyperset_lab.masked_images.data import load_unlabelled, refuse_statistics, square_processor
from hyperset_lab.masked_images.metrics import ReconstructionMetrics, import_image_metrics, load_perceptual
from hyperset_lab.masked_images.tokenizer import VQTokenizer, cached_codes
from hyperset_lab.masked_images.trainer import ReconstructionTrainer, report_reconstructions
from hyperset_lab.models import load_config, load_model
from hyperset_lab.run import check_splits
from hyperset_lab.tasks import Score, Task, card_of, most_likely
from hyperset_lab.trainer import ScriptTrainingArguments
from transformers import AutoModelForMaskedImageModeling, default_data_collator, set_seed


EVALUATION_SEED = 0  # what is masked at evaluation is the same for every `--seed`


def check_tokenizer(tokenizer: VQTokenizer, image_size: int, config) -> None:
    """Refuse images that do not divide into the tokenizer's codes, and a codebook or grid that is not the config's."""
    if image_size % tokenizer.factor:
        raise ValueError(
            f"`--image_size` must be a multiple of the {tokenizer.factor} pixels of a code, got {image_size}."
        )
    side = image_size // tokenizer.factor
    wanted = {"vocab_size": tokenizer.num_codes + 1, "max_position_embeddings": side**2}
    if any(getattr(config, name) != value for name, value in wanted.items()):
        got = ", ".join(f"{name}={getattr(config, name)}" for name in wanted)
        raise ValueError(
            f"The tokenizer has {tokenizer.num_codes} codes and turns images of {image_size} pixels into a grid of {side} × "
            f"{side}: the config needs vocab_size={wanted['vocab_size']} (the codes and the mask) and "
            f"max_position_embeddings={wanted['max_position_embeddings']}, got {got}. Set them with `--config_overrides`."
        )


def code_accuracy(prediction) -> dict[str, float]:
    """Share of the masked codes that are right when all are predicted at once."""
    masked = prediction.label_ids != -100
    return {"code_accuracy": float(accuracy_score(prediction.label_ids[masked], prediction.predictions[masked]))}


@dataclass
class Form:
    """What differs between masked VQ codes and masked pixels."""

    task: forms.CodeTask | forms.PixelTask
    processor: Any
    size: tuple[int, int]  # of the images, height and width
    # Of codes they transform an example, of pixels they draw what is masked of it. The last two take its share as `ratio` too.
    train_example: Callable
    eval_example: Callable
    reconstruction_example: Callable
    codes: dict[str, torch.Tensor] | None = None  # of each split
    readers: dict[str, ImageReader] | None = None  # of each split, for pixels


def build_codes(
    model_arguments: ModelArguments,
    data_arguments: ImageDataArguments,
    masking: forms.MaskingArguments,
    training_arguments: ScriptTrainingArguments,
    config,
    data: dict,
) -> Form:
    """Load the tokenizer and have it compute the codes of `data`, if they are not in the cache."""
    if data_arguments.streaming or data_arguments.varies_images or data_arguments.cache_images:
        raise ValueError(
            "The codes of images are computed once: `--streaming`, `--cache_images`, `--random_crop`, `--random_flip` and "
            "`--auto_augment` are for a model of pixels only. Leave them out."
        )
    refuse_statistics(data_arguments)
    if training_arguments.do_eval:
        import_image_metrics()  # their absence is an error here, not after the training
    options = {"cache_dir": model_arguments.cache_dir, "token": model_arguments.token}
    if masking.vq_subfolder is not None:
        options["subfolder"] = masking.vq_subfolder
    image_size = cast(int, masking.image_size)  # as settled
    tokenizer = VQTokenizer.from_pretrained(str(masking.vq_model_name_or_path), masking.vq_zero_to_one, **options)
    check_tokenizer(tokenizer, image_size, config)
    tokenizer.to(training_arguments.device)
    processor, codes = square_processor(image_size, data_arguments.crop_pct), {}

    transform = partial(forms.batch_to_pixels, processor=processor)
    loading = (training_arguments.per_device_eval_batch_size, training_arguments.dataloader_num_workers)
    for name, split in data.items():
        settings = (processor.to_dict(), masking.codes_dir, *loading)
        with training_arguments.main_process_first():  # one process computes them, the others find them
            codes[name], found = cached_codes(tokenizer, split, transform, *settings)
        if training_arguments.process_index == 0:
            print(f"Codes of {name}: {tuple(codes[name].shape)}, {'from the cache' if found else 'computed'}")
    mask = partial(forms.mask_codes, mask_token_id=tokenizer.num_codes)
    return Form(
        task=forms.CodeTask(tokenizer, masking),
        processor=processor,
        size=(image_size, image_size),
        train_example=partial(mask, ratio=masking.mask_ratio),
        eval_example=mask,
        reconstruction_example=partial(forms.mask_image_with_codes, processor=processor),
        codes=codes,
    )


def build_pixels(
    model_arguments: ModelArguments, data_arguments: ImageDataArguments, masking: forms.MaskingArguments, config
) -> Form:
    """Load or make the image processor, and see that the squares to mask are whole patches."""
    processor = build_processor(model_arguments, config, data_arguments)
    patch, size = config.patch_size, config.image_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    square = masking.mask_patch_size or patch
    if square % patch or size[0] % square or size[1] % square:
        raise ValueError(
            f"`--mask_patch_size` must be a multiple of patch_size={patch} and divide image_size={size}, got {square}."
        )
    grid = (size[0] // patch, size[1] // patch)
    mask = partial(forms.mask_squares, grid=grid, scale=square // patch)
    view = RandomView(data_arguments, size, processor)
    return Form(
        task=forms.PixelTask(processor, grid),
        processor=processor,
        size=size,
        train_example=partial(mask, ratio=masking.mask_ratio),
        eval_example=mask,
        reconstruction_example=mask,
        readers={"train": ImageReader(view, data_arguments.varies_images), "eval": ImageReader(view, varies=False)},
    )


def build_trainer(
    model_arguments: ModelArguments,
    data_arguments: ImageDataArguments,
    masking: forms.MaskingArguments,
    training_arguments: ScriptTrainingArguments,
) -> tuple[ReconstructionTrainer, dict[str, Any]]:
    """The trainer that the arguments ask for, and what its model card says. Nothing is trained or written but codes."""
    training_arguments.remove_unused_columns = False  # the images are masked when they are read
    config = load_config(model_arguments)
    of_codes = getattr(config, "takes_token_ids", False)
    masking.settle(of_codes)
    if training_arguments.label_smoothing_factor and not of_codes:
        raise ValueError(
            "`--label_smoothing_factor` is for a model of VQ codes, because pixels are not classes: leave it out."
        )
    networks = None
    if training_arguments.do_eval:  # before the codes of images are computed, which may take hours
        files = (masking.lpips_net, masking.lpips_weights, masking.inception_weights)
        networks = load_perceptual(*files, wanted=masking.perceptual_metrics)
    data = load_unlabelled(data_arguments, training_arguments, model_arguments.hub_options)
    check_splits(training_arguments, data)
    # No codes of images that are not read.
    data = {name: split for name, split in data.items() if getattr(training_arguments, f"do_{name}")}
    if of_codes:
        form = build_codes(model_arguments, data_arguments, masking, training_arguments, config, data)
    else:
        form = build_pixels(model_arguments, data_arguments, masking, config)
        training_arguments.label_names = ["bool_masked_pos"]  # what there must be for a loss
        training_arguments.prediction_loss_only = True  # images are measured a batch at a time
    set_seed(training_arguments.seed)  # only here: the model starts the same with computed and with stored codes
    model = load_model(AutoModelForMaskedImageModeling, model_arguments, config)
    if training_arguments.process_index == 0:
        counts = {name: "a stream" if data_arguments.streaming else len(split) for name, split in data.items()}
        print(f"{type(model).__name__} with {model.num_parameters():,} parameters, images: {counts}")

    kept = {}
    if form.readers is not None and not data_arguments.streaming:
        readers = {split: form.readers[split] for split in data}
        shared = training_arguments.dataloader_num_workers > 0
        kept = keep_images(cast(Any, data), readers, data_arguments.cache_images, shared)

    def readable(split: str, example: Callable, seed: int, with_images: bool = False):
        """The split, as the trainer reads it."""
        if form.codes is not None:
            return RandomExamples(forms.ImagesWithCodes(data[split], form.codes[split], with_images), example, seed)
        reader = cast(dict[str, ImageReader], form.readers)[split]
        if data_arguments.streaming:
            transform = partial(forms.mask_one, reader=reader, draw=example)
            return StreamedExamples(data[split], transform, seed, repeat=split == "train")
        return ImageExamples(data[split], reader, seed, kept.get(split), draw=example)

    train_data = eval_data = metrics = None
    reconstruction_data = {}
    if training_arguments.do_train:
        train_data = readable("train", form.train_example, training_arguments.seed)
    if training_arguments.do_eval:
        ratios = list(dict.fromkeys(masking.eval_mask_ratio or ()))
        eval_data = readable("eval", partial(form.eval_example, ratio=ratios[:1]), EVALUATION_SEED)
        for ratio in ratios:
            example = partial(form.reconstruction_example, ratio=[ratio])
            reconstruction_data[ratio] = readable("eval", example, EVALUATION_SEED, with_images=True)
        metrics = ReconstructionMetrics(form.size, networks, training_arguments.device)
        if training_arguments.process_index == 0:
            for name, reason in metrics.skipped.items():
                print(f"{name} will not be measured: {reason}.")

    # What the model cannot take is an error now, not hours later in the first step of a run that waited.
    model.eval()
    with torch.no_grad():
        model(**default_data_collator([next(iter(cast(Any, train_data if eval_data is None else eval_data)))]))

    trainer = ReconstructionTrainer(
        model=model,
        args=training_arguments,
        train_dataset=train_data,
        eval_dataset=eval_data,
        compute_metrics=code_accuracy if of_codes else None,
        preprocess_logits_for_metrics=most_likely if of_codes else None,
        processing_class=form.processor,
        data_collator=default_data_collator,
        task=form.task,
        metrics=metrics,
        reconstruction_data=reconstruction_data,
    )
    tags = ("masked-image-modeling", "vision", "hyperset")
    return trainer, card_of(tags[0], tags, data_arguments.dataset_name, model_arguments)


def filling_score(trainer: ReconstructionTrainer) -> Score:
    """The accuracy of codes, the error of pixels."""
    if isinstance(trainer.task, forms.CodeTask):
        return Score("code_accuracy")
    return Score("loss", higher_is_better=False, is_share=False)


def report_filled_in(trainer: ReconstructionTrainer, metrics: dict[str, float], *arguments: Any) -> None:
    """Print and draw what the model fills in, if it was evaluated."""
    if trainer.args.do_eval:
        report_reconstructions(trainer, metrics, f"{next(iter(trainer.reconstruction_data)):.0%} masked")


TASK = Task(
    script="scripts/run_masked_image_modeling.py",
    arguments=(ModelArguments, ImageDataArguments, forms.MaskingArguments, ScriptTrainingArguments),
    build_trainer=build_trainer,
    score=filling_score,
    after=report_filled_in,
)
main = TASK.main
