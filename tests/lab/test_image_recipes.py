# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The recipes of the paper's image experiments, without their data."""

import importlib
import re
from pathlib import Path

import pytest
import torch
import yaml

from hyperset_lab.arguments import parse_arguments
from modeling_hyperset.presets import PRESETS, count_parameters
from transformers import AutoModelForImageClassification, get_scheduler


SCRIPTS = Path(__file__).parents[2] / "scripts"
OWN = SCRIPTS / "recipes" / "cifar10_cpu.yaml"  # not of the paper
RECIPES = sorted({*(SCRIPTS / "recipes").glob("cifar*.yaml"), *(SCRIPTS / "recipes").glob("imagenet*.yaml")} - {OWN})
# Tables 9 and 11 are the same but for the batch.
TABLES_9_AND_11 = {
    "num_train_epochs": 200, "optim": "adam", "adam_beta1": 0.9, "adam_beta2": 0.999, "weight_decay": 5e-5,
    "learning_rate": 1e-3, "max_grad_norm": 0.0, "gradient_accumulation_steps": 1,
}  # fmt: skip
FINE_TUNING = TABLES_9_AND_11 | {"num_train_epochs": 50, "weight_decay": 1e-5, "learning_rate": 1e-4}  # Section 5.2
# Of the authors' program. Fine-tuning keeps the pre-trained model's normalisation.
STATISTICS = {
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "cifar100": ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet100": 100, "imagenet1k": 1000}


@pytest.fixture(scope="module")
def script():
    yield importlib.import_module("hyperset_lab.images.task")


def test_there_is_a_recipe_for_each_experiment():
    names = {path.stem for path in RECIPES}
    assert names == {
        "cifar10", "cifar100", "cifar10-1536", "cifar100-1536", "cifar10-finetune", "cifar100-finetune", "imagenet100",
        "imagenet100-lora", "imagenet1k-small", "imagenet1k-small-scaled-up", "imagenet1k-base", "imagenet1k-12-layers",
    }  # fmt: skip


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_its_tables(script, path):
    model_arguments, data_arguments, training_arguments = parse_arguments(
        script.TASK.arguments, [str(path), "--use_cpu"]
    )
    fine_tuning, data = path.stem.endswith("finetune"), path.stem.split("-")[0]
    wanted = FINE_TUNING if fine_tuning else TABLES_9_AND_11
    batch = 128 if data.startswith("cifar") and not fine_tuning else 256
    got = {name: getattr(training_arguments, name) for name in wanted}
    assert got == wanted and training_arguments.per_device_train_batch_size == batch
    # Five epochs up to the learning rate, then along a cosine to 1e-5.
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=training_arguments.learning_rate)
    steps = 10 * training_arguments.num_train_epochs
    schedule = get_scheduler(
        training_arguments.lr_scheduler_type,
        optimizer,
        num_warmup_steps=training_arguments.get_warmup_steps(steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=training_arguments.lr_scheduler_kwargs,
    )
    rates = []
    for _ in range(int(steps)):
        optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    assert rates.index(max(rates)) == 10 * 5 - 1 and max(rates) == pytest.approx(wanted["learning_rate"])
    assert rates[:50] == sorted(rates[:50]) and rates[49:] == sorted(rates[49:], reverse=True)
    assert rates[-1] == pytest.approx(1e-5)

    columns = {"cifar10": ("img", "label"), "cifar100": ("img", "fine_label")}
    assert (data_arguments.image_column_name, data_arguments.label_column_name) == columns.get(
        data, ("image", "label")
    )
    of_cifar, resized = data.startswith("cifar"), fine_tuning or not data.startswith("cifar")
    statistics = (None, None) if fine_tuning else STATISTICS[data if of_cifar else "imagenet"]
    assert (data_arguments.image_mean, data_arguments.image_std) == statistics
    assert (data_arguments.random_crop, data_arguments.crop_pct) == ("resized" if resized else "padded", None)
    assert data_arguments.auto_augment == ("cifar10" if of_cifar else "imagenet") and data_arguments.random_flip
    # The program gives 0.1 to the other classes together, PyTorch a share of its factor to the right one as well.
    classes = CLASSES[data]
    assert training_arguments.label_smoothing_factor * (classes - 1) / classes == pytest.approx(0.1, abs=1e-4)
    assert training_arguments.decay_all
    assert path.read_text().startswith("# ") and re.search(r"Tables? \d+", path.read_text())
    if fine_tuning:
        return
    preset = model_arguments.config_name
    labels = {"id2label": {index: str(index) for index in range(CLASSES[data])}}
    config = importlib.import_module("hyperset_lab.models").load_config(model_arguments, **labels)
    with torch.device("meta"):
        model = AutoModelForImageClassification.from_config(config)
    assert model.num_parameters() == count_parameters(preset)
    assert config.num_labels == PRESETS[preset].config["num_labels"]


def test_the_models_for_a_cpu_are_alike(script):
    """Width, iterations and patches are the same for all that are compared, and the patches are the paper's."""
    compared = yaml.safe_load((SCRIPTS / "recipes" / "compare_cifar10_cpu.yaml").read_text())
    assert compared["base_recipe"] == OWN.name
    shapes = set()
    for own in compared["models"].values():
        flags = [word for name, value in own.items() for word in (f"--{name}", str(value))]
        model_arguments, data_arguments, training_arguments = parse_arguments(
            script.TASK.arguments, [str(OWN), *flags]
        )
        config = importlib.import_module("hyperset_lab.models").load_config(model_arguments)
        assert config.layer_type == own.get("layer_type", "hyperset")
        shapes.add((config.hidden_size, config.num_iterations, config.patch_size, config.image_size, config.pooling))
        assert training_arguments.bf16 and data_arguments.image_mean == STATISTICS["cifar10"][0]
    assert shapes == {(192, 6, 4, 32, "mean")}


def test_fine_tuning_starts_from_another_recipe():
    for name in ("cifar10", "cifar100"):
        recipe = yaml.safe_load((SCRIPTS / "recipes" / f"{name}-finetune.yaml").read_text())
        base = yaml.safe_load((SCRIPTS / "recipes" / "imagenet1k-12-layers.yaml").read_text())
        assert recipe["model_name_or_path"] == base["output_dir"]
        assert "crop_pct" not in base  # its processor shows whole images at evaluation, as the recipe's views do


def test_flags_that_the_recipes_name(script):
    """Their comments say `--config_name` of other presets: those exist, for the same data."""
    for path in RECIPES:
        comment = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
        for name in re.findall(
            r"(?<!/)\b(?:imagenet|imagenet100|cifar10|cifar100)-[a-z0-9-]*[a-z0-9]\b(?!\.yaml)", comment
        ):
            assert name in PRESETS, (path.name, name)


def test_a_folder_takes_the_place_of_a_recipe_s_data_set(script, tmp_path):
    flags = ["--dataset_name", "", "--train_dir", str(tmp_path), "--validation_dir", str(tmp_path), "--use_cpu"]
    _, data_arguments, _ = parse_arguments(
        script.TASK.arguments, [str(SCRIPTS / "recipes" / "imagenet100.yaml"), *flags]
    )
    assert data_arguments.dataset_name is None and data_arguments.train_dir == str(tmp_path)


def test_adam_s_weight_decay_is_part_of_the_gradient(script, tmp_path):
    """Unlike AdamW's: a weight whose gradient is the opposite of its decay stays where it is."""
    training = importlib.import_module("hyperset_lab.trainer")
    arguments = training.ScriptTrainingArguments(
        str(tmp_path),
        optim="adam",
        weight_decay=0.5,
        learning_rate=0.1,
        adam_beta1=0.8,
        use_cpu=True,
        report_to="none",
    )
    assert arguments.optim == "adam" and arguments.to_dict()["optim"] == "adam"
    model = torch.nn.Linear(1, 1, bias=False)
    trainer = training.ScriptTrainer(model=model, args=arguments)
    optimizer = trainer.create_optimizer()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.999) and optimizer.param_groups[0]["weight_decay"] == 0.5
    weight = model.weight.detach().clone()
    model.weight.grad = -0.5 * weight
    optimizer.step()
    assert torch.equal(model.weight, weight)
