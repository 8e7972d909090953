# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""A Trainer that, when it evaluates a trained model, has it reconstruct images and measures them; and their picture."""

from os import PathLike
from typing import Any, Protocol, cast

import torch
from torch.utils.data import DataLoader, Dataset

from hyperset_lab.masked_images import program
from hyperset_lab.masked_images.metrics import FeatureDistance, ReconstructionMetrics
from hyperset_lab.models import model_of
from hyperset_lab.trainer import ScriptTrainer
from modeling_hyperset.files import write_whole
from transformers import default_data_collator


class ReconstructionTask(Protocol):
    """What is reconstructed. Images have shape `(batch_size, 3, height, width)` in [0, 1]."""

    def originals(self, batch: dict) -> torch.Tensor:
        """The images."""

    def reconstruct(self, model, batch: dict) -> torch.Tensor:
        """What `model` makes of them."""

    def reconstruct_as_program(self, model, batch: dict) -> torch.Tensor | None:
        """What it makes of them as the authors' program measures it, if that is wanted. Pixels may lie outside [0, 1]."""

    def masked(self, batch: dict) -> torch.Tensor | None:
        """The images with what is masked in grey, if anything is."""

    def ceiling(self, batch: dict) -> torch.Tensor | None:
        """What the tokenizer makes of the images' own codes, if there is one: no model can do better."""


class ReconstructionTrainer(ScriptTrainer):
    """
    [`ScriptTrainer`] whose `evaluate` adds measures of reconstructed images, when it is not called within a training:
    `eval_psnr` and so on, `eval_mask_0.2_psnr` for a masked share other than the first one, at the trained number of iterations
    `eval_tokenizer_psnr` of the ceiling, and `eval_program_psnr` as the authors' program measures, if that is wanted.

    Args:
        reconstruction_data: The examples to reconstruct for each masked share.
        num_pictures (`int`): Images to keep in `pictures`, by name, for [`draw_reconstructions`].
    """

    def __init__(
        self,
        *args,
        task: ReconstructionTask,
        metrics: ReconstructionMetrics | None,
        reconstruction_data: dict[float, Dataset],
        num_pictures: int = 8,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.task, self.metrics, self.reconstruction_data = task, metrics, reconstruction_data
        self.num_pictures = num_pictures
        self.pictures: dict[str, torch.Tensor] = {}

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if self.is_in_train:
            return metrics
        measured: dict[str, float] = {}
        iterations = getattr(model_of(self).config, "num_iterations", None)
        for index, (ratio, data) in enumerate(self.reconstruction_data.items()):
            prefix = f"{metric_key_prefix}_mask_{ratio:g}" if index else metric_key_prefix
            with_ceiling = index == 0 and metric_key_prefix == "eval"
            name = "reconstructed" if iterations is None else f"{iterations} iterations"
            measured |= self.measure(self.model, data, prefix, with_ceiling, None if index else name)
        self.log(measured)
        return metrics | measured

    @torch.no_grad()
    def measure(self, model, data: Dataset, prefix: str, with_ceiling: bool, picture: str | None) -> dict[str, float]:
        """Means over all images of every measure of what `model` makes of them (and the tokenizer, `with_ceiling`)."""
        totals, distances, count = dict[str, float](), dict[str, FeatureDistance](), 0
        program_psnr: list[torch.Tensor] = []
        metrics = cast(ReconstructionMetrics, self.metrics)
        options: dict[str, Any] = {
            "batch_size": self.args.eval_batch_size,
            "num_workers": self.args.dataloader_num_workers,
        }
        loader = DataLoader(data, collate_fn=default_data_collator, **options)
        for batch in self.accelerator.prepare(loader):  # each process has its part
            originals, images = self.task.originals(batch), {"": self.task.reconstruct(model, batch)}
            if with_ceiling and (ceiling := self.task.ceiling(batch)) is not None:
                images["tokenizer_"] = ceiling
            pairs = {kind: (made, originals) for kind, made in images.items()}
            if (made := self.task.reconstruct_as_program(model, batch)) is not None:
                pairs[program.PREFIX] = (program.stretched(made.float()), program.stretched(originals.float()))
            values = {
                f"{kind}{name}": value
                for kind, pair in pairs.items()
                for name, value in metrics.per_image(*pair).items()
            }
            values["count"] = torch.ones(len(originals), device=originals.device)
            values = self.accelerator.gather_for_metrics(values)
            count += len(values.pop("count"))
            if f"{program.PREFIX}psnr" in values:
                program_psnr.append(values.pop(f"{program.PREFIX}psnr"))
            for name, value in values.items():
                totals[name] = totals.get(name, 0.0) + value.double().sum().item()
            if metrics.inception is not None:
                real = metrics.features(originals)
                features = {kind: (metrics.features(made), real) for kind, made in images.items()}
                if program.PREFIX in pairs:
                    made, real = (metrics.features(one, rounded=False) for one in pairs[program.PREFIX])
                    features[program.PREFIX] = made, real
                for kind, (made, real) in self.accelerator.gather_for_metrics(features).items():
                    distance = distances.setdefault(kind, FeatureDistance(made.shape[-1]))
                    distance.update(real, real=True)
                    distance.update(made, real=False)
            if picture is not None:
                self.keep(picture, batch, originals, images)
        measured = {f"{prefix}_{name}": total / count for name, total in totals.items()}
        if program_psnr:
            measured[f"{prefix}_{program.PREFIX}psnr"] = program.pooled_psnr(torch.cat(program_psnr))
        if count > 1:
            measured |= {f"{prefix}_{kind}fid": distance.compute() for kind, distance in distances.items()}
        return measured

    def keep(self, name: str, batch: dict, originals: torch.Tensor, images: dict[str, torch.Tensor]) -> None:
        """Keep the first images for [`draw_reconstructions`]."""
        missing = self.num_pictures - len(self.pictures.get(name, ()))
        if missing <= 0:
            return
        made = {"original": originals, name: images[""]}
        if (masked := self.task.masked(batch)) is not None:
            made["masked"] = masked
        if "tokenizer_" in images:
            made["tokenizer"] = images["tokenizer_"]
        for row, pixels in self.accelerator.gather_for_metrics(made).items():
            pixels = pixels.cpu().float()[:missing]
            if len(self.pictures.get(row, ())) < self.num_pictures:
                self.pictures[row] = torch.cat((self.pictures[row], pixels)) if row in self.pictures else pixels


def draw_reconstructions(pictures: dict[str, torch.Tensor], title: str, path: str | PathLike) -> None:
    """
    Draw images, a row per entry of `pictures`, each of shape `(num_images, 3, height, width)` in [0, 1]: originals, what the
    tokenizer makes of them, the masked ones, then their reconstructions.
    """
    from matplotlib.figure import Figure

    first = [name for name in ("original", "tokenizer", "masked") if name in pictures]
    rows = {name: pictures[name] for name in (*first, *pictures)}
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(1.1 * columns + 1.4, 1.1 * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, images) in zip(grid, rows.items(), strict=True):
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, image in zip(axes, images, strict=False):
            axis.imshow(image.permute(1, 2, 0).numpy(), vmin=0, vmax=1, interpolation="nearest")
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title)
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=150))


def table_of_measures(metrics: dict[str, float], measures: list[str]) -> str:
    """The measures of every depth and masked share, and of the tokenizer alone, a line each."""
    rows: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        for measure in measures:
            if name.endswith(f"_{measure}"):
                rows.setdefault(name.removesuffix(f"_{measure}"), {}).setdefault(measure, value)
                break
    width = max(map(len, rows), default=0)
    lines = [" " * width + "".join(f"  {measure:>10}" for measure in measures)]
    for name, row in rows.items():
        cells = (f"{row[measure]:>10.4f}" if measure in row else f"{'–':>10}" for measure in measures)
        lines.append(f"{name:<{width}}" + "".join(f"  {cell}" for cell in cells))
    return "\n".join(lines)


def report_reconstructions(trainer: ReconstructionTrainer, metrics: dict[str, float], title: str) -> None:
    """Print the measures among `metrics`, and which are missing; draw `reconstructions.png` in the output folder."""
    if not trainer.is_world_process_zero():
        return
    measures = cast(ReconstructionMetrics, trainer.metrics)
    print(table_of_measures(metrics, measures.names))
    for name, reason in measures.skipped.items():
        print(f"{name} is not measured: {reason}.")
    path = f"{trainer.args.output_dir}/reconstructions.png"
    draw_reconstructions(trainer.pictures, title, path)
    print(f"Drawn in {path}")
