# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Make the page of results, `docs/results.md`, from the JSON files in `docs/results`, and the tables of results in other pages of
documents. First take in the runs that are named.

    python scripts/make_results.py
    python scripts/make_results.py sudoku outputs/sudoku outputs/sudoku-transformer --title "Sudoku" --chosen_on "…"
    python scripts/make_results.py cifar10 outputs/compare_cifar10_cpu --title "CIFAR-10" --chosen_on "…"

The first word is the name of the result, then come folders: of trainings, or of a comparison. `LABEL=FOLDER` names the model of
a training. Trainings of one model with several seeds are shown as their mean. A result that is taken in again keeps what was
written by hand: title, remark, and so on. `--paper` is a JSON object such as
'{"Hyper-SET": "54.7 %", "Transformer": "49.3 %", "where": "Section 5.1", "setting": "d = 768, 24 iterations"}'.
"""

import argparse
from collections.abc import Sequence

from hyperset_lab.recipes import parse_object
from hyperset_lab.results.kept import BY_HAND, kept_results, take_in
from hyperset_lab.results.page import PAGE, page, with_tables
from modeling_hyperset.files import write_text


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("name", nargs="?", help="name of the result to take in; without it only the page is made again")
    flags.add_argument("folders", nargs="*", help="output folders of finished trainings or comparisons")
    flags.add_argument("--title", help="title of the result")
    flags.add_argument("--chosen_on", help="which data the hyper-parameters were chosen on, a sentence")
    flags.add_argument("--paper", help="the paper's figures, a JSON object")
    flags.add_argument("--beside", help="the model that ours is shown beside in the first table")
    flags.add_argument("--remark", help="what we think is the reason of the result")
    older = flags.add_argument_group("for comparisons of older versions, which did not write it down")
    for name in ("command", "commit", "date", "data", "device"):
        older.add_argument(f"--{name}")
    older.add_argument("--threads", type=int, default=1)
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parser()
    given = flags.parse_args(arguments)
    try:
        if given.name is not None:
            if not given.folders:
                raise ValueError(f"`{given.name}` needs folders of finished runs behind it.")
            by_hand = {field: getattr(given, field) for field in BY_HAND}
            if given.paper is not None:
                by_hand["paper"] = parse_object(given.paper, "paper")
            missing = {name: getattr(given, name) for name in ("command", "commit", "date", "data")} | {
                "changed": False
            }
            missing["hardware"] = given.device and {
                "device": given.device, "processes": 1, "threads": given.threads, "precision": "float32",
            }  # fmt: skip
            take_in(given.name, given.folders, by_hand, missing)
    except ValueError as error:
        flags.error(str(error))
    results = kept_results()
    texts = {PAGE: page(results)}
    for path in sorted(PAGE.parent.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        if path != PAGE and (after := with_tables(before, results)) != before:
            texts[path] = after
    for path, text in texts.items():
        write_text(path, text)
    print(f"Written: {', '.join(map(str, texts))}")


if __name__ == "__main__":
    main()
