# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Where images come from: a path is a path, what is left out is said, and no split is ignored in silence."""

import logging
import os
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from hyperset_lab.images.data import ImageDataArguments, load_images
from hyperset_lab.images.folders import read_folder


def draw(*paths: Path) -> None:
    """A picture in each of these files."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), "red").save(path)


def load(tmp_path: Path, **flags):
    options = {"cache_dir": str(tmp_path / "cache"), "token": None}
    splits = load_images(ImageDataArguments(**flags), 0, options)
    return {
        name: sorted((Path(row["image"]["path"]).name, split.features["label"].names[row["label"]]) for row in split)
        for name, split in splits.items()
    }


CATS_AND_DOGS = [("0.png", "cat"), ("0.png", "dog"), ("1.png", "cat"), ("1.png", "dog")]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("train_dir", name) for name in ("a[1]", "what? *", "with space", "dots.in.name", "{a,b}", ".hidden")),
        *(("dataset_name", name) for name in ("a[1]", "what? *", ".hidden")),
        ("train_file", "a[1]"),
    ],
)
def test_a_path_is_a_path(kind, name, tmp_path):
    root = tmp_path / name
    for split in ("train", "val"):
        draw(*(root / split / label / f"{index}.png" for label in ("cat", "dog") for index in range(2)))
    flags = {"train_dir": f"{root}/train/", "validation_dir": f"{root}/val//"}
    if kind == "dataset_name":
        flags = {"dataset_name": f"{root}/"}
    if kind == "train_file":
        flags = {"train_file": [], "validation_file": []}
        for split, flag in (("train", "train_file"), ("val", "validation_file")):
            for part, label in enumerate(("cat", "dog")):  # a file for each class
                files = [str(root / split / label / f"{index}.png") for index in range(2)]
                features = Features({"image": ImageFeature(), "label": ClassLabel(names=["cat", "dog"])})
                data = Dataset.from_dict({"image": files, "label": [part] * 2}, features=features)
                data.to_parquet(root / f"{split}[{part}].parquet")
                flags[flag].append(str(root / f"{split}[{part}].parquet"))
    assert load(tmp_path, **flags) == {"train": CATS_AND_DOGS, "eval": CATS_AND_DOGS}


def test_links_are_followed_and_what_is_left_out_is_said(tmp_path, caplog):
    root = tmp_path / "train"
    draw(root / "cat" / "0.png", root / "cat" / "1.PNG", tmp_path / "elsewhere" / "0.jpeg", root / "loose.png")
    draw(root / ".cache" / "0.png", root / "cat" / "._0.png", root / "cat" / "indoors" / "2.png")
    (root / "cat" / "notes.txt").write_text("none")
    (root / "fox").mkdir()
    os.symlink(tmp_path / "elsewhere", root / "dog")
    os.symlink(tmp_path / "nowhere", root / "cat" / "gone.png")
    os.symlink(root, root / "cat" / "again")
    with caplog.at_level(logging.WARNING):
        data = read_folder(f"{root}/", labelled=True, flag="--train_dir")
    assert data.features["label"].names == ["cat", "dog"]
    found = [(os.path.relpath(row["image"], root), row["label"]) for row in data]
    assert found == [("cat/0.png", 0), ("cat/1.PNG", 0), ("cat/indoors/2.png", 0), ("dog/0.jpeg", 1)]
    for words in (
        "names that begin with a dot: .cache, cat/._0.png.",
        "files without the name of a picture: cat/notes.txt.",
        "links to nothing: cat/gone.png.",
        "links to a folder above them: cat/again.",
        "images that lie in no folder of a class: loose.png.",
        "folders of classes without images: fox.",
        "belong to these: cat/indoors.",
    ):
        assert words in caplog.text
    # Without labels, all of them are images.
    assert len(read_folder(root, labelled=False, flag="--train_dir")) == 5


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "must hold images, but .* has none"),
        (["notes/a.txt"], "must hold images, but .* has none"),
        (
            ["train_images/cat/0.png", "val_images/cat/0.png"],
            r"named like splits .* train_images, val_images\. Pass them as `--train_dir`",
        ),
        (["train/cat/0.png", "val/cat/0.png"], r"holds splits: train, val\. Pass one of these folders"),
        (["cat/0.png", "cat/1.png"], "of two classes or more, got cat"),
        (["0.png", "1.png"], "label_column_name.*one folder for each class"),
    ],
)
def test_folders_that_mean_something_else_are_refused(files, message, tmp_path):
    (tmp_path / "images").mkdir()
    for file in files:
        draw(tmp_path / "images" / file) if file.endswith("png") else (tmp_path / "images" / "notes").mkdir()
    with pytest.raises(ValueError, match=message):
        load(tmp_path, train_dir=str(tmp_path / "images"))


def test_metadata_beside_the_images_is_read(tmp_path):
    draw(*(tmp_path / "m[1]" / f"{index}.png" for index in range(2)))
    (tmp_path / "m[1]" / "metadata.csv").write_text("file_name,label\n0.png,cat\n1.png,dog\n")
    flags = {name: str(tmp_path / "m[1]") for name in ("train_dir", "validation_dir")}
    assert load(tmp_path, **flags) == {"train": [("0.png", "cat"), ("1.png", "dog")]} | {
        "eval": [("0.png", "cat"), ("1.png", "dog")]
    }


def test_files_are_either_parquet_or_a_folder(tmp_path):
    (tmp_path / "a.csv").write_text("image,label\n")
    with pytest.raises(ValueError, match=r"`--train_file` must be files of \.parquet, got .*a\.csv"):
        ImageDataArguments(train_file=[str(tmp_path / "a.csv")])
    with pytest.raises(ValueError, match="either `--train_file` or `--train_dir`"):
        ImageDataArguments(train_file=["a.parquet"], train_dir=str(tmp_path))
    Dataset.from_dict({"image": [0.5, 1.5], "label": [0, 1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="`--image_column_name` 'image' holds no images"):
        load(tmp_path, train_file=[str(tmp_path / "a.parquet")])
