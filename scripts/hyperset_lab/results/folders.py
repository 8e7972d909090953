# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Models that come along: repositories for the Hub in `model_cards`, each made of the folder of a finished training."""

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard
from safetensors.torch import save_file

import modeling_hyperset
from hyperset_lab.arguments import parse_arguments
from hyperset_lab.card import TASKS, describe_command, measured, results_at_depths, table_of_results
from hyperset_lab.models import model_of
from hyperset_lab.origin import ORIGIN, ROOT
from hyperset_lab.results.kept import Result, kept_results, read
from hyperset_lab.results.page import OURS, made_by
from hyperset_lab.tasks import NAMES, Task, task_named
from modeling_hyperset.files import write_json, write_text, write_whole
from transformers import AutoConfig, PreTrainedModel


FOLDERS = ROOT / "model_cards"
LARGEST, LARGEST_TOGETHER = 5_000_000, 15_000_000  # bytes of one folder, and of all
SAMPLES = "samples.safetensors"
# What a repository has of a training's folder beside the code: not the states of the training, its logs and pictures.
TAKEN = (
    *("config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt"),
    "givens.json",  # a Sudoku solver's card names it
)
# Flags of a training that an evaluation of its model does not take.
OF_TRAINING = (
    *("output_dir", "config_name", "config_overrides", "layer_type", "train_tokenizer", "tokenizer_name"),
    *("resume_from_checkpoint", "do_train"),
)


def folders_of_models(root: Path = FOLDERS) -> list[Path]:
    """The models that came along: the folders with weights."""
    return sorted(path.parent for path in root.glob("*/model.safetensors"))


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def load(folder: str | os.PathLike) -> PreTrainedModel:
    """The model of a folder in float32, with the head that it was saved with, in evaluation mode."""
    (architecture,) = AutoConfig.from_pretrained(folder).architectures
    return getattr(modeling_hyperset, architecture).from_pretrained(folder, dtype=torch.float32).eval()


def task_of(script: str) -> Task:
    """The task whose command is `script`."""
    tasks = (task_named(name) for name in NAMES)
    found = next((task for task in tasks if task.script == script), None)
    if found is None:
        raise ValueError(f"The run was made by {script!r}, which is the command of no task that is known here.")
    return found


def evaluation(command: Sequence[str], name: str) -> list[str]:
    """The words of the command that evaluates the model `name` as the training with `command` did in the end."""
    kept: list[str] = []
    skipping = False
    for word in command:
        if word.startswith("--"):
            skipping = word.removeprefix("--").partition("=")[0] in OF_TRAINING
        if not skipping:
            kept.append(word)
    own = ["--model_name_or_path", f"model_cards/{name}", "--do_train", "false", "--output_dir", f"outputs/{name}"]
    return [*kept, *own]


def refresh_code(folder: Path) -> None:
    """Give a folder the code of this package, as `save_pretrained` copies it, and leave the rest as it is."""
    with tempfile.TemporaryDirectory() as temporary:
        load(folder).save_pretrained(temporary)
        code = {path.name: path.read_text(encoding="utf-8") for path in Path(temporary).glob("*.py")}
    for path in folder.glob("*.py"):
        if path.name not in code:
            path.unlink()
    for name, text in code.items():
        write_text(folder / name, text)


@torch.no_grad()
def record_samples(folder: Path, command: Sequence[str], count: int) -> None:
    """
    Write `samples.safetensors`: some samples of the evaluation as the model reads them, their labels, and the `logits` that it
    gives at its trained depth.
    """
    task = task_of(command[0])
    words = ["--model_name_or_path", str(folder), "--use_cpu", "true", "--disable_tqdm", "true", "--report_to", "none"]
    with tempfile.TemporaryDirectory() as temporary:
        flags = [*command[1:], *words, "--output_dir", temporary]
        trainer, _ = task.build_trainer(*parse_arguments(task.arguments, flags, task.script))
    data: Any = trainer.eval_dataset
    count = min(count, len(data))
    chosen = [data[index * (len(data) // count)] for index in range(count)]
    batch = {name: value.cpu().contiguous() for name, value in trainer.data_collator(chosen).items()}
    model = model_of(trainer).float().cpu().eval()
    batch["logits"] = model(**{name: value for name, value in batch.items() if name != "labels"}).logits.contiguous()
    write_whole(folder / SAMPLES, lambda path: save_file(batch, path))


def put(text: str, pattern: str, part: str) -> str:
    """The `text` of a card with the `part` in place of what matches the `pattern`; it is a `ValueError` if nothing does."""
    found, count = re.subn(pattern, lambda match: part, text, count=1, flags=re.DOTALL)
    if not count:
        raise ValueError(f"The training's card has no part like {pattern!r}, so it is no card that a training wrote.")
    return found


def write_card(folder: Path, source: Path, origin: dict[str, Any], result: Result) -> None:
    """The card that the training wrote, by the name of the folder, with what its figures come from."""
    card = ModelCard.load(source / "README.md")
    name, place = folder.name, f"model_cards/{folder.name}"
    card.data.model_name = name
    trained, task = origin["model"]["num_iterations"], card.data.pipeline_tag
    rows = measured(origin["metrics"], trained)
    shared = {
        "task_type": task,
        "task_name": TASKS[task],
        "dataset_type": origin["result"],
        "dataset_name": result["title"],
    }
    card.data.eval_results = results_at_depths(rows, shared)
    text = re.sub(r"^# .*$", f"# {name}", card.text, count=1, flags=re.MULTILINE)
    table = f"## Results\n\nOn the evaluation split:\n\n{table_of_results(rows, trained)}\n"
    text = put(text, r"## Results\n\nOn the evaluation split:\n\n(\|[^\n]*\|\n)+", table)
    # A run of a comparison has a recipe of its own.
    text = put(text, r"## Training\n.*?(?=\n- learning_rate:)", f"## Training\n{describe_command(origin['command'])}")
    text = re.sub(r'from_pretrained\("[^"]*"', f'from_pretrained("{place}"', text)
    remark = f"\n{result['remark']}\n" if result.get("remark") else ""
    section = f"""## Where the figures come from

{result["title"]}. Chosen on: {result["chosen_on"]} `docs/results.md` of the project shows the result beside other models.
{remark}
{made_by(origin)}

This command evaluates the model again, in a checkout of the project:

```bash
python {shlex.join(origin["evaluation"])}
```

`{SAMPLES}` holds some samples of the evaluation as the model reads them, their labels, and the `logits` that it gives.
`{ORIGIN}` holds what the run wrote.

This folder is a repository as the Hub has it. `hf upload org/{name} {place}` publishes it (`org` is your account).
Then `org/{name}` takes the place of `{place}` above.

"""
    text = re.sub(
        r"## Where the figures come from\n.*?(?=## Limits\n)", "", text, flags=re.DOTALL
    )  # of an earlier card
    card.text = text.replace("## Limits\n", f"{section}## Limits\n", 1)
    write_whole(folder / "README.md", card.save)


def keep(source: Path, name: str, result: str, command: Sequence[str] | None = None, samples: int = 8) -> Path:
    """
    Make the folder `model_cards/<name>` of a finished training in the folder `source`, whole or not at all.

    Args:
        result (`str`): The kept result that the training belongs to.
        command: The command that trains this model, where that is not the one that the run wrote: a run of a comparison has a
            recipe of its own, which no other machine has.
        samples (`int`): How many samples of the evaluation to record.

    Raises:
        `ValueError`: the folder is no finished training, its figures are not those of the kept result, or it is too large.
    """
    origin = read(source / ORIGIN)
    command = list(command or origin["command"])
    kept = kept_results().get(result)
    if kept is None:
        raise ValueError(f"There is no kept result {result!r}: `scripts/make_results.py {result} …` makes it.")
    origin |= {"command": command, "evaluation": evaluation(command, name), "result": result}
    check_claims(origin, kept, result)
    target = FOLDERS / name
    with tempfile.TemporaryDirectory(dir=FOLDERS, prefix=".unfinished-") as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        for pattern in TAKEN:
            for path in source.glob(pattern):
                shutil.copyfile(path, folder / path.name)  # not its permissions, which may be the owner's alone
        write_json(folder / ORIGIN, origin)
        refresh_code(folder)
        record_samples(folder, evaluation(command, name), samples)
        write_card(folder, source, origin, kept)
        if (found := size(folder)) > LARGEST:
            raise ValueError(f"{name} has {found:,} bytes, and a model that comes along has at most {LARGEST:,}.")
        others = sum(size(other) for other in folders_of_models() if other.name not in (name, folder.parent.name))
        if others + found > LARGEST_TOGETHER:
            raise ValueError(f"With {name} the models have {others + found:,} bytes, more than {LARGEST_TOGETHER:,}.")
        if target.exists():
            shutil.rmtree(target)
        os.replace(folder, target)
    return target


def check_claims(origin: dict[str, Any], kept: Result, result: str) -> None:
    """Refuse a training whose figures are not among those of the kept result."""
    row, seed = kept["models"].get(OURS), origin["training"]["seed"]
    if row is None or seed not in row["seeds"]:
        raise ValueError(f"The kept result {result!r} has no {OURS} of seed {seed}: take this run into it first.")
    score, place = kept["score"]["name"], row["seeds"].index(seed)
    claimed, shown = origin["metrics"][f"eval_{score}"], row["metrics"][score][str(row["num_iterations"])][place]
    if claimed != shown:
        raise ValueError(f"The run has {score} {claimed}, but the kept result {result!r} has {shown} for seed {seed}.")
