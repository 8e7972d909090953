# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Sudoku puzzles for the scripts: generated, from CSV files or from the Hub; checked and split."""

import os
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, DatasetDict, load_dataset, load_dataset_builder
from datasets import config as datasets_config
from datasets.exceptions import DatasetGenerationError
from datasets.packaged_modules.csv.csv import Csv
from transformers.utils import logging

from hyperset_lab.arguments import check_least, option
from hyperset_lab.data import DataArguments, known_splits
from hyperset_lab.sudoku.files import is_puzzle_file, read_puzzle_file
from hyperset_lab.sudoku.generator import FEWEST_GENERATED, check_givens, generate_puzzles
from hyperset_lab.sudoku.puzzles import Puzzles, check_puzzles, parse_boards, without_shared
from modeling_hyperset.files import write_whole


logger = logging.get_logger(__name__)

GENERATED = "generated"
GENERATED_SAMPLES = {"train": 9000, "eval": 1000}  # the paper's numbers
GENERATED_GIVENS = (31, 42)
GENERATOR_VERSION = 2  # raise it if the same arguments give other puzzles: kept files do not match then


@dataclass
class SudokuDataArguments(DataArguments):
    """Which puzzles to train on and to evaluate."""

    SOURCES: ClassVar[dict[str, str]] = {"train": "train_file", "eval": "validation_file"}
    OWN: ClassVar[str | None] = GENERATED

    dataset_name: str | None = option(
        None, f"A data set of the Hub, a local one, or `{GENERATED}`: random puzzles with one solution."
    )
    train_file: str | None = option(
        None,
        "A CSV file of puzzles and solutions: 81 digits each, 0 or . for a blank. Or SATNet's features.pt (with labels.pt "
        "beside it).",
    )
    validation_file: str | None = option(None, "Another such file, to evaluate on.")
    puzzle_column_name: str = option("puzzle", "The column of the puzzles.")
    solution_column_name: str = option("solution", "The column of the solutions.")
    max_train_samples: int | None = option(
        None, f"Train on so many puzzles; {GENERATED_SAMPLES['train']:,} generated ones if not given."
    )
    max_eval_samples: int | None = option(
        None, f"Evaluate on so many puzzles; {GENERATED_SAMPLES['eval']:,} generated ones if not given."
    )
    min_givens: int | None = option(
        None,
        f"Generate (from {GENERATED_GIVENS[0]} if not given, at least {FEWEST_GENERATED}), or keep of a data set, puzzles "
        "with at least so many given digits.",
    )
    max_givens: int | None = option(None, f"The same for at most so many (to {GENERATED_GIVENS[1]} if not given).")
    puzzle_seed: int = option(
        0, "Seed of the generated puzzles, and of the choice by `--train_val_split` and `--max_…_samples`."
    )
    puzzle_num_workers: int | None = option(
        None,
        "Processes that generate puzzles with few digits; as many as there are cores if not given. The puzzles are the same.",
    )
    augment: bool = option(
        False,
        "Whether to change the boards at random in every epoch: digits are renamed, rows, columns, bands and stacks "
        "swapped, and boards transposed.",
    )

    def __post_init__(self):
        super().__post_init__()
        self.check_sources("a CSV file, or the folder of SATNet's features.pt and labels.pt", is_puzzle_file)
        check_least(self, 0, "puzzle_seed")
        check_least(self, 1, "puzzle_num_workers")
        low, high = self.givens
        if self.dataset_name == GENERATED:
            check_givens(low, high)
        elif not 0 <= low <= high <= 80:
            raise ValueError(f"`--min_givens` and `--max_givens` must be ordered, from 0 to 80, got {low} and {high}.")

    @property
    def givens(self) -> tuple[int, int]:
        """The range of the number of given digits, both inclusive."""
        default = GENERATED_GIVENS if self.dataset_name == GENERATED else (0, 80)
        given = (self.min_givens, self.max_givens)
        low, high = (least if own is None else own for least, own in zip(default, given, strict=True))
        return low, high

    @property
    def asked(self) -> range | None:
        """The numbers of given digits that generated puzzles are to have, each as often; nothing for other puzzles."""
        low, high = self.givens
        return range(low, high + 1) if self.dataset_name == GENERATED else None


def load_puzzles(
    arguments: SudokuDataArguments,
    hub_options: dict[str, Any],
    wanted: Collection[str] = ("train", "eval"),
    seed: int = 0,
) -> dict[str, Puzzles]:
    """
    The puzzles of the splits `train` and `eval`, of those `wanted` that exist. No puzzle is in both. With
    `--hold_out_validation`, `eval` is a part of the training puzzles that `seed` draws.

    Raises:
        `ValueError`: a column that does not exist, a row that is no puzzle with its solution, or a split without puzzles. It
            names the file and the row (from 1, without the header).
    """
    holds_out = arguments.hold_out_validation
    if arguments.dataset_name == GENERATED:
        names = ("train",) if holds_out else wanted
        splits = {name: generated(arguments, name, hub_options["cache_dir"]) for name in names}
        if not holds_out:
            return splits
    else:
        tables = read_tables(arguments, hub_options)
        if holds_out and len(tables) < 2:
            raise ValueError(
                "`--hold_out_validation` needs data with puzzles to train on and other puzzles to evaluate on, got only "
                f"{', '.join(tables)}."
            )
        if holds_out:
            del tables["eval"]
        elif "train" not in wanted and "eval" in tables:
            tables.pop("train", None)
        splits = {name: check_table(table, source, arguments) for name, (source, table) in tables.items()}
    rng = np.random.default_rng(seed if holds_out else arguments.puzzle_seed)
    if "eval" not in splits and "eval" in wanted:
        order = rng.permutation(len(splits["train"]))
        held_out = round(arguments.train_val_split * len(order))
        if not 0 < held_out < len(order):
            raise ValueError(
                f"`--train_val_split` of {arguments.train_val_split} of {len(order)} puzzles leaves none to train on, or "
                "none to evaluate on."
            )
        parts = {"train": order[held_out:], "eval": order[:held_out]}
        splits = {name: splits["train"][np.sort(rows)] for name, rows in parts.items()}
    for name, limit in arguments.limits.items():
        if name in splits and limit is not None and limit < len(splits[name]):
            splits[name] = splits[name][np.sort(rng.permutation(len(splits[name]))[:limit])]
    splits = {name: split for name, split in splits.items() if name in wanted}
    if len(splits) == 2:
        splits["train"] = without_shared(splits["train"], splits["eval"])
    return splits


def read_tables(arguments: SudokuDataArguments, hub_options: dict[str, Any]) -> dict[str, tuple[str, Dataset]]:
    """The tables for `train` and `eval` in the files or the data set, each with the name of its source."""
    if arguments.dataset_name is None:
        columns = (arguments.puzzle_column_name, arguments.solution_column_name)
        return {name: (path, read_puzzle_file(path, columns)) for name, path in arguments.sources.items()}
    data = known_splits(read_data_set(arguments, hub_options))
    tables: dict[str, tuple[str, Dataset]] = {}
    for name, sources in (("train", ["train"]), ("eval", ["validation", "test"])):
        found = [source for source in sources if source in data]
        if found:
            tables[name] = f"{arguments.dataset_name}, split {found[0]!r}", data[found[0]]
    return tables


def read_data_set(arguments: SudokuDataArguments, hub_options: dict[str, Any]) -> DatasetDict:
    """The data set that `--dataset_name` names."""
    name, columns = arguments.dataset_name, [arguments.puzzle_column_name, arguments.solution_column_name]
    options = {"cache_dir": hub_options["cache_dir"], "token": hub_options["token"]}
    try:
        if isinstance(load_dataset_builder(name, arguments.dataset_config_name, **options), Csv):
            options["converters"] = dict.fromkeys(columns, str)  # otherwise 81 digits would be read as a number
        return load_dataset(name, arguments.dataset_config_name, **options)
    except OSError as error:
        raise ValueError(
            f"`--dataset_name` must be {GENERATED!r} or a data set that can be loaded, got {name!r}: {error}"
        ) from error
    except DatasetGenerationError as error:
        raise ValueError(
            f"The data set {name!r} cannot be read with `--puzzle_column_name` {columns[0]!r} and `--solution_column_name` "
            f"{columns[1]!r}: {error.__cause__}"
        ) from error


def check_table(table: Dataset, source: str, arguments: SudokuDataArguments) -> Puzzles:
    """The puzzles of a table with the wanted number of given digits."""
    for flag in ("puzzle_column_name", "solution_column_name"):
        column = getattr(arguments, flag)
        if column not in table.column_names:
            raise ValueError(f"{source}: `--{flag}` must be one of {', '.join(table.column_names)}, got {column!r}.")
    if len(table) == 0:
        raise ValueError(f"{source} holds no puzzles.")
    data = Puzzles(
        parse_boards(table[arguments.puzzle_column_name], source, arguments.puzzle_column_name),
        parse_boards(table[arguments.solution_column_name], source, arguments.solution_column_name),
    )
    check_puzzles(data, source)
    low, high = arguments.givens
    kept = data[(data.num_givens >= low) & (data.num_givens <= high)]
    if len(kept) == 0:
        raise ValueError(
            f"{source} holds no puzzle with {low} to {high} given digits (`--min_givens`, `--max_givens`) but {data}."
        )
    if len(kept) < len(data):
        logger.warning(
            f"Left out {len(data) - len(kept)} of {len(data)} puzzles of {source}: they do not have {low} to {high} given "
            "digits (`--min_givens`, `--max_givens`)."
        )
    return kept


def available_cpus() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def generated(arguments: SudokuDataArguments, split: str, cache_dir: str | None) -> Puzzles:
    """
    Generated puzzles, kept in a file in the cache for the next run with the same arguments. Each split has random numbers of
    its own: no board to train on is one to evaluate on, whatever the other arguments are.
    """
    count, seed = arguments.limits[split] or GENERATED_SAMPLES[split], arguments.puzzle_seed
    low, high = arguments.givens
    folder = Path(cache_dir or datasets_config.HF_DATASETS_CACHE) / "generated_sudoku"
    path = folder / f"{split}-{count}-givens-{low}-{high}-seed-{seed}-v{GENERATOR_VERSION}.npz"
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as kept:
                data = Puzzles(kept["puzzles"], kept["solutions"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"The generated puzzles in {path} cannot be read ({error}): delete that file.") from error
        check_puzzles(data, str(path))
        return data
    own_seed = (seed, ("train", "eval").index(split))
    data = Puzzles(*generate_puzzles(count, low, high, own_seed, arguments.puzzle_num_workers or available_cpus()))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: np.savez_compressed(temporary, puzzles=data.puzzles, solutions=data.solutions))
    return data
