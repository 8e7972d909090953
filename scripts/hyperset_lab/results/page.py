# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The page of documents that shows all kept results."""

import re
import shlex
import textwrap
from typing import Any

from hyperset_lab.comparison.choice import mean_and_deviation
from hyperset_lab.comparison.table import aligned_table, with_deviation
from hyperset_lab.origin import ROOT
from hyperset_lab.results.kept import LABELS, Result


PAGE = ROOT / "docs" / "results.md"
# In another page of documents the table of a result stands between two such comments.
SHOWN = re.compile(r"(<!-- results: ([\w-]+) -->\n).*?(<!-- end of results -->)", flags=re.DOTALL)
OURS = LABELS["hyperset"]

HEAD = """# Results

<!-- `python scripts/make_results.py` writes this page from the files in docs/results. Do not edit it. -->

Every figure on this page comes from a file in `docs/results`, made of what finished runs wrote. Bad results stand here like
good ones. The paper's figures are of larger models and longer trainings. What the hyper-parameters were chosen on stands below
each table.

A score is the mean over the seeds, with the standard deviation where there are several. "Half" and "twice" are half and twice
the iterations of the training. MFLOPs are millions of floating point operations in the matrix products of one forward pass on
one sample. Memory is what the forward pass of a training batch keeps for the backward pass, without the parameters.
"""


def page(results: dict[str, Result]) -> str:
    """The whole page, from all kept results by their names."""
    parts = [HEAD.strip(), summary(results)]
    parts += [section(name, result) for name, result in results.items()]
    return "\n\n".join(parts) + "\n"


def with_tables(text: str, results: dict[str, Result]) -> str:
    """A page of documents, with the tables of the results that it shows. A name of no result is a `ValueError`."""

    def shown(found: re.Match[str]) -> str:
        if (name := found[2]) not in results:
            raise ValueError(f"A page shows the result {name!r}, but there is none of that name.")
        return f"{found[1]}\n{table(results[name])}\n\n{found[3]}"

    return SHOWN.sub(shown, text)


def anchor(title: str) -> str:
    """The anchor that Markdown gives to a heading."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title, flags=re.ASCII).strip().lower())


def unit(score: dict[str, Any]) -> str:
    """A measure and its unit, as a column is titled."""
    better = "" if score["higher_is_better"] else ", less is better"
    return score["name"].replace("_", " ") + (", %" if score["is_share"] else "") + better


def cell(row: dict[str, Any] | None, score: dict[str, Any], depth: int | None = None) -> str:
    """The score of a model at a depth, the trained one if it is not given."""
    if row is None:
        return "–"
    if row["diverged"]:
        return "diverged"
    depth = row["num_iterations"] if depth is None else depth
    values = row["metrics"][score["name"]].get(str(depth))
    if not values or len(values) < len(row["seeds"]):
        return "–"
    return with_deviation(mean_and_deviation([{"score": value} for value in values], "score"), score["is_share"])


def others(row: dict[str, Any], score: dict[str, Any]) -> list[str]:
    """The scores at half the trained depth, rounded down, and at twice."""
    iterations = row["num_iterations"]
    return [cell(row, score, iterations // 2) if iterations > 1 else "–", cell(row, score, 2 * iterations)]


def beside(result: Result) -> str | None:
    """The model that ours is shown beside: the one named by hand, or the first Transformer."""
    named = result.get("beside")
    return named or next(
        (label for label in result["models"] if "Transformer" in label and "Energy" not in label), None
    )


def summary(results: dict[str, Result]) -> str:
    """A line for each result: the paper's figures and ours."""
    header = ["data", "measure", f"paper: {OURS}", "paper: Transformer", f"here: {OURS}", "here: Transformer"]
    rows = []
    for result in results.values():
        paper, models, score = result.get("paper") or {}, result["models"], result["score"]
        cells = [f"[{result['title']}](#{anchor(result['title'])})", unit(score)]
        cells += [str(paper.get(model, "–")) for model in (OURS, "Transformer")]
        other = str(beside(result))
        label = "" if other in ("None", "Transformer") else f" ({other})"
        rows.append([*cells, cell(models.get(OURS), score), cell(models.get(other), score) + label])
    return aligned_table(header, rows)


def table(result: Result) -> str:
    """What each model of a result costs and reaches."""
    score, models = result["score"], result["models"]
    header = ["model", "parameters", "MFLOPs", "memory, MB", "iterations", unit(score), "at half", "at twice"]
    header += ["time per step", "learning rate", "seeds"]
    rows = []
    for label, row in models.items():
        flops, iterations, relative = row["flops"], row["num_iterations"], row.get("relative_time_per_step")
        memory = row.get("memory")
        cells = [
            label,
            f"{row['parameters']:,}",
            "–" if flops is None else f"{flops / 1e6:.1f}",
            "–" if memory is None else f"{memory / 1e6:.1f}",
            str(iterations or "–"),
        ]
        cells += [cell(row, score), *(others(row, score) if iterations else ("–", "–"))]
        cells += [f"{relative:.2f}" if relative is not None else "–", f"{row['learning_rate']:g}"]
        rows.append([*cells, ", ".join(map(str, sorted(row["seeds"] + row["diverged"])))])
    return aligned_table(header, rows)


def section(name: str, result: Result) -> str:
    """The table of one result, and where it comes from."""
    models = result["models"]
    notes = [f"Data: {result['data']}.", f"Chosen on: {result['chosen_on']}"]
    if rates := sorted({rate for row in models.values() for rate in row.get("chosen_out_of", [])}):
        notes.append(
            f"Learning rates: each model's best of {', '.join(f'{rate:g}' for rate in rates)}, on data held out of training."
        )
    if timing := result.get("timing"):
        turns = f"median of {timing['num_turns']} turns side by side"
        seconds = models[timing["reference"]]["seconds_per_step"]
        notes.append(f"Time per step: relative to {timing['reference']} ({seconds:.3g} s), {turns}.")
    if paper := result.get("paper"):
        figures = ", ".join(f"{label} {paper[label]}" for label in paper if label not in ("where", "setting"))
        notes.append(f"The paper: {figures} ({paper['where']}; {paper['setting']}).")
    if result.get("remark"):
        notes.append(f"What we think: {result['remark']}")
    notes += [f"[All figures](results/{name}.json)."]
    texts = [textwrap.fill(note, 130, break_long_words=False, break_on_hyphens=False) for note in notes]
    texts += givens(models)
    origins = [made_by(made) for made in result["made"]]
    return "\n\n".join([f"## {result['title']}", table(result), *texts, *origins])


def givens(models: dict[str, Any]) -> list[str]:
    """Boards that the first seed of each Sudoku solver has right by the number of given digits, if that was measured."""
    counted = {label: row["by_givens"] for label, row in models.items() if "by_givens" in row}
    if not counted:
        return []
    numbers = sorted({int(number) for found in counted.values() for number in found})
    rows = []
    for number in map(str, numbers):
        boards = next(found[number]["boards"] for found in counted.values() if number in found)
        shares = [found.get(number, {}).get("board_accuracy") for found in counted.values()]
        rows.append([number, str(boards), *("–" if share is None else f"{100 * share:.1f}" for share in shares)])
    seed = "the first seed" if any(len(row["seeds"]) > 1 for row in models.values()) else "each model"
    text = f"Boards right by the number of given digits, in per cent, of {seed} at the trained iterations:"
    return [text, aligned_table(["given digits", "boards", *counted], rows)]


def made_by(made: dict[str, Any]) -> str:
    """Command, commit, hardware and date of what a result was taken from."""
    command = made["command"] if isinstance(made["command"], str) else shlex.join(made["command"])
    hardware = made["hardware"]
    threads = f"{hardware['threads']} threads" if hardware["threads"] > 1 else "1 thread"
    processes = f", {hardware['processes']} processes" if hardware["processes"] > 1 else ""
    changed = " with changes" if made["changed"] else ""
    if others := made.get("other_commits"):
        changed += f", and runs of {', '.join(f'`{other[:10]}`' for other in others)}"
    versions = ", ".join(f"{library} {version}" for library, version in made["versions"].items())
    where = f"{hardware['device']}, {threads}{processes}, {hardware['precision']}; {versions}"
    text = textwrap.fill(f"{made['date']}, commit `{made['commit'][:10]}`{changed}, on {where}:", 130)
    return f"{text}\n\n```text\npython {command.removeprefix('python ')}\n```"
