# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Texts with labels for the scripts: from the Hub, or from CSV and JSON files; classes, several labels per text, or numbers."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from datasets import ClassLabel, Dataset, Features, List, concatenate_datasets, load_dataset, load_dataset_builder
from datasets.builder import DatasetBuilder
from datasets.exceptions import DatasetGenerationError
from datasets.packaged_modules.csv.csv import Csv
from datasets.packaged_modules.json.json import Json

from hyperset_lab.arguments import check_least, option
from hyperset_lab.data import DataArguments, as_path, known_splits, limited
from hyperset_lab.text.tables import DELIMITERS, SUFFIXES, TableColumns, read_table, zero_or_one
from transformers import PreTrainedTokenizerBase


PARQUET = ".parquet"


@dataclass
class TextDataArguments(DataArguments):
    """Which texts to train on, to evaluate on and to predict the labels of."""

    SOURCES: ClassVar[dict[str, str]] = {"train": "train_file", "validation": "validation_file", "test": "test_file"}

    train_file: str | None = option(None, f"Texts to train on: {', '.join((*SUFFIXES, PARQUET))}.")
    validation_file: str | None = option(None, "Another such file, to evaluate on.")
    test_file: str | None = option(
        None, "Another, for `--do_predict`; without `--validation_file` also for evaluation."
    )
    text_column_names: str = option("text", "The column of the texts, or several with commas between, to be joined.")
    text_column_delimiter: str = option(" ", "What to join several text columns with.")
    label_column_name: str = option(
        "label", "The column of the labels, or several columns of 0 and 1 with commas between, one for each label."
    )
    label_delimiter: str | None = option(None, "What separates the labels of a text in a CSV file (JSON has lists).")
    do_regression: bool | None = option(None, "Whether labels are numbers to predict; if not given, only floats are.")
    max_seq_length: int = option(128, "Longest sequence in tokens; the rest is cut off.")
    pad_to_max_length: bool = option(False, "Whether to pad to `--max_seq_length`, not to a batch's longest text.")
    max_predict_samples: int | None = option(None, "Predict the labels of only the first so many texts.")
    preprocessing_num_workers: int | None = option(None, "Processes that tokenize.")
    overwrite_cache: bool = option(False, "Whether to tokenize again what is in the cache.")
    metric_name: str | None = option(
        None, "Measure this alone: a metric that `evaluate.load` finds, on the Hub or in a folder."
    )

    def __post_init__(self):
        super().__post_init__()
        self.check_sources(
            f"a file of {', '.join((*SUFFIXES, PARQUET))}",
            lambda path: path.is_file() and path.suffix.lower() in (*SUFFIXES, PARQUET),
        )
        check_least(self, 1, "max_predict_samples", "max_seq_length")

    @property
    def columns(self) -> TableColumns:
        """The columns of the texts and of the labels."""
        texts, labels = self.text_column_names.split(","), self.label_column_name.split(",")
        return TableColumns(tuple(texts), tuple(labels), self.label_delimiter is not None)

    def source(self, split: str) -> str:
        """What an error calls the place of a split of the data."""
        names = {"eval": ("validation", "test"), "predict": ("test",)}.get(split, (split,))
        given = [self.sources[name] for name in names if name in self.sources]
        return given[0] if given else f"{self.dataset_name}, split {split!r}"


def load_texts(
    arguments: TextDataArguments, hub_options: dict[str, Any], do_train: bool, do_eval: bool, do_predict: bool
) -> dict[str, Dataset]:
    """
    Those of the splits `train`, `eval` and `predict` that are asked for and exist, with the columns `text` (strings) and
    `label` (as it stands in the data). A data set's `validation` is `eval`, else its `test` is; `test` is `predict`.

    Raises:
        `ValueError`: data that cannot be read, a column that does not exist, a split or a text that is missing.
    """
    data = known_splits(read(arguments, hub_options))
    names = {"train": "train", "eval": "validation" if "validation" in data else "test", "predict": "test"}
    wanted = {"train": do_train, "eval": do_eval and not arguments.hold_out_validation, "predict": do_predict}
    if arguments.test_file and arguments.validation_file and not do_predict:
        raise ValueError(
            "`--test_file` beside a `--validation_file` is for `--do_predict`: pass it, or leave `--test_file` out."
        )
    if do_predict and "test" not in data:
        raise ValueError(f"`--do_predict` needs a split 'test' or a `--test_file`, got {', '.join(data)}.")
    if arguments.hold_out_validation and not ("train" in data and names["eval"] in data):
        raise ValueError(
            "`--hold_out_validation` needs data with texts to train on and other texts to evaluate on, got only "
            f"{', '.join(data)}."
        )
    splits = {split: data[name] for split, name in names.items() if wanted[split] and name in data}
    if do_eval and "eval" not in splits and "train" in data:
        splits["train"] = data["train"]  # a part of it is for evaluation
    return {split: pick_columns(names[split], texts, arguments, split == "predict") for split, texts in splits.items()}


def read(arguments: TextDataArguments, hub_options: dict[str, Any]) -> dict[str, Dataset]:
    """All splits with all their columns."""
    cache_dir = hub_options["cache_dir"]
    if arguments.dataset_name is not None:
        try:
            options: dict[str, Any] = {"cache_dir": cache_dir, "token": hub_options["token"]}
            builder = load_dataset_builder(arguments.dataset_name, arguments.dataset_config_name, **options)
            if files := local_tables(builder):
                return {split: read_tables(paths, arguments.columns, cache_dir) for split, paths in files.items()}
            if isinstance(builder, Csv):  # "007" is a text, and "NA" too
                options |= {"keep_default_na": False, "converters": dict.fromkeys(arguments.columns.texts, str)}
            data = load_dataset(arguments.dataset_name, arguments.dataset_config_name, **options)
        except (OSError, ValueError) as error:
            raise ValueError(f"`--dataset_name` {arguments.dataset_name!r} cannot be loaded: {error}") from error
        return dict(data)
    splits = {}
    for split, path in arguments.sources.items():
        try:
            if Path(path).suffix.lower() == PARQUET:
                splits[split] = load_dataset("parquet", data_files={split: as_path(path)}, cache_dir=cache_dir)[split]
            else:
                splits[split] = read_table(path, arguments.columns, cache_dir)
        except DatasetGenerationError as error:
            raise ValueError(f"`--{split}_file` {path!r} cannot be read: {error.__cause__ or error}") from error
        except ValueError as error:
            raise ValueError(f"`--{split}_file` cannot be read: {error}") from error
    return splits


def local_tables(builder: DatasetBuilder) -> dict[str, list[str]]:
    """The CSV, TSV and JSON files of a folder by split. None if they lie elsewhere, or if the folder says how to read them."""
    if not isinstance(builder, Csv | Json) or builder.info.features is not None:
        return {}
    files = {str(split): list(map(str, paths)) for split, paths in (builder.config.data_files or {}).items()}
    separator = getattr(builder.config, "sep", None)
    for path in (path for paths in files.values() for path in paths):
        suffix = Path(path).suffix.lower()
        if suffix not in SUFFIXES or not Path(path).is_file() or DELIMITERS.get(suffix, separator) != separator:
            return {}
    return files


def read_tables(paths: list[str], columns: TableColumns, cache_dir: str | None) -> Dataset:
    """Several files as one data set."""
    return concatenate_datasets([read_table(path, columns, cache_dir) for path in paths])


def pick_columns(name: str, split: Dataset, arguments: TextDataArguments, optional_label: bool) -> Dataset:
    """The texts, joined if they are in several columns, and the labels, which texts to predict for may lack."""
    if len(split) == 0:
        raise ValueError(f"The split {name!r} of the data is empty.")
    columns, source = arguments.columns, arguments.source(name)
    whole = (arguments.label_column_name,)
    labels = whole if whole[0] in split.column_names else columns.labels  # a name may have a comma in it
    for flag, wanted in (("text_column_names", columns.texts), ("label_column_name", labels)):
        for column in wanted:
            if column not in split.column_names and not (optional_label and column in labels):
                raise ValueError(
                    f"`--{flag}` must be among {', '.join(split.column_names)} (split {name!r}), got {column!r}. (A file "
                    "without a header has a whole number as the label in its first column, and then the text.)"
                )
    is_file = arguments.dataset_name is None

    def join(batch: dict[str, list], indices: list[int]) -> dict[str, list[str]]:
        texts = []
        for index, row in zip(indices, zip(*(batch[column] for column in columns.texts), strict=True), strict=True):
            if any(part is None or isinstance(part, list | dict) for part in row) or (
                is_file and not any(str(part).strip() for part in row)
            ):
                raise ValueError(
                    f"{source}, row {index + 1}: `--text_column_names` must name columns with a text in every row, got "
                    f"{', '.join(map(repr, row))}. Remove the row, or write a text there."
                )
            texts.append(arguments.text_column_delimiter.join(map(str, row)))
        return {"text": texts}

    texts = split.select_columns(list(columns.texts))
    texts = texts.map(join, batched=True, with_indices=True, remove_columns=list(columns.texts))
    if not all(column in split.column_names for column in labels):
        return texts
    chosen = split.select_columns(list(labels))
    if len(labels) == 1:
        chosen = chosen.rename_column(labels[0], "label") if labels[0] != "label" else chosen
    else:
        chosen = join_label_columns(chosen, source)
    return concatenate_datasets([texts, chosen], axis=1)


def join_label_columns(split: Dataset, source: str) -> Dataset:
    """Columns with a 0 or a 1 for each text, as a list of the columns with a 1."""
    columns = split.column_names

    def join(batch: dict[str, list], indices: list[int]) -> dict[str, list[list[int]]]:
        rows = []
        for index, row in zip(indices, zip(*(batch[column] for column in columns), strict=True), strict=True):
            hot = [zero_or_one(value) for value in row]
            if None in hot:
                wrong = [f"{row[place]!r} in {column!r}" for place, column in enumerate(columns) if hot[place] is None]
                raise ValueError(
                    f"{source}, row {index + 1}: several columns of labels (`--label_column_name`) must hold 0 or 1, got "
                    f"{', '.join(wrong)}."
                )
            rows.append([place for place, value in enumerate(hot) if value])
        return {"label": rows}

    features = Features({"label": List(ClassLabel(names=columns))})
    return split.map(join, batched=True, with_indices=True, remove_columns=columns, features=features)


def hold_out_texts(
    splits: dict[str, Dataset], arguments: TextDataArguments, seed: int, do_eval: bool
) -> dict[str, Dataset]:
    """
    If evaluation has no texts, split a part of the training texts off, with the classes in proportion if each has two texts or
    more. Then take as many of each split as are asked for, in random order.
    """
    if do_eval and "eval" not in splits and "train" in splits:
        train, column = splits["train"], None
        if len(train) < 2:
            raise ValueError(
                "There is one training text only, so no text can be held out for evaluation: pass more, or `--validation_file`."
            )
        held_out = min(max(round(len(train) * arguments.train_val_split), 1), len(train) - 1)
        if isinstance(train.features["label"], ClassLabel):
            counts = Counter(train["label"])
            smallest = min(held_out, len(train) - held_out)
            column = "label" if min(counts.values()) > 1 and smallest >= len(counts) else None
        parts = train.train_test_split(held_out, seed=seed, stratify_by_column=column)
        splits = splits | {"train": parts["train"], "eval": parts["test"]}
    splits = limited(splits, arguments, seed)
    if "predict" in splits and arguments.max_predict_samples is not None:
        splits["predict"] = splits["predict"].take(min(arguments.max_predict_samples, len(splits["predict"])))
    return splits


def tokenize(name: str, split: Dataset, tokenizer: PreTrainedTokenizerBase, arguments: TextDataArguments) -> Dataset:
    """Texts → `input_ids` (and what else the tokenizer gives), cut to `--max_seq_length` tokens."""
    padding = "max_length" if arguments.pad_to_max_length else False

    def encode(batch):
        encoded = tokenizer(batch["text"], truncation=True, max_length=arguments.max_seq_length, padding=padding)
        if not all(map(any, encoded["attention_mask"])):
            raise ValueError(f"A text of the split {name!r} is empty: it has no tokens. Remove it.")
        return encoded

    return split.map(
        encode,
        batched=True,
        remove_columns="text",
        num_proc=arguments.preprocessing_num_workers,
        load_from_cache_file=not arguments.overwrite_cache,
        desc=f"Tokenizing {name}",
    )
