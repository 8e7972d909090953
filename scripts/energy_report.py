# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Accuracy and energies of a saved image classifier, in the terminal and as a picture."""

from os import PathLike

import torch
from common import write_json, write_whole
from datasets import Dataset, IterableDataset
from transformers import AutoModelForImageClassification
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from modeling_hyperset.baselines_hyperset import LAYERS


@torch.no_grad()
def measure(
    folder: str | PathLike,
    data: Dataset | IterableDataset,
    batch_size: int,
    device: torch.device,
    trust_remote_code: bool = False,
) -> dict:
    """
    Reload a saved folder with the Auto classes and run it over the columns `image` and `label` of `data` on `device`.

    Returns:
        `dict` with `accuracy`, `num_samples`, and the mean over samples of the energies after every iteration:
        `attention`, `feedforward` and `total`, a list each, which is empty for a baseline that is derived from no energy.
    """
    model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=trust_remote_code)
    model.to(device).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    correct, num_samples, energies = 0, 0, torch.zeros(0, 2)
    has_energies = LAYERS[model.config.layer_type].has_energies
    for batch in data.iter(batch_size):
        images = processor([image.convert("RGB") for image in batch["image"]], return_tensors="pt").to(device)
        outputs = model(**images, output_energies=has_energies)
        correct += int((outputs.logits.argmax(dim=-1).cpu() == torch.tensor(batch["label"])).sum())
        if has_energies:
            batch_energies = torch.stack(outputs.energies).double().sum(dim=1).cpu()
            energies = batch_energies if num_samples == 0 else energies + batch_energies
        num_samples += len(batch["label"])
    energies = energies / num_samples
    return {
        "accuracy": correct / num_samples,
        "num_samples": num_samples,
        "attention": energies[:, 0].tolist(),
        "feedforward": energies[:, 1].tolist(),
        "total": energies.sum(dim=-1).tolist(),
    }


def table(report: dict) -> str:
    """The energies after every iteration, a line each."""
    lines = [f"{'iteration':>9}  {'E_ATTN':>12}  {'E_FF':>12}  {'E':>12}"]
    for index, values in enumerate(zip(report["attention"], report["feedforward"], report["total"], strict=True)):
        lines.append(f"{index + 1:>9}  " + "  ".join(f"{value:>12.2f}" for value in values))
    return "\n".join(lines)


def draw(report: dict, path: str | PathLike) -> None:
    """Draw both energies and their sum over the iterations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    labels = {"attention": r"$E_\mathrm{ATTN}$", "feedforward": r"$E_\mathrm{FF}$", "total": r"$E$"}
    colours = {"attention": "#0072B2", "feedforward": "#D55E00", "total": "#000000"}  # apart for the colour-blind too
    iterations = range(1, len(report["total"]) + 1)
    for axes, (name, label) in zip(figure.subplots(1, 3), labels.items(), strict=True):
        axes.plot(iterations, report[name], color=colours[name], marker="o", markersize=4)
        axes.set(title=label, xlabel="iteration", ylabel="mean energy per sample")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.suptitle(f"accuracy {report['accuracy']:.1%} on {report['num_samples']} samples")
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=150))


def write_report(folder: str | PathLike, data: Dataset | IterableDataset, **options) -> dict:
    """Measure a saved folder as [`measure`] does, print the figures, write them there as `energy.json` and `energy.png`."""
    report = measure(folder, data, **options)
    print(f"\nReloaded {folder}: accuracy {report['accuracy']:.4f} on {report['num_samples']} samples")
    write_json(f"{folder}/energy.json", report)
    if not report["total"]:
        print("This layer is derived from no energy: there is none to print or draw.")
        return report
    print("Energies after every iteration, mean over samples:")
    print(table(report))
    draw(report, f"{folder}/energy.png")
    print(f"Drawn in {folder}/energy.png")
    return report
