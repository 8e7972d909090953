# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Data sets name their splits in several ways: none is ignored in silence."""

from pathlib import Path

import pytest
from datasets import Dataset
from PIL import Image

from hyperset_lab.data import known_splits
from hyperset_lab.images.data import ImageDataArguments, load_images
from hyperset_lab.masked_images.data import load_unlabelled
from hyperset_lab.sudoku.data import SudokuDataArguments, load_puzzles
from hyperset_lab.text.data import TextDataArguments, load_texts
from hyperset_lab.trainer import ScriptTrainingArguments


SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"


@pytest.mark.parametrize("word", ["validation", "val", "valid", "dev", "Val"])
def test_splits_go_by_any_of_their_names(word, caplog):
    assert known_splits({"train": 1, word: 2, "test": 3}) == {"train": 1, "validation": 2, "test": 3}
    assert "left out" not in caplog.text
    assert known_splits({"training": 1, word: 2, "extra": 4}) == {"train": 1, "validation": 2}
    assert "splits of the data set are left out: extra." in caplog.text
    with pytest.raises(ValueError, match=f"several splits for validation: {word}, DEV"):
        known_splits({"train": 1, word: 2, "DEV": 3})
    with pytest.raises(ValueError, match=r"must have a split 'train', 'validation' .*'val'.* got all"):
        known_splits({"all": 1})


def data_set(folder: Path, word: str, tables: list[dict]) -> str:
    """A local data set whose second split is called `word`."""
    folder.mkdir()
    for name, table in zip(("train", word), tables, strict=True):
        Dataset.from_dict(table).to_parquet(folder / f"{name}.parquet")
    files = "".join(f"\n  - split: {name}\n    path: {name}.parquet" for name in ("train", word))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:{files}\n---\n")
    return str(folder)


@pytest.mark.parametrize("word", ["val"])
def test_every_task_evaluates_on_it(word, tmp_path):
    options = {"cache_dir": str(tmp_path / "cache"), "token": None}
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    tables = [
        {"image": [str(tmp_path / "a.png")] * count, "text": ["a"] * count, "label": [0, 1] * (count // 2)}
        for count in (20, 2)
    ]
    name = data_set(tmp_path / "images", word, tables)
    found = {"images": load_images(ImageDataArguments(dataset_name=name), 0, options)}
    found["text"] = load_texts(TextDataArguments(dataset_name=name), options, True, True, False)
    arguments = ScriptTrainingArguments(output_dir=str(tmp_path / "out"), do_train=True, do_eval=True, use_cpu=True)
    found["masked"] = load_unlabelled(ImageDataArguments(dataset_name=name), arguments, options)
    puzzles = [SOLVED[:index] + "0" + SOLVED[index + 1 :] for index in range(22)]
    tables = [{"puzzle": part, "solution": [SOLVED] * len(part)} for part in (puzzles[:20], puzzles[20:])]
    name = data_set(tmp_path / "sudoku", word, tables)
    found["sudoku"] = load_puzzles(SudokuDataArguments(dataset_name=name), options)
    sizes = {task: {split: len(data) for split, data in splits.items()} for task, splits in found.items()}
    assert sizes == {task: {"train": 20, "eval": 2} for task in found}
