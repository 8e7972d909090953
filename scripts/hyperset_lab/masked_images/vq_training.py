# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Train a VQ model, the tokenizer of masked image modeling."""

import inspect
from dataclasses import dataclass
from typing import Any, cast

import torch
from accelerate.utils import broadcast
from torch import nn
from transformers.trainer_utils import HubStrategy

from hyperset_lab.arguments import check_least, option
from hyperset_lab.draws import numbers
from hyperset_lab.images.augmentation import RandomView
from hyperset_lab.images.data import ImageDataArguments
from hyperset_lab.images.reading import ImageExamples, ImageReader, keep_images
from hyperset_lab.masked_images.data import load_unlabelled, refuse_statistics, square_processor
from hyperset_lab.masked_images.metrics import ReconstructionMetrics
from hyperset_lab.masked_images.tokenizer import VQTokenizer, import_vq_model
from hyperset_lab.masked_images.trainer import ReconstructionTrainer, report_reconstructions
from hyperset_lab.recipes import parse_object
from hyperset_lab.run import check_splits
from hyperset_lab.tasks import Score, Task, card_of
from hyperset_lab.trainer import ScriptTrainingArguments
from transformers import PreTrainedConfig, TrainerCallback, default_data_collator, set_seed


# Codes start again until this share of the training: then the decoder has seen every code at the end.
RESTART_UNTIL = 0.7


@dataclass
class VQArguments:
    """Which VQ model to train."""

    vq_config: str = option("{}", "Fields of diffusers' VQModel, as JSON: '{\"num_vq_embeddings\": 1024}'.")
    image_size: int = option(256, "Side of the images in pixels.")
    cache_dir: str | None = option(None, "Where to keep what comes from the Hub.")
    token: str | None = option(None, "Token for the Hub, if not the one logged in with.")

    def __post_init__(self):
        self.fields = parse_object(self.vq_config, "vq_config")
        check_least(self, 1, "image_size")


class VQTraining(nn.Module):
    """A `VQModel` of diffusers under training, of pixels in [−1, 1], and what finds its dead codes."""

    vq: Any  # diffusers has no types

    def __init__(self, vq: Any):
        super().__init__()
        self.vq, self.config = vq, PreTrainedConfig()
        embeddings = vq.quantize.embedding.weight
        self.usage: torch.Tensor
        self.latents: torch.Tensor
        self.register_buffer("usage", torch.zeros(len(embeddings), dtype=torch.int64))
        self.register_buffer("latents", torch.zeros_like(embeddings))

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images of shape `(batch_size, 3, height, width)` in [0, 1] → `loss`."""
        images = 2 * pixel_values - 1
        latents = self.vq.encode(images).latents
        quantized, commitment, (_, _, codes) = self.vq.quantize(latents)
        spatial = quantized if self.vq.config.norm_type == "spatial" else None
        decoded = self.vq.decoder(self.vq.post_quant_conv(quantized), spatial)
        if self.training:
            self.usage += torch.bincount(codes.flatten(), minlength=len(self.usage))
            self.latents.copy_(spread(latents.detach(), len(self.latents)))
        return {"loss": (decoded - images).square().mean() + commitment}

    @torch.no_grad()
    def start_codebook(self, pixel_values: torch.Tensor) -> None:
        """Make the codebook of encoded images. It starts next to zero, and from there most codes would never be met."""
        latents = self.vq.encode(2 * pixel_values - 1).latents
        self.vq.quantize.embedding.weight.copy_(spread(latents, len(self.usage)))

    @torch.no_grad()
    def restart_dead_codes(self) -> int:
        """Start the codes that no image met since the last call anew from encoded images; return their number."""
        dead = self.usage.eq(0)
        self.vq.quantize.embedding.weight[dead] = self.latents[dead]
        self.usage.zero_()
        return int(dead.sum())


def spread(latents: torch.Tensor, count: int) -> torch.Tensor:
    """`count` of the cells of `(batch_size, width, rows, columns)` latents, evenly spaced, `(count, width)`."""
    cells = latents.permute(0, 2, 3, 1).flatten(0, 2)
    return cells[torch.linspace(0, len(cells) - 1, count, device=cells.device).long()]


class RestartDeadCodes(TrainerCallback):
    """Restart dead codes after every epoch. All processes get the codebook of the first one."""

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        if state.epoch < RESTART_UNTIL * args.num_train_epochs:
            model.restart_dead_codes()
            weight = model.vq.quantize.embedding.weight
            weight.data.copy_(broadcast(weight.data))


class TokenizerTask:
    """Images through the tokenizer and back."""

    def originals(self, batch: dict) -> torch.Tensor:
        return batch["pixel_values"]

    def reconstruct(self, model: VQTraining, batch: dict) -> torch.Tensor:
        tokenizer = VQTokenizer(model.vq)
        return tokenizer.decode(tokenizer.encode(batch["pixel_values"]))

    def reconstruct_as_program(self, model: VQTraining, batch: dict) -> None:
        """The program measures no tokenizer."""

    def masked(self, batch: dict) -> None:
        """Nothing is masked."""

    def ceiling(self, batch: dict) -> None:
        """The tokenizer itself is measured."""


class VQTrainer(ReconstructionTrainer):
    """[`ReconstructionTrainer`] that writes the VQ model at the end as diffusers does."""

    weights_name = "diffusion_pytorch_model.safetensors"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # A checkpoint has the state of the training but no `VQModel`: only this is pushed, at the end.
        self.args.hub_strategy = HubStrategy.END

    def write_model(self, folder: str) -> None:
        if self.args.should_save:
            self.accelerator.unwrap_model(self.model).vq.save_pretrained(folder)
            cast(Any, self.processing_class).save_pretrained(folder)


def build_vq_model(arguments: VQArguments):
    """A new VQ model."""
    vq_class = import_vq_model()
    if unknown := arguments.fields.keys() - inspect.signature(vq_class).parameters.keys():
        raise ValueError(f"`--vq_config` sets fields that VQModel does not have: {', '.join(sorted(unknown))}.")
    try:
        vq = vq_class(sample_size=arguments.image_size, **arguments.fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`--vq_config` {arguments.vq_config} makes no VQModel: {error}") from error
    factor = VQTokenizer(vq).factor
    if arguments.image_size % factor:
        raise ValueError(
            f"`--image_size` must be a multiple of the {factor} pixels of a code, got {arguments.image_size}."
        )
    return vq.requires_grad_(True).train()


def build_trainer(
    vq_arguments: VQArguments, data_arguments: ImageDataArguments, training_arguments: ScriptTrainingArguments
) -> tuple[VQTrainer, dict[str, Any]]:
    """The trainer that the arguments ask for, and what its model card says. Nothing is trained or written yet."""
    training_arguments.remove_unused_columns = False
    training_arguments.label_names = ["pixel_values"]  # what there must be for a loss
    training_arguments.prediction_loss_only = True
    set_seed(training_arguments.seed)
    if data_arguments.streaming:
        raise ValueError("`--streaming` is not for VQ models: dead codes are found after each epoch. Leave it out.")
    if training_arguments.label_smoothing_factor or training_arguments.eval_num_iterations:
        raise ValueError(
            "`--label_smoothing_factor` and `--eval_num_iterations` are not for VQ models: leave them out."
        )
    if not training_arguments.do_train:
        raise ValueError("This script trains a VQ model: pass `--do_train`.")
    refuse_statistics(data_arguments)
    vq = build_vq_model(vq_arguments)
    hub_options = {"cache_dir": vq_arguments.cache_dir, "token": vq_arguments.token}
    data = load_unlabelled(data_arguments, training_arguments, hub_options)
    check_splits(training_arguments, data)
    size = (vq_arguments.image_size, vq_arguments.image_size)
    processor = square_processor(vq_arguments.image_size, data_arguments.crop_pct)
    view = RandomView(data_arguments, size, processor)
    readers = {"train": ImageReader(view, data_arguments.varies_images)}
    if training_arguments.do_eval:
        readers["eval"] = ImageReader(view, varies=False)
    shared = training_arguments.dataloader_num_workers > 0
    kept = keep_images(cast(Any, data), readers, data_arguments.cache_images, shared)
    train_data = ImageExamples(cast(Any, data["train"]), readers["train"], training_arguments.seed, kept.get("train"))
    eval_data = metrics = None
    if training_arguments.do_eval:
        eval_data = ImageExamples(cast(Any, data["eval"]), readers["eval"], 0, kept.get("eval"))
        metrics = ReconstructionMetrics(size, device=training_arguments.device)

    model = VQTraining(vq)
    some = numbers(training_arguments.seed).permutation(len(train_data))[: training_arguments.train_batch_size]
    model.start_codebook(default_data_collator([train_data[int(index)] for index in some])["pixel_values"])
    if training_arguments.process_index == 0:
        counts = {name: len(split) for name, split in data.items()}
        print(f"VQModel with {vq.num_parameters():,} parameters, images: {counts}")
    trainer = VQTrainer(
        model=model,
        args=training_arguments,
        train_dataset=train_data,
        eval_dataset=eval_data,
        processing_class=processor,
        data_collator=default_data_collator,
        callbacks=[RestartDeadCodes()],
        task=TokenizerTask(),
        metrics=metrics,
        reconstruction_data={} if eval_data is None else {0.0: eval_data},
    )
    return trainer, card_of("image-to-image", ("vq-model", "vision"), data_arguments.dataset_name)


def report_tokenizer(trainer: VQTrainer, metrics: dict[str, float], *arguments: Any) -> None:
    """Print and draw what the tokenizer makes of images, if it was evaluated."""
    if trainer.args.do_eval:
        report_reconstructions(trainer, metrics, "images through the tokenizer")


TASK = Task(
    script="scripts/train_vq_model.py",
    arguments=(VQArguments, ImageDataArguments, ScriptTrainingArguments),
    build_trainer=build_trainer,
    score=lambda trainer: Score("loss", higher_is_better=False, is_share=False),
    after=report_tokenizer,
)
main = TASK.main
