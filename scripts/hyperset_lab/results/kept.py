# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Kept results: one small JSON file each, made of the folders of finished runs or comparisons.

Its fields: `title`, `chosen_on`, `paper`, `beside` and `remark` are written by hand and stay when the file is made again.
`score` is the measure that counts. `data` says what was trained and evaluated on. `made` lists command, commit, date, hardware
and versions of all that was taken in. `models` has a row for each model: its costs, its seeds, and `metrics`, the values of
each measure at each depth, one for each seed. Rows of Sudoku solvers have `by_givens`, the first seed's accuracy by the number
of given digits.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperset_lab.card import measured
from hyperset_lab.comparison.runs import RECORD
from hyperset_lab.origin import ORIGIN, ROOT
from modeling_hyperset.files import write_json


KEPT = ROOT / "docs" / "results"
BY_HAND = ("title", "chosen_on", "paper", "beside", "remark")
NEEDED = ("title", "chosen_on")
LABELS = {
    "hyperset": "Hyper-SET",
    "transformer": "Transformer",
    "shared_qkv_transformer": "Transformer, shared QKV",
    "crate": "CRATE",
    "crate_t": "CRATE-T",
    "energy_transformer": "Energy Transformer",
}
GIVENS = "givens.json"  # what a run on Sudokus has of the accuracy by the number of given digits
PROVENANCE = ("command", "commit", "changed", "date", "hardware", "versions")
SAME = ("parameters", "num_iterations", "learning_rate", "steps")  # of all seeds of a model

Metrics = dict[str, dict[str, list[float]]]  # measure, depth, one value for each seed
Result = dict[str, Any]


def kept_results(folder: Path = KEPT) -> dict[str, Result]:
    """All kept results by the names of their files."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def by_depth(metrics: dict[str, float], trained: int | None) -> Metrics:
    """The measures of one run at each depth."""
    found: Metrics = {}
    for depth, name, value in measured(metrics, trained):
        found.setdefault(name, {})[str(depth)] = [value]
    # A model without iterations has one depth, `None`.
    return {
        name: dict(sorted(values.items(), key=lambda item: (len(item[0]), item[0]))) for name, values in found.items()
    }


def read(path: Path) -> dict[str, Any]:
    """A JSON file of a run; a `ValueError` says that it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no JSON file of a finished run: {error}") from error


def of_run(folder: Path, label: str | None) -> Result:
    """What a training in `folder` came to, as a result of one model and one seed."""
    origin = read(folder / ORIGIN)
    if origin.get("schedule_ended") is False:
        raise ValueError(
            f"A clock stopped the run in {folder} before its learning rate came to its end: train it again."
        )
    model, training = origin["model"], origin["training"]
    row = {
        "parameters": model["parameters"],
        "flops": model["flops"],
        "num_iterations": model["num_iterations"],
        "learning_rate": training["learning_rate"],
        "steps": training["steps"],
        "seconds_per_step": None,
        "seconds": [training["seconds"]],
        "seeds": [training["seed"]],
        "diverged": [],
        "metrics": by_depth(origin["metrics"], model["num_iterations"]),
    }
    if (givens := folder / GIVENS).is_file() and (
        counted := read(givens)["accuracy"].get(str(model["num_iterations"]))
    ):
        row["by_givens"] = counted
    label = label or LABELS.get(model["layer_type"], str(model["layer_type"]))
    made = [{name: origin[name] for name in PROVENANCE}]
    return {"score": origin["score"], "data": origin["data"], "made": made, "models": {label: row}}


def of_comparison(folder: Path, missing: dict[str, Any]) -> Result:
    """What a comparison in `folder` came to. `missing` has what one of an older version did not write down."""
    comparison = read(folder / "comparison.json")
    settings, timing = comparison["settings"], comparison["timing"]
    rows: dict[str, dict[str, Any]] = {}
    origins = []
    for name, found in comparison["models"].items():
        row: dict[str, Any] = {key: found[key] for key in ("parameters", "flops", "num_iterations", "learning_rate")}
        row |= {
            "chosen_out_of": settings["learning_rates"],
            "memory": comparison["memory"][name],  # bytes that a training batch's forward pass keeps
            "seconds_per_step": timing["models"][name]["seconds"],
            "relative_time_per_step": timing["models"][name]["relative"],
            "seeds": [],
            "diverged": [],
            "metrics": {},
        }
        for seed, run in zip(settings["seeds"], found["runs"], strict=True):
            metrics = read(folder / "runs" / run / RECORD)["metrics"]
            if "diverged" in metrics:
                row["diverged"].append(seed)
                continue
            row["seeds"].append(seed)
            add(row["metrics"], by_depth(metrics, row["num_iterations"]))
            if (path := folder / "runs" / run / ORIGIN).is_file():
                origins.append(read(path))
        rows[name] = row
    first = origins[0] if origins else {}
    made = comparison.get("origin") or missing
    absent = [f"--{name}" for name in ("command", "commit", "date") if not made.get(name)]
    hardware = first.get("hardware") or made.get("hardware") or missing.get("hardware")
    if absent := absent + ([] if hardware else ["--device"]):
        raise ValueError(f"{folder} does not say where it comes from: pass {', '.join(absent)}.")
    made = {name: made.get(name) for name in PROVENANCE} | {"versions": comparison["versions"]}
    made["hardware"] = hardware
    if others := sorted({origin["commit"] for origin in origins} - {made["commit"], None}):
        made["other_commits"] = others
    data = first.get("data") or missing.get("data")
    if not data:
        raise ValueError(f"{folder} does not say which data it trained on: pass `--data`.")
    result = {"score": settings["score"], "data": data, "made": [made], "models": rows}
    return result | {"timing": {name: timing[name] for name in ("reference", "num_turns", "device", "num_threads")}}


def add(metrics: Metrics, others: Metrics) -> None:
    """Append the values of another run to those of the runs before it."""
    for name, values in others.items():
        for depth, value in values.items():
            metrics.setdefault(name, {}).setdefault(depth, []).extend(value)


def join(results: Sequence[Result]) -> Result:
    """Results of the same measure on the same data as one. Runs of one model are its seeds."""
    joined: Result = {"score": results[0]["score"], "data": results[0]["data"], "made": [], "models": {}}
    for result in results:
        for name in ("score", "data"):
            if result[name] != joined[name]:
                raise ValueError(f"The runs have different {name}: {joined[name]!r} and {result[name]!r}.")
        joined["made"] += [made for made in result["made"] if made not in joined["made"]]
        if "timing" in result:
            joined["timing"] = result["timing"]
        for label, row in result["models"].items():
            first = joined["models"].setdefault(label, row)
            if first is row:
                continue
            if different := [name for name in SAME if first.get(name) != row.get(name)]:
                raise ValueError(
                    f"Two runs of the model {label!r} differ in {', '.join(different)}, so they are no seeds of one "
                    "model: name one of them as LABEL=FOLDER."
                )
            if again := set(first["seeds"]) & set(row["seeds"]):
                raise ValueError(f"The model {label!r} has two runs of seed {min(again)}: leave one out.")
            add(first["metrics"], row["metrics"])
            for name in ("seeds", "diverged", "seconds"):
                first[name] = first.get(name, []) + row.get(name, [])
    return joined


def take_in(
    name: str,
    folders: Sequence[str],
    by_hand: dict[str, Any],
    missing: dict[str, Any] | None = None,
    kept: Path = KEPT,
) -> Result:
    """
    Make the kept result `name` of the folders of finished runs (also `LABEL=FOLDER`) or comparisons, and write it.

    Args:
        by_hand (`dict`): Fields that are written by hand; those not given stay as the file has them.
        missing (`dict`, *optional*): Where a comparison of an older version comes from.

    Raises:
        `ValueError`: a folder of no finished run, runs that do not belong together, a result that nothing says the origin of.
    """
    results = []
    for word in folders:
        label, equals, path = word.rpartition("=")
        folder = Path(path)
        if (folder / "comparison.json").is_file():
            if equals:
                raise ValueError(f"{word!r} gives a comparison a label, but its models have names.")
            results.append(of_comparison(folder, missing or {}))
        elif (folder / ORIGIN).is_file():
            results.append(of_run(folder, label or None))
        else:
            raise ValueError(
                f"{str(folder)!r} holds no finished run: it must have {ORIGIN}, which a training writes at its end, or "
                "comparison.json."
            )
    file = kept / f"{name}.json"
    before = read(file) if file.is_file() else {}
    hand = {field: by_hand.get(field) or before.get(field) or None for field in BY_HAND}
    if absent := [f"--{field}" for field in NEEDED if not hand[field]]:
        raise ValueError(f"The result {name!r} is new: pass {' and '.join(absent)}.")
    result: Result = hand | join(results)
    if unknown := [made["command"] for made in result["made"] if not made["commit"]]:
        raise ValueError(f"No commit is known of {unknown[0]}: train it in a checkout.")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, result)
    return result
