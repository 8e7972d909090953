# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Text to learn a language from: files or a data set of the Hub, joined and cut into blocks of tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, concatenate_datasets, load_dataset

from hyperset_lab.arguments import check_least, option
from hyperset_lab.data import DataArguments, as_path, choose_splits
from transformers import PreTrainedTokenizerBase, TrainingArguments


# A text file is one document. Tables have a document in each row.
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".txt": ("text", {"sample_by": "document"}),
    ".csv": ("csv", {"keep_default_na": False}),
    ".tsv": ("csv", {"sep": "\t", "keep_default_na": False}),
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
    ".parquet": ("parquet", {}),
}
PIECE = 2**20  # characters to tokenize at a time, up to the next end of a line


@dataclass
class LanguageDataArguments(DataArguments):
    """Which text to learn from and to evaluate on, and how it is cut."""

    SOURCES: ClassVar[dict[str, str]] = {"train": "train_file", "validation": "validation_file"}

    train_file: str | None = option(None, f"Text to train on: {', '.join(READERS)}.")
    validation_file: str | None = option(None, "Another such file, to evaluate on.")
    text_column_name: str = option("text", "The column of the text, in data with columns.")
    block_size: int | None = option(
        None, "Tokens in a block; if not given, as many as the model has positions, and at most 1024."
    )
    random_windows: bool = option(
        False,
        "Train on blocks that begin anywhere in the text, drawn again in every epoch, as nanoGPT does. By default the "
        "text is cut into the same blocks in every epoch.",
    )
    train_val_split: float = option(
        0.1, "Share of the training text to evaluate on, if there is no split for it: the end of the text."
    )
    hold_out_validation: bool = option(
        False,
        "Evaluate on `train_val_split` of the training text and train on the rest, also if there is a split to evaluate "
        "on. With seed 0 it is the end of the text, with seed 1 the part before, and so on.",
    )
    streaming: bool = option(
        False, "Whether to read the text while training, instead of downloading all first. Needs `--max_steps`."
    )
    shuffle_buffer_size: int = option(10_000, "`--streaming` draws the next block from so many.")
    preprocessing_num_workers: int | None = option(None, "Processes that tokenize.")

    def __post_init__(self):
        super().__post_init__()
        self.check_sources(
            f"a file of {', '.join(READERS)}", lambda path: path.is_file() and path.suffix.lower() in READERS
        )
        check_least(self, 1, "shuffle_buffer_size", "preprocessing_num_workers")
        check_least(self, 2, "block_size")
        for flag in ("random_windows", "hold_out_validation"):
            if self.streaming and getattr(self, flag):
                raise ValueError(f"`--{flag}` needs the whole text: leave it or `--streaming` out.")

    @property
    def is_one_document(self) -> bool:
        """Whether the text comes from text files: then no end-of-text token is put into it."""
        return self.dataset_name is None and all(path.lower().endswith(".txt") for path in self.sources.values())


def load_texts(
    arguments: LanguageDataArguments, training_arguments: TrainingArguments, hub_options: dict[str, Any]
) -> dict[str, Any]:
    """
    The splits `train` and `eval` (whichever exist), each with the column `text` alone. Without `eval`, or with
    `hold_out_validation`, [`hold_out`] makes it of `train`.

    Raises:
        `ValueError`: data that cannot be read, or no such column.
    """
    if arguments.streaming and training_arguments.do_train and training_arguments.max_steps < 1:
        raise ValueError("`--streaming` needs `--max_steps`: the length of the text is not known before it is read.")
    splits = choose_splits(read(arguments, hub_options), arguments.hold_out_validation)
    for name, split in splits.items():
        splits[name] = pick_column(name, split, arguments)
    if arguments.streaming and training_arguments.do_eval and "eval" not in splits:
        raise ValueError("`--streaming` needs a split to evaluate on: pass one, or leave `--do_eval` out.")
    return splits


def hold_out(
    splits: dict[str, Any], arguments: LanguageDataArguments, training_arguments: TrainingArguments
) -> dict[str, Any]:
    """Take the text to evaluate on out of the training text, where there is no other."""
    if not training_arguments.do_eval or "eval" in splits:
        return splits
    part = training_arguments.seed if arguments.hold_out_validation else 0
    return hold_out_text(splits["train"], arguments.train_val_split, part)


def read(arguments: LanguageDataArguments, hub_options: dict[str, Any]) -> dict[str, Any]:
    """All splits with all their columns."""
    options = {"cache_dir": hub_options["cache_dir"], "streaming": arguments.streaming}
    if arguments.dataset_name is not None:
        name, config = arguments.dataset_name, arguments.dataset_config_name
        try:
            return dict(load_dataset(name, config, token=hub_options["token"], **options))
        except (OSError, ValueError) as error:
            raise ValueError(f"`--dataset_name` {name!r} cannot be loaded: {error}") from error
    splits = {}
    for split, path in arguments.sources.items():
        reader, own = READERS[Path(path).suffix.lower()]
        try:
            splits[split] = load_dataset(reader, data_files={split: as_path(path)}, **options, **own)[split]
        except Exception as error:  # readers raise errors of their own libraries
            raise ValueError(
                f"`--{split}_file` {path!r} is empty or cannot be read: {error.__cause__ or error}"
            ) from error
    return splits


def pick_column(name: str, split: Any, arguments: LanguageDataArguments) -> Any:
    """The split with the column `text` alone."""
    first, column = next(iter(split), None), arguments.text_column_name
    if first is None:
        raise ValueError(f"The split {name!r} of the data is empty.")
    if column not in first or not isinstance(first[column], str):
        raise ValueError(
            f"`--text_column_name` must be a column of text among {', '.join(first)} (split {name!r}), got {column!r}."
        )
    split = split.select_columns([column])
    return split if column == "text" else split.rename_column(column, "text")


def hold_out_text(train: Dataset, share: float, part: int) -> dict[str, Dataset]:
    """
    Take a `share` out of the training text: its end (`part` 0), the part before that (1), and so on, round and round. It is
    a share of the characters of a single document, or else of the documents.
    """
    is_single = len(train) == 1
    text = train[0]["text"] if is_single else ""
    length = len(text) if is_single else len(train)
    held_out = length - int(length * (1 - share))
    if length < 2 or held_out >= length:
        raise ValueError(
            f"`--train_val_split` {share} of the training text leaves nothing to train on, because there are only {length} "
            f"{'characters' if is_single else 'documents'}: pass more, or `--validation_file`."
        )
    end = length - part % (length // held_out) * held_out
    start = end - held_out
    if is_single:
        rest = [piece for piece in (text[:start], text[end:]) if piece]
        return {"train": Dataset.from_dict({"text": rest}), "eval": Dataset.from_dict({"text": [text[start:end]]})}
    around = [train.select(part) for part in (range(start), range(end, length)) if part]
    return {"train": concatenate_datasets(around), "eval": train.select(range(start, end))}


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> Iterator[np.ndarray]:
    """The tokens of a text without special ones, piece by piece: tokenizers need much memory for a long text."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + PIECE) + 1 or len(text)
        encoded = tokenizer(text[start:end], add_special_tokens=False, return_attention_mask=False, verbose=False)
        yield np.asarray(encoded["input_ids"], dtype=np.int64)
        start = end


def cut_into_blocks(
    name: str, split: Any, tokenizer: PreTrainedTokenizerBase, block_size: int, arguments: LanguageDataArguments
) -> Any:
    """
    Texts → `input_ids` of `block_size` tokens each. The documents are joined, with the tokenizer's end-of-text token after
    each one. Of every 1,000 documents, the tokens of the last block that is not full are left out.
    """
    ends = [] if arguments.is_one_document or tokenizer.eos_token_id is None else [tokenizer.eos_token_id]

    def cut(batch: dict[str, list]) -> dict[str, np.ndarray]:
        pieces = [
            piece for text in batch["text"] for piece in (*token_ids(tokenizer, text or ""), np.array(ends, int))
        ]
        joined = np.concatenate(pieces)
        whole = len(joined) // block_size * block_size
        return {"input_ids": joined[:whole].reshape(-1, block_size)}

    options: dict[str, Any] = {"batched": True, "remove_columns": ["text"]}
    if arguments.streaming:
        return split.map(cut, **options)
    blocks = split.map(cut, num_proc=arguments.preprocessing_num_workers, desc=f"Tokenizing {name}", **options)
    if len(blocks) == 0:
        raise ValueError(
            f"The text of the split {name!r} is shorter than one block of {block_size} tokens: pass more text, or a smaller "
            "`--block_size`."
        )
    limit = arguments.limits[name]
    blocks = blocks if limit is None else blocks.select(range(min(limit, len(blocks))))
    return blocks.with_format("numpy")
