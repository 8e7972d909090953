# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Where people run the scripts: spawned workers, odd file systems, poor consoles, 16 bits, adapters alone."""

import errno
import importlib
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import datasets
import pytest
import torch

from hyperset_lab import checkpoints
from hyperset_lab.arguments import ModelArguments, parse_arguments
from hyperset_lab.models import label_fields, load_config, load_model
from hyperset_lab.text.tokenizer import special_tokens, train_tokenizer
from hyperset_lab.text.trainer import TextCollator
from modeling_hyperset.files import write_json
from support.builders import make_config, make_inputs, make_model
from transformers import AutoModelForImageClassification


SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = '{"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2, "image_size": 8, "patch_size": 4}'
DIGITS = ["--config_name", "imagenet-small", "--dataset_name", "digits", "--config_overrides", TINY, "--do_train"]
DIGITS += ["--do_eval", "--max_train_samples", "32", "--max_eval_samples", "16", "--use_cpu", "--report_to", "none"]


def trainer_of(task: str, flags: list[str], folder: Path):
    """The trainer that the flags ask for. Nothing is trained."""
    module = importlib.import_module(f"hyperset_lab.{task}.task")
    parsed = parse_arguments(module.TASK.arguments, [*flags, "--output_dir", str(folder)], module.TASK.script)
    return module.build_trainer(*parsed)[0]


@pytest.mark.filterwarnings("ignore:'pin_memory'")
@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ("images", DIGITS),
        ("images", [*DIGITS, "--random_flip", "--random_crop", "padded"]),
        ("masked_images", [*DIGITS, "--random_flip"]),
    ],
    ids=["images", "varied images", "masked images"],
)
def test_workers_that_start_anew_get_the_data(task, flags, tmp_path):
    """`spawn` and `forkserver` send the data and the collator by pickle."""
    trainer = trainer_of(task, flags, tmp_path)
    for data in (trainer.train_dataset, trainer.eval_dataset):
        again, collate = pickle.loads(pickle.dumps((data, trainer.data_collator)))
        batch, expected = (function([rows[0]]) for function, rows in ((collate, again), (trainer.data_collator, data)))
        assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_a_batch_of_eights_ends_at_the_positions():
    tokenizer = train_tokenizer(["fine film"], 261)
    collate = pickle.loads(pickle.dumps(TextCollator(tokenizer, pad_to_multiple_of=8, longest=13)))
    for length, padded in ((3, 8), (8, 8), (9, 13), (13, 13)):
        batch = collate([{"input_ids": [9] * length}, {"input_ids": [9] * 2}])
        assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, padded)
        assert batch["attention_mask"].sum(dim=1).tolist() == [length, 2]
    assert TextCollator(tokenizer, pad_to_multiple_of=8)([{"input_ids": [9] * 9}])["input_ids"].shape == (1, 16)
    assert special_tokens(tokenizer) == {"pad_token_id": tokenizer.pad_token_id}


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_file_systems_without_fsync(code, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "chmod", refuse)
    write_json(tmp_path / "a.json", {"a": 1})
    checkpoints.seal(tmp_path)
    assert not checkpoints.defects(tmp_path, only_model=True)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_broken_or_full_disk_is_still_an_error(code, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        checkpoints.sync(tmp_path)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_with_few_characters(encoding):
    code = "import hyperset_lab; print('α → ² …')"
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(SCRIPTS)}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert finished.returncode == 0 and b"?" in finished.stdout, finished.stderr


def test_predictions_of_batches_that_are_kept_apart(tmp_path):
    trainer = trainer_of("images", [*DIGITS, "--eval_do_concat_batches", "false"], tmp_path)
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("", encoding="utf-8")
    names = ("HF_DATASETS_CACHE", "DOWNLOADED_DATASETS_PATH", "EXTRACTED_DATASETS_PATH")
    for name in names:
        monkeypatch.setattr(datasets.config, name, tmp_path / "file" / name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    texts = tmp_path / "texts.csv"
    texts.write_text("text,label\nfine film,1\ndull,0\n", encoding="utf-8")
    task = importlib.import_module("hyperset_lab.text.task").TASK
    flags = ["--config_name", "yelp-small", "--train_file", texts, "--output_dir", tmp_path / "out", "--use_cpu"]
    _, data, _ = parse_arguments(task.arguments, flags, task.script)
    options = {"cache_dir": None, "token": None}
    splits = importlib.import_module("hyperset_lab.text.data").load_texts(data, options, True, False, False)
    assert splits["train"]["text"] == ["fine film", "dull"]
    assert "cannot be written" in caplog.text and "`--cache_dir`" in caplog.text
    assert all(getattr(datasets.config, name).is_relative_to(tmp_path / f"hyperset-{os.getuid()}") for name in names)


def arguments(folder, **fields) -> ModelArguments:
    return ModelArguments(model_name_or_path=str(folder), **fields)


def test_adapters_alone_are_trained(tmp_path):
    base, images = make_model("image-classification"), make_inputs("image-classification")["pixel_values"]
    base.save_pretrained(tmp_path)
    added = arguments(tmp_path, config_overrides='{"lora_rank": 2}', train_adapters_only=True)
    config = load_config(added, **label_fields(list("abcde")))
    model = load_model(AutoModelForImageClassification, added, config)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if ".lora." in name or "classifier" in name}
    assert torch.equal(model.eval()(images).logits, base(images).logits)
    with pytest.raises(ValueError, match=r"`--train_adapters_only` needs depth-wise adapters"):
        plain = arguments(tmp_path, train_adapters_only=True)
        load_model(AutoModelForImageClassification, plain, load_config(plain, **label_fields(list("abcde"))))
    with pytest.raises(ValueError, match=r"`--train_adapters_only`.*`--model_name_or_path`"):
        ModelArguments(config_name="imagenet-small", train_adapters_only=True)


def test_every_training_script_takes_the_flag():
    for task in ("images", "text", "sudoku", "masked_images"):
        module = importlib.import_module(f"hyperset_lab.{task}.task")
        assert issubclass(module.TASK.arguments[0], ModelArguments)
    assert make_config(lora_rank=1).lora_init is None
