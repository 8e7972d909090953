# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Accuracy and energies of a saved image classifier, in the terminal and as a picture."""

from collections.abc import Iterator
from os import PathLike

import torch
from datasets import Dataset, IterableDataset
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from hyperset_lab.images.pixels import read_image
from modeling_hyperset.analysis import Analysis, analyze
from modeling_hyperset.files import write_json, write_whole
from transformers import AutoModelForImageClassification


def measure(
    folder: str | PathLike,
    data: Dataset | IterableDataset,
    batch_size: int,
    device: torch.device,
    trust_remote_code: bool = False,
) -> Analysis:
    """
    Load a saved folder again with the Auto classes, and analyse its accuracy, and its energies if it has any, on the columns
    `image` and `label` of `data`.
    """
    model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=trust_remote_code).to(device)
    processor = AutoImageProcessor.from_pretrained(folder)

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        for batch in data.iter(batch_size):
            images = processor([*map(read_image, batch["image"])], return_tensors="pt")
            yield {**images, "labels": torch.tensor(batch["label"])}

    quantities = {"accuracy"} | ({"energies"} if model.config.has_energies else set())
    return analyze(model, batches(), quantities=quantities, progress=False)


def write_energies(folder: str | PathLike, data: Dataset | IterableDataset, **options) -> None:
    """Measure a saved folder as [`measure`] does, print the figures, write them there as `energy.json` and `energy.png`."""
    analysis = measure(folder, data, **options)
    report = {"accuracy": analysis.statistics["accuracy"]["mean"][-1], "num_samples": analysis.num_samples}
    for side in ("attention", "feedforward", "total"):
        report[side] = analysis.statistics.get(f"{side}_energy", {"mean": []})["mean"]
    print(f"\nReloaded {folder}: accuracy {report['accuracy']:.4f} on {report['num_samples']} samples")
    write_json(f"{folder}/energy.json", report)
    if not report["total"]:
        print("This layer is derived from no energy: there is none to print or draw.")
        return
    from modeling_hyperset.analysis.figures import draw_energies  # it imports matplotlib

    print("After every iteration, mean over samples:")
    print(analysis.table())
    write_whole(f"{folder}/energy.png", lambda temporary: draw_energies(analysis).savefig(temporary, dpi=150))
    print(f"Drawn in {folder}/energy.png")
