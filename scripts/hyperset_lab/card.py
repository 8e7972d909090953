# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The model card that a training run writes: what was trained, with which command, and what was measured at which depth."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import datasets
import tokenizers
import torch
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers.modelcard import TASK_TAG_TO_NAME_MAPPING, extract_hyperparameters_from_trainer

import transformers
from hyperset_lab.recipes import is_recipe, read_recipe
from hyperset_lab.trainer import ScriptTrainer
from modeling_hyperset import HyperSETConfig
from modeling_hyperset.configuration_hyperset import SiblingType
from modeling_hyperset.files import write_whole
from modeling_hyperset.modeling_hyperset import AUTO_CLASSES, class_of
from transformers import Trainer


TIMINGS = re.compile(r"runtime|.*_per_second|.*_time|num_input_tokens_seen")  # measures of Trainer, not of the model
OPTIMIZER_SETTINGS = ("betas", "eps", "momentum")
TASKS = TASK_TAG_TO_NAME_MAPPING | {"image-to-image": "Image-to-Image"}  # of the Hub
METRIC = re.compile(r"eval_(?:(\d+)_iterations_)?(.+)")
LIBRARIES = (transformers, torch, datasets, tokenizers)
REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", flags=re.ASCII)
Row = tuple[int | None, str, float]  # iterations, name and value of a metric

TEMPLATE = """---
{metadata}
---

# {name}

A `{model_class}` with {parameters:,} parameters, {origin} {data}.
{family}
## Results
{results}
## Use

```python
{use}
```
{use_note}{section}
## Training
{command}
{hyperparameters}

Framework versions: {versions}

## Limits

The results above are all that was measured, and on those data alone. What is in the training data, biases included, is in the
model.
"""


def write_card(
    trainer: Trainer,
    metrics: dict[str, float],
    *,
    tasks: str | list[str],
    tags: str | Sequence[str] = (),
    dataset: str | None = None,
    dataset_tags: str | list[str] | None = None,
    dataset_args: str | None = None,
    finetuned_from: str | None = None,
    license: str | None = None,
    language: str | list[str] | None = None,
    model_name: str | None = None,
) -> None:
    """
    Write `README.md` in the trainer's `output_dir`, whole or not at all, on the main process alone. The keywords are those of
    `Trainer.create_model_card`. A `dataset` named owner/name is one of the Hub, unless that is a local path; for other names
    `dataset_tags` says which one it is. Without `license` it is that of the model fine-tuned, or Apache 2.0 from scratch.

    Args:
        trainer (`Trainer`): The run's trainer. Its arguments have the command that `parse_arguments` parsed.
        metrics (`dict[str, float]`): What the run measured; names and values go into the card as they are.
    """
    if not trainer.is_world_process_zero():
        return
    arguments, model = trainer.args, loadable(trainer.accelerator.unwrap_model(trainer.model))
    repository = getattr(trainer, "hub_model_id", None) or arguments.hub_model_id
    name = model_name or Path(repository or str(arguments.output_dir)).name
    trained = getattr(getattr(model, "config", None), "num_iterations", None)
    rows = measured(metrics, trained)
    on_hub = as_list(dataset_tags or (dataset if is_on_hub(dataset) else None))
    # An evaluation that is not pushed saves no weights.
    location = str(arguments.output_dir) if arguments.do_train or finetuned_from is None else finetuned_from
    location = repository if arguments.push_to_hub and repository is not None else location
    data = ModelCardData(
        language=language,
        library_name=library(model) or "transformers",
        pipeline_tag=next((task for task in as_list(tasks) if task in TASKS), None),
        tags=[*as_list(tags), *(getattr(model, "model_tags", None) or []), "generated_from_trainer"],
        datasets=on_hub or None,
        metrics=list(dict.fromkeys(metric for _, metric, _ in rows if metric != "loss")) or None,
        base_model=finetuned_from if is_on_hub(finetuned_from) else None,
        model_name=name,
        eval_results=evaluation_results(trainer, rows, as_list(tasks)[0], dataset, on_hub, dataset_args) or None,
        **({"license": license} if license else license_fields(finetuned_from)),
    )
    card = TEMPLATE.format(
        metadata=data.to_yaml(),
        name=name,
        model_class=class_of(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        origin=describe_origin(finetuned_from, arguments.do_train),
        data=describe_data(trainer, dataset),
        family=describe_family(model),
        results=describe_results(trainer, rows, trained),
        use=usage(model, location),
        use_note=USE_NOTE if is_ours(model) else "",
        section=trainer.card_section() if isinstance(trainer, ScriptTrainer) else "",
        command=describe_command(getattr(arguments, "command", None)),
        hyperparameters=hyperparameters(trainer),
        versions=", ".join(f"{library.__name__} {library.__version__}" for library in LIBRARIES),
    )
    write_whole(Path(str(arguments.output_dir)) / "README.md", ModelCard(card).save)


USE_NOTE = """
`trust_remote_code=True` runs the code in this repository; it is not needed where `modeling_hyperset` is installed and imported.
Any call takes `num_iterations=` to run the model at another depth.
"""


def loadable(model: torch.nn.Module) -> torch.nn.Module:
    """The outermost module with a `from_pretrained`: the model itself, unless it is wrapped for training."""
    return next((module for module in model.modules() if hasattr(module, "from_pretrained")), model)


def is_ours(model: torch.nn.Module) -> bool:
    """Whether a model is of this package, or of the copy of its code that a checkpoint carries."""
    return getattr(getattr(model, "config", None), "model_type", None) == HyperSETConfig.model_type


def library(model: torch.nn.Module) -> str | None:
    """Whose class a model is, if it is transformers' or diffusers' own."""
    package = class_of(model).__module__.partition(".")[0]
    return package if package in ("transformers", "diffusers") else None


def as_list(value: str | Sequence[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def is_on_hub(name: str | None) -> bool:
    """Whether a name stands for something on the Hub: owner/name, and no local path."""
    return name is not None and bool(REPOSITORY.fullmatch(name)) and not Path(name).exists()


def measured(metrics: dict[str, float], trained: int | None) -> list[Row]:
    """The rows of all metrics of the model; `trained` is the depth of those without a number."""
    rows = []
    for key, value in metrics.items():
        match = METRIC.fullmatch(key)
        if match and isinstance(value, int | float) and not TIMINGS.fullmatch(match[2]):
            rows.append((int(match[1]) if match[1] else trained, match[2], value))
    return rows


def license_fields(finetuned_from: str | None) -> dict[str, Any]:
    """The license of a model from scratch, or that of the model it comes from, where its card says one."""
    if finetuned_from is None:
        return {"license": "apache-2.0"}
    readme = Path(finetuned_from) / "README.md"
    try:
        base = ModelCard.load(readme if Path(finetuned_from).is_dir() else finetuned_from, ignore_metadata_errors=True)
    except (OSError, ValueError):  # no card, no network, or no such name
        return {}
    fields = {name: base.data.get(name) for name in ("license", "license_name", "license_link")}
    return {name: value for name, value in fields.items() if value}


def evaluation_results(
    trainer: Trainer, rows: list[Row], task: str, dataset: str | None, on_hub: list[str], config: str | None
) -> list[EvalResult]:
    """The model-index: a result per metric and depth, or none where the data have no name to go by."""
    kind = getattr(trainer.eval_dataset, "builder_name", None)  # "imagefolder", "csv", …
    if dataset:  # one that is not on the Hub has no characters but those that a model-index takes
        kind = re.sub(r"[^\w-]+", "-", Path(dataset).name, flags=re.ASCII).strip("-") or "local"
    kind = on_hub[0] if on_hub else kind
    if kind is None:
        return []
    split = str(getattr(trainer.eval_dataset, "split", None))
    shared: dict[str, Any] = {
        "task_type": task,
        "task_name": TASKS.get(task, task.replace("-", " ").capitalize()),
        "dataset_type": kind,
        "dataset_name": dataset or kind,
        "dataset_config": config,
        "dataset_split": split if split in ("validation", "test") else None,
    }
    return results_at_depths(rows, shared)


def results_at_depths(rows: list[Row], shared: dict[str, Any]) -> list[EvalResult]:
    """A result of the model-index for each of the `rows`; `shared` has the fields of task and data."""
    results = []
    for depth, metric, value in rows:
        title = metric.replace("_", " ").capitalize()
        at_depth: dict[str, Any] = {} if depth is None else {"metric_args": {"num_iterations": depth}}
        title += "" if depth is None else f" at {depth} iterations"
        results.append(EvalResult(**shared, **at_depth, metric_type=metric, metric_name=title, metric_value=value))
    return results


def describe_origin(finetuned_from: str | None, trained: bool) -> str:
    """Where training started, or what was evaluated without any."""
    if finetuned_from is None:
        return "trained from scratch on" if trained else "with weights that were not trained, measured on"
    link = f"[{finetuned_from}](https://huggingface.co/{finetuned_from})"
    name = link if is_on_hub(finetuned_from) else f"`{finetuned_from}`"
    return f"a fine-tuned version of {name} on" if trained else f"{name} as it is, measured on"


def describe_data(trainer: Trainer, dataset: str | None) -> str:
    """Which data, and how many samples of them."""
    text = f"the {dataset} dataset" if dataset else "local data"
    read: dict[str, Any] = {"trained": trainer.train_dataset, "evaluated": trainer.eval_dataset}
    counted = {verb: data for verb, data in read.items() if hasattr(data, "__len__") and not isinstance(data, dict)}
    counts = ", ".join(f"{verb} on {len(data):,} samples" for verb, data in counted.items())
    return f"{text} ({counts})" if counts else text


def describe_family(model: torch.nn.Module) -> str:
    """What kind of model this is, for those of this package."""
    if not is_ours(model):
        return ""
    config: Any = model.config
    if config.layer_type != "hyperset":
        kind = "system beside" if config.layer_type in get_args(SiblingType) else "baseline of"
        return f"\nIts layers are of type `{config.layer_type}`, a {kind} the Hyper-SET family.\n"
    return f"""
Hyper-SET (Hyper-Spherical Energy Transformer): every iteration of a layer takes a step on an attention energy and one on a
feedforward energy on the hypersphere, each along a direction of descent. \
Distinct layers: {config.num_hidden_layers}, iterations of each in training: \
{config.num_iterations}, width: {config.hidden_size}, heads: {config.num_attention_heads}.
"""


def describe_results(trainer: Trainer, rows: list[Row], trained: int | None) -> str:
    """A table with a line per depth, or that nothing was measured."""
    if not rows:
        return "\nNothing was measured.\n"
    chosen = f"""
The weights are those of the step with the best `{trainer.args.metric_for_best_model}` on these same data: the results are
better than they would be on data that chose nothing.
"""
    chosen = chosen if trainer.args.load_best_model_at_end else ""
    return f"\nOn the evaluation split:\n\n{table_of_results(rows, trained)}\n{chosen}"


def table_of_results(rows: list[Row], trained: int | None) -> str:
    """A line for each depth, a column for each metric."""
    names = list(dict.fromkeys(metric for _, metric, _ in rows))
    depths = sorted({depth for depth, _, _ in rows}, key=lambda depth: depth or 0)
    values = {(depth, metric): value for depth, metric, value in rows}
    lines = [["iterations", *names], ["---"] * (len(names) + 1)]
    for depth in depths:
        first = "–" if depth is None else f"{depth} (as trained)" if depth == trained else str(depth)
        cells = (values.get((depth, metric)) for metric in names)
        lines.append([first, *("" if cell is None else f"{cell:.4f}" for cell in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def usage(model: torch.nn.Module, location: str) -> str:
    """Code that loads the model."""
    package, name, options = library(model), class_of(model).__name__, ""
    if is_ours(model):
        package, options = "transformers", ", trust_remote_code=True"
        name = next(auto_class for auto_class, model_class in AUTO_CLASSES.items() if model_class.__name__ == name)
    start = f"from {package} import {name}\n\n" if package else ""
    return f'{start}model = {name}.from_pretrained("{location}"{options})'


def describe_command(command: list[str] | None) -> str:
    """The command, and the recipe that it names."""
    if command is None:
        return ""
    text = f"\n```bash\npython {shlex.join(command)}\n```\n"
    recipe = Path(command[1] if len(command) > 1 else "")
    if is_recipe(recipe.name) and recipe.is_file():
        flags = {name: value for name, value in read_recipe(recipe).items() if name not in ("token", "hub_token")}
        text += f"\n`{recipe}` holds:\n\n```yaml\n{yaml.safe_dump(flags, sort_keys=False).strip()}\n```\n"
    return text


def hyperparameters(trainer: Trainer) -> str:
    """The settings of the optimisation and the seeds, a line each."""
    arguments = trainer.args
    if not arguments.do_train:
        return f"Evaluated only, with batches of {arguments.eval_batch_size}."
    values: dict[str, Any] = extract_hyperparameters_from_trainer(trainer)
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)  # Accelerate's wrapper holds the one in use
    if optimizer is not None:
        settings = {name: optimizer.defaults[name] for name in OPTIMIZER_SETTINGS if name in optimizer.defaults}
        settings["weight_decay"] = arguments.weight_decay  # the defaults' is not what the parameter groups have
        values["optimizer"] = f"{type(optimizer).__name__}, {', '.join(f'{n} {v}' for n, v in settings.items())}"
    values["max_grad_norm"] = arguments.max_grad_norm
    if arguments.data_seed is not None:
        values["data_seed"] = arguments.data_seed
    if arguments.bf16:
        values["mixed_precision_training"] = "bf16"
    return "\n".join(f"- {name}: {value}" for name, value in values.items())
