# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Make a model that comes along, `model_cards/<name>`, of a finished training; or renew the code of all of them.

    python scripts/keep_model.py outputs/digits --name hyperset-digits --result digits
    python scripts/keep_model.py --refresh

The folder is a repository for the Hub: config, weights, code, processor or tokenizer, a card with the results and where they
come from, and some samples with the answers that the model gives. The training must have been taken into a kept result before
(`scripts/make_results.py`). A folder has at most 5 MB, all together 15 MB.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from hyperset_lab.results.folders import folders_of_models, keep, refresh_code, size


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("folder", nargs="?", type=Path, help="output folder of the training")
    flags.add_argument("--name", help="name of the folder in model_cards")
    flags.add_argument("--result", help="name of the kept result that the training belongs to")
    flags.add_argument("--command", help="the command that trains this model, if a comparison trained it")
    flags.add_argument("--samples", type=int, default=8, help="samples of the evaluation to record")
    flags.add_argument("--refresh", action="store_true", help="give all folders the code of this package")
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parser()
    given = flags.parse_args(arguments)
    if given.refresh == (given.folder is not None):
        flags.error("pass the folder of a training, or `--refresh` alone.")
    try:
        if given.refresh:
            for folder in folders_of_models():
                refresh_code(folder)
                print(f"{folder} has the code of this package")
            return
        if not (given.name and given.result):
            raise ValueError("pass `--name` and `--result` with the folder of a training.")
        if given.samples < 1:
            raise ValueError(f"`--samples` must be at least 1, got {given.samples}.")
        command = given.command and shlex.split(given.command.removeprefix("python "))
        folder = keep(given.folder, given.name, given.result, command, given.samples)
    except ValueError as error:
        flags.error(str(error))
    print(f"Written: {folder}, {size(folder):,} bytes")


if __name__ == "__main__":
    main()
