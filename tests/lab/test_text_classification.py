# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The text classification script, as a user calls it: on files, on a data set, from scratch, from a checkpoint."""

import csv
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from modeling_hyperset import HyperSETForMaskedLM
from support.builders import threads
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertTokenizer, pipeline


ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "scripts" / "recipes"
REVIEWS = Path(os.environ.get("HYPERSET_REVIEWS", ROOT.parent / "shared" / "data" / "reviews"))
TINY = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_iterations": 2,
    "pooling": "mean",
    "position_embedding_type": "learned",
    "initializer_range": 0.2,
}
GOOD, BAD = ("fine", "lovely", "superb", "moving"), ("dull", "awful", "clumsy", "None")


@pytest.fixture(scope="module")
def scripts():
    """The script's modules, to call in this process."""
    names = (
        "hyperset_lab.text.task",
        "hyperset_lab.text.data",
        "hyperset_lab.text.labels",
        "hyperset_lab.text.tokenizer",
        "hyperset_lab.text.trainer",
        "hyperset_lab.arguments",
        "hyperset_lab.models",
        "hyperset_lab.trainer",
    )
    yield {name: importlib.import_module(name) for name in names}


def reviews(count: int, seed: int) -> list[dict]:
    """Texts whose label one word tells, among others that do not, of several lengths."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        good = index % 2
        words = ["the", "film", "was", *rng.choice(["long", "new", "about", "me"], rng.integers(0, 6))]
        words.insert(rng.integers(0, len(words)), str(rng.choice(GOOD if good else BAD)))
        rows.append({"text": " ".join(words), "label": "good" if good else "bad"})
    return rows


def write_rows(path: Path, rows: list[dict]) -> str:
    """Write a CSV, JSON or JSON lines file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        elif path.suffix == ".json":
            json.dump(rows, file)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return str(path)


def flags_of(options: dict) -> list[str]:
    """Keyword arguments as flags."""
    flags = []
    for name, value in options.items():
        value = json.dumps(value) if isinstance(value, dict) else value
        flags += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return flags


@pytest.fixture(scope="module")
def run(scripts, tmp_path_factory):
    """Run the script's `main` in a folder; returns the folder."""
    cache = tmp_path_factory.mktemp("cache")

    def call(output_dir: Path, **options) -> Path:
        defaults = {
            "cache_dir": cache,
            "max_seq_length": 32,
            "per_device_train_batch_size": 16,
            "learning_rate": 0.02,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "num_train_epochs": 1,
        }
        if "model_name_or_path" not in options:
            defaults |= {"config_name": "yelp-small", "config_overrides": TINY}
            if "tokenizer_name" not in options:
                defaults["train_tokenizer"] = 320
        merged = defaults | {"output_dir": output_dir} | options
        scripts["hyperset_lab.text.task"].main(flags_of({k: v for k, v in merged.items() if v is not None}))
        return Path(output_dir)

    return call


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    sizes = {"train": 320, "validation": 60, "test": 40}
    return {f"{name}_file": write_rows(folder / f"{name}.csv", reviews(n, n)) for name, n in sizes.items()}


@pytest.fixture(scope="module")
def trained(run, files, tmp_path_factory) -> Path:
    """A tiny model that has learned which words are good, with predictions for the test texts."""
    folder = tmp_path_factory.mktemp("trained")
    return run(folder, **files, do_train=True, do_eval=True, do_predict=True, num_train_epochs=6)


def results(folder: Path, split: str = "eval") -> dict:
    return json.loads((folder / f"{split}_results.json").read_text())


def test_it_learns_and_saves_everything(trained, files):
    metrics = results(trained)
    assert metrics["eval_accuracy"] >= 0.95 and metrics["eval_f1_macro"] >= 0.95
    assert metrics["eval_4_iterations_accuracy"] >= 0.5  # twice the trained depth, beside it
    config = json.loads((trained / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"} and config["problem_type"] == "single_label_classification"
    assert config["vocab_size"] == len(AutoTokenizer.from_pretrained(trained)) <= 320
    card = (trained / "README.md").read_text()
    assert "text-classification" in card and f"| {metrics['eval_accuracy']:.4f} |" in card
    lines = (trained / "predict_results.txt").read_text().splitlines()
    expected = [row["label"] for row in csv.DictReader(Path(files["test_file"]).open())]
    predicted = [line.split("\t")[1] for line in lines[1:]]
    assert lines[0] == "index\tprediction" and len(predicted) == len(expected) == 40
    hits = np.mean([a == b for a, b in zip(predicted, expected, strict=True)])
    assert results(trained, "predict")["predict_accuracy"] == pytest.approx(hits) and hits >= 0.9
    assert not list(trained.glob(".*"))  # nothing half-written


def test_the_saved_folder_is_a_pipeline(trained):
    """Model and tokenizer by the Auto classes, on one text, on a batch of several lengths, and on one that is too long."""
    classify = pipeline("text-classification", str(trained))
    texts = ["the film was superb", "the film about me was very very awful", "Awful." + " and so on" * 100]
    together = classify(texts, batch_size=3, truncation=True)
    assert [result["label"] for result in together[:2]] == ["good", "bad"]
    for result, text in zip(together, texts, strict=True):
        assert classify(text, truncation=True)[0]["score"] == pytest.approx(result["score"], abs=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(trained)
    assert tokenizer.model_max_length == 128  # the preset's positions
    assert tokenizer.decode(tokenizer("A Good FILM, 映画?").input_ids, skip_special_tokens=True).strip() == (
        "a good film, 映画?"
    )
    assert tokenizer.unk_token_id not in tokenizer("ǁ 🤗 ß").input_ids


def test_evaluation_alone_repeats_the_training_runs(run, trained, files, tmp_path):
    """Rows in another order, classes in the checkpoint's; more depths on request."""
    rows = list(csv.DictReader(Path(files["validation_file"]).open()))
    path = write_rows(tmp_path / "v.jsonl", sorted(rows, key=lambda row: row["label"], reverse=True))
    options = {"validation_file": path, "do_eval": True, "eval_num_iterations": [2, 3]}
    metrics = results(run(tmp_path, model_name_or_path=trained, **options))
    assert metrics["eval_loss"] == pytest.approx(results(trained)["eval_loss"], abs=1e-5)
    assert metrics["eval_accuracy"] == results(trained)["eval_accuracy"]
    assert "eval_3_iterations_loss" in metrics and "eval_4_iterations_loss" not in metrics


def test_prediction_alone_needs_no_labels(run, trained, files, tmp_path):
    rows = [{"text": row["text"]} for row in csv.DictReader(Path(files["test_file"]).open())]
    for name, column in (("t.json", {}), ("t.csv", {"label": ""}), ("t.jsonl", {"label": None})):
        path = write_rows(tmp_path / name, [row | column for row in rows])
        out = tmp_path / f"out-{name}"
        run(out, model_name_or_path=trained, test_file=path, do_predict=True, max_predict_samples=10)
        lines = (out / "predict_results.txt").read_text().splitlines()
        assert lines == (trained / "predict_results.txt").read_text().splitlines()[:11]
        assert "predict_accuracy" not in results(out, "predict")


def test_fine_tuning(run, trained, files, tmp_path):
    """With the checkpoint's classes in its order; with others only if a new head is asked for, on the same body."""
    rows = reviews(32, 5)
    options = {"model_name_or_path": trained, "do_train": True, "learning_rate": 0.0, "max_steps": 1}
    path = write_rows(tmp_path / "same.csv", rows)
    run(tmp_path / "same", train_file=path, **options)
    body = {}
    for folder in (trained, tmp_path / "same"):
        body[folder] = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, body[trained][name]) for name, value in body[tmp_path / "same"].items())

    path = write_rows(tmp_path / "three.csv", [row | {"label": 10 - index % 3} for index, row in enumerate(rows)])
    with pytest.raises(
        ValueError, match=r"checkpoint has 2 classes.*data have 3.*does not know 8, 9, 10.*ignore_mismatched_sizes"
    ):
        run(tmp_path / "three", train_file=path, **options)
    assert not (tmp_path / "three").exists()
    run(tmp_path / "three", train_file=path, ignore_mismatched_sizes=True, **options)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "three")
    assert model.config.id2label == {0: "8", 1: "9", 2: "10"} and model.classifier.out_features == 3
    for name, value in model.hyperset.state_dict().items():
        assert torch.equal(value, body[trained]["hyperset." + name]), name
    assert "fine-tuned version of" in (tmp_path / "three" / "README.md").read_text()


def test_fine_tuning_of_a_body_without_a_head(run, trained, tmp_path):
    """What masked language modelling trained has no labels: any number of them will do."""
    config = AutoConfig.from_pretrained(trained)
    body = HyperSETForMaskedLM(type(config).from_dict(config.to_dict() | {"num_labels": 2}))
    body.save_pretrained(tmp_path / "body")
    AutoTokenizer.from_pretrained(trained).save_pretrained(tmp_path / "body")
    rows = [row | {"label": index % 3} for index, row in enumerate(reviews(32, 5))]
    options = {"train_file": write_rows(tmp_path / "t.csv", rows), "do_train": True, "learning_rate": 0.0}
    folder = run(tmp_path / "out", model_name_or_path=tmp_path / "body", **options)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.num_labels == 3
    assert all(torch.equal(v, body.hyperset.state_dict()[k]) for k, v in model.hyperset.state_dict().items())


def test_regression(run, tmp_path):
    """Floats are numbers to predict; whole numbers are if asked."""
    rows = [{"review": row["text"], "stars": float(row["label"] == "good") + 0.5} for row in reviews(256, 1)]
    columns = {"text_column_names": "review", "label_column_name": "stars"}
    options = columns | {"do_train": True, "do_eval": True, "do_predict": True, "num_train_epochs": 6}
    path = write_rows(tmp_path / "r.csv", rows)
    folder = run(tmp_path / "out", train_file=path, test_file=path, max_predict_samples=5, **options)
    metrics = results(folder)
    assert metrics["eval_mse"] < 0.05 and metrics["eval_pearsonr"] > 0.9 and metrics["eval_spearmanr"] > 0.8
    assert metrics["eval_mse"] == pytest.approx(metrics["eval_loss"], rel=1e-3)
    predictions = [
        float(line.split("\t")[1]) for line in (folder / "predict_results.txt").read_text().splitlines()[1:]
    ]
    assert predictions == pytest.approx([row["stars"] for row in rows[:5]], abs=0.5)
    config = json.loads((folder / "config.json").read_text())
    assert config["problem_type"] == "regression" and len(config["id2label"]) == 1

    rows = [row | {"stars": index % 3} for index, row in enumerate(rows[:32])]
    path = write_rows(tmp_path / "i.jsonl", rows)
    options |= {"do_predict": None, "num_train_epochs": 1, "do_regression": True}
    assert "eval_mse" in results(run(tmp_path / "whole", train_file=path, **options))


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_several_labels(run, tmp_path, suffix):
    """Lists of labels in JSON, labels with a delimiter between in CSV; a text may have none."""
    rows = []
    for row in reviews(256, 2):
        labels = ([row["label"]] if row["label"] == "good" else []) + ["long"] * ("long" in row["text"])
        rows.append({"text": row["text"], "label": labels if suffix == ".json" else " | ".join(labels)})
    path = write_rows(tmp_path / f"m{suffix}", rows)
    options = {"label_delimiter": "|"} if suffix == ".csv" else {}
    options |= {"train_file": path, "validation_file": path, "test_file": path, "num_train_epochs": 5}
    folder = run(tmp_path / "out", do_train=True, do_eval=True, do_predict=True, **options)
    metrics = results(folder)
    assert metrics["eval_f1"] > 0.9 and metrics["eval_f1_macro"] > 0.9 and metrics["eval_accuracy"] > 0.8
    config = json.loads((folder / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification" and list(config["label2id"]) == ["good", "long"]
    lines = (folder / "predict_results.txt").read_text().splitlines()[1:]
    assert {line.split("\t")[1] for line in lines} >= {"[]", "['good']", "['good', 'long']"}


def test_a_baseline_a_data_set_and_a_tokenizer_of_their_own(run, files, tmp_path):
    """`--layer_type`, `--dataset_name` and `--tokenizer_name`, with BERT's class of tokenizer, which gives token types."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / f"{name}.csv").write_text(Path(files[f"{name}_file"]).read_text())
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", *GOOD, *BAD]
    BertTokenizer(vocab={word.lower(): i for i, word in enumerate(words)} | {w: i for i, w in enumerate(words[:5])})
    vocabulary = words[:5] + [word.lower() for word in words[5:]]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(vocabulary)})
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    options = {"dataset_name": folder, "tokenizer_name": tmp_path / "tokenizer", "layer_type": "transformer"}
    out = run(tmp_path / "out", do_train=True, do_eval=True, num_train_epochs=4, **options)
    config = json.loads((out / "config.json").read_text())
    assert config["layer_type"] == "transformer" and config["vocab_size"] == len(vocabulary)
    assert results(out)["eval_accuracy"] >= 0.95
    assert pipeline("text-classification", str(out))("the film was superb")[0]["label"] == "good"


def test_texts_are_padded_in_their_batch(scripts, trained, files, tmp_path):
    data, tokenizer = scripts["hyperset_lab.text.data"], AutoTokenizer.from_pretrained(trained)
    hub_options = {"cache_dir": str(tmp_path), "token": None}
    for pad in (False, True):
        arguments = data.TextDataArguments(
            validation_file=files["validation_file"], max_seq_length=9, pad_to_max_length=pad
        )
        texts = data.load_texts(arguments, hub_options, do_train=False, do_eval=True, do_predict=False)["eval"]
        lengths = {len(row) for row in data.tokenize("eval", texts, tokenizer, arguments)["input_ids"]}
        assert lengths == {9} if pad else (len(lengths) > 2 and max(lengths) == 9)
    assert "the film was None" not in texts["text"] and any("None" in text for text in texts["text"])
    assert all(isinstance(text, str) for text in texts["text"])  # "None" is a word, not a missing text


def test_trained_tokenizers_are_the_same(scripts):
    """In every run, so that a recipe and its seed say which numbers come out."""
    texts = [row["text"] for row in reviews(200, 3)]
    first, second = (scripts["hyperset_lab.text.tokenizer"].train_tokenizer(texts, 300) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str() and len(first) == 300
    ids = first("Superb film")
    assert list(ids) == ["input_ids", "attention_mask"]
    assert (ids["input_ids"][0], ids["input_ids"][-1]) == (first.cls_token_id, first.sep_token_id)


def mistakes(files: dict[str, str]) -> list[tuple[dict, str]]:
    """Options, and what the error says. Those with `None` are left out."""
    return [
        ({"text_column_names": "review"}, r"text_column_names.*text, label.*'train'.*'review'"),
        ({"label_column_name": "stars"}, r"label_column_name.*text, label.*'stars'"),
        ({"train_file": "nowhere.csv"}, r"train_file.*'nowhere.csv'"),
        ({"validation_file": str(RECIPES / "yelp.yaml")}, r"validation_file.*\.csv"),
        ({"train_file": None, "validation_file": None}, "dataset_name"),
        ({"dataset_name": "digits"}, "dataset_name"),
        ({"dataset_name": "no/such-set", "train_file": None, "validation_file": None}, r"dataset_name.*no/such-set"),
        ({"train_tokenizer": None}, r"no tokenizer.*tokenizer_name.*train_tokenizer"),
        ({"train_tokenizer": 100}, r"train_tokenizer.*at least"),
        ({"tokenizer_name": "somewhere", "train_tokenizer": 500}, "train_tokenizer"),
        ({"tokenizer_name": "no/such-tokenizer"}, "no/such-tokenizer"),
        ({"do_train": None, "train_file": None}, r"train_tokenizer.*do_train"),
        ({"max_seq_length": 200}, r"max_seq_length.*128.*200"),
        ({"max_seq_length": 0}, "max_seq_length"),
        ({"train_val_split": 1.5}, "train_val_split"),
        ({"max_train_samples": 0}, "max_train_samples"),
        ({"do_regression": True}, r"do_regression.*'bad'"),
        ({"do_regression": True, "label_delimiter": "|"}, "do_regression"),
        ({"test_file": files["test_file"]}, r"test_file.*do_predict"),
        ({"do_predict": True}, r"do_predict.*test_file"),
        ({"do_train": None, "do_eval": None}, "Nothing to do"),
        ({"metric_name": "no-such-metric"}, r"metric_name.*no-such-metric"),
        ({"config_overrides": {"vocab_size": 10}}, "vocab_size"),
        ({"config_name": "no-such-preset", "tokenizer_name": None}, "no-such-preset"),
        ({"resume_from_checkpoint": True}, "resume_from_checkpoint"),
        ({"dataset_config_name": "plain"}, "dataset_config_name"),
        ({"label_delimiter": "|", "label_smoothing_factor": 0.1}, r"label_smoothing_factor.*multi_label.*0\.1"),
    ]


def test_mistakes_stop_before_training(run, files, tmp_path):
    defaults = {name: files[name] for name in ("train_file", "validation_file")} | {"do_train": True, "do_eval": True}
    for options, message in mistakes(files):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            run(tmp_path / "out", **(defaults | options))
        assert not (tmp_path / "out" / "model.safetensors").exists(), options


def test_bad_files_stop_before_training(run, files, tmp_path):
    good = reviews(8, 0)
    cases = {
        "empty.csv": ("text,label\n", "validation_file.*empty"),
        "nothing.csv": ("", "validation_file.*cannot be read"),
        "broken.json": ('[{"text": ', "validation_file.*cannot be read"),
        "unknown.jsonl": ('{"text": "a", "label": "so-so"}\n', "'eval'.*so-so.*bad, good"),
        "unlabelled.csv": ("text,label\na,\nb,good\n", "1 of the 2 texts.*'eval'.*no label"),
        "no_text.jsonl": ('{"text": null, "label": "good"}\n', "a text in every row"),
        "nested.jsonl": ('{"text": ["a"], "label": "good"}\n', "a text in every row"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=f"(?s){message}"):
            options = {"train_file": files["train_file"], "validation_file": tmp_path / name}
            run(tmp_path / "out", do_train=True, do_eval=True, **options)
    for name, labels, message in (
        ("one.jsonl", ["good"] * 8, "at least two classes"),
        ("nan.jsonl", [1.0, None] * 4, "4 of the 8 texts"),
        ("several.jsonl", [[1.0, 0.5]] * 8, r"label_column_name.*lists of float64"),
    ):
        rows = [row | {"label": label} for row, label in zip(good, labels, strict=True)]
        with pytest.raises(ValueError, match=message):
            run(tmp_path / "out", do_train=True, train_file=write_rows(tmp_path / name, rows))
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_does_not_fit(run, trained, files, tmp_path):
    options = {"model_name_or_path": trained, "do_eval": True}
    path = write_rows(tmp_path / "v.jsonl", [{"text": "a", "label": "so-so"}, {"text": "b", "label": "good"}])
    with pytest.raises(ValueError, match="so-so"):
        run(tmp_path / "out", validation_file=path, **options)
    path = write_rows(tmp_path / "m.jsonl", [{"text": "a", "label": ["good", "bad"]}])
    with pytest.raises(ValueError, match=r"single_label_classification.*multi_label_classification"):
        run(tmp_path / "out", validation_file=path, **options)
    path = write_rows(tmp_path / "r.jsonl", [{"text": "a", "label": 0.5}])
    with pytest.raises(ValueError, match=r"single_label_classification.*regression"):
        run(tmp_path / "out", validation_file=path, **options)
    vocabulary = {f"[{name}]": index for index, name in enumerate(("PAD", "UNK", "CLS", "SEP", "MASK"))}
    BertTokenizer(vocab=vocabulary | {f"w{i}": 5 + i for i in range(400)}).save_pretrained(tmp_path / "big")
    with pytest.raises(ValueError, match=r"405 tokens.*vocab_size"):
        run(tmp_path / "out", validation_file=files["validation_file"], tokenizer_name=tmp_path / "big", **options)
    BertTokenizer(vocab=vocabulary | {"a": 5}, cls_token="a").save_pretrained(tmp_path / "small")
    with pytest.raises(ValueError, match="train_tokenizer"):
        run(tmp_path / "out", validation_file=files["validation_file"], train_tokenizer=300, **options)


LABELS = st.one_of(
    st.lists(st.integers(-20, 20), min_size=2, max_size=20),
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=3), min_size=2, max_size=20),
    st.lists(st.booleans(), min_size=2, max_size=20),
)


@settings(max_examples=30, deadline=None)
@given(LABELS.filter(lambda labels: len(set(labels)) > 1))
def test_classes_are_the_labels_in_order(scripts, labels):
    data = scripts["hyperset_lab.text.data"]
    split = data.Dataset.from_dict({"text": ["a"] * len(labels), "label": labels})
    encode_labels = scripts["hyperset_lab.text.labels"].encode_labels
    encoded, space = encode_labels({"train": split}, data.TextDataArguments(dataset_name="x"))
    assert [space.names[index] for index in encoded["train"]["label"]] == [str(label) for label in labels]
    whole = all(isinstance(label, int) and not isinstance(label, bool) for label in labels)
    assert not whole or list(space.names) == [str(label) for label in sorted(set(labels))]
    assert space.config_fields["label2id"] == {name: index for index, name in enumerate(space.names)}


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 20), st.integers(2, 4), st.floats(0.05, 0.95))
def test_held_out_texts_are_no_training_texts(scripts, per_class, classes, share):
    data = scripts["hyperset_lab.text.data"]
    count = per_class * classes
    split = data.Dataset.from_dict(
        {"text": list(map(str, range(count))), "label": [i % classes for i in range(count)]}
    )
    arguments = data.TextDataArguments(dataset_name="x", train_val_split=share)
    encoded, _ = scripts["hyperset_lab.text.labels"].encode_labels({"train": split}, arguments)
    parts = data.hold_out_texts(encoded, arguments, seed=0, do_eval=True)
    assert sorted(map(int, [*parts["train"]["text"], *parts["eval"]["text"]])) == list(range(count))
    assert len(parts["eval"]) == pytest.approx(count * share, abs=1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 8))
def test_groups_by_length(scripts, lengths, batch_size):
    """Every text once, the longest in the first whole batch, in an order of their own in every epoch."""
    texts = Dataset.from_dict({"input_ids": [[index] * length for index, length in enumerate(lengths)]})
    groups = scripts["hyperset_lab.text.trainer"].LengthGroups(texts, batch_size, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        torch.rand(epoch)  # the global random numbers do not matter
        groups.set_epoch(epoch)
        orders.append([groups[place]["input_ids"][0] for place in range(len(groups))])
    assert orders[0] == orders[2] and sorted(orders[0]) == list(range(len(lengths)))
    assert len(lengths) < 20 or batch_size > 1 or orders[0] != orders[1]
    if len(lengths) >= batch_size:
        assert max(lengths) in [lengths[index] for index in orders[0][:batch_size]]


@pytest.mark.parametrize("step", [5, 10])
def test_a_resumed_run_ends_with_the_same_weights(run, files, tmp_path, step):
    """With batches by length and dropout, from within an epoch of 8 steps and within the next."""
    overrides = {"config_overrides": TINY | {"embedding_dropout": 0.3}, "train_file": files["train_file"]}
    options = overrides | {"do_train": True, "max_steps": 18, "per_device_train_batch_size": 40}
    options |= {"train_sampling_strategy": "group_by_length", "save_strategy": "steps", "save_steps": 5}
    whole = run(tmp_path / "whole", **options)
    folder = tmp_path / "resumed"
    shutil.copytree(whole / f"checkpoint-{step}", folder / f"checkpoint-{step}")
    run(folder, resume_from_checkpoint=True, **options)
    weights = [load_file(path / "model.safetensors") for path in (whole, folder)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def curve(folder: Path) -> list[float]:
    """The loss that was logged at each step."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


BATCHES = {"train_sampling_strategy": "group_by_length", "num_train_epochs": 2, "logging_steps": 1, "do_train": True}


def test_accumulated_gradients_give_the_curve_of_one_batch(run, files, tmp_path):
    options = BATCHES | {"train_file": files["train_file"]}
    whole = run(tmp_path / "whole", per_device_train_batch_size=40, **options)
    parts = run(tmp_path / "parts", per_device_train_batch_size=10, gradient_accumulation_steps=4, **options)
    assert len(curve(whole)) == 16 and curve(parts) == pytest.approx(curve(whole), rel=1e-3)


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one(run, files, tmp_path):
    """With dropout off; each process reads texts of its own, of similar lengths."""
    options = BATCHES | {"train_file": files["train_file"], "do_eval": True, "validation_file": files["test_file"]}
    one = run(tmp_path / "one", per_device_train_batch_size=40, **options)
    options |= {"config_name": "yelp-small", "config_overrides": TINY, "train_tokenizer": 320, "max_seq_length": 32}
    options |= {"learning_rate": 0.02, "save_strategy": "no", "report_to": "none", "use_cpu": True}
    options |= {"per_device_train_batch_size": 20, "ddp_backend": "gloo", "output_dir": tmp_path / "two"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    script = ROOT / "scripts" / "run_text_classification.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command += [str(script), *flags_of(options)]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert finished.returncode == 0, finished.stderr
    assert curve(tmp_path / "two") == pytest.approx(curve(one), rel=1e-3)
    assert results(tmp_path / "two")["eval_loss"] == pytest.approx(results(one)["eval_loss"], rel=1e-2)


def test_predictions_are_in_the_order_of_the_data(run, trained, files, tmp_path):
    options = {"test_file": files["test_file"], "do_predict": True, "train_sampling_strategy": "group_by_length"}
    run(tmp_path, model_name_or_path=trained, per_device_eval_batch_size=4, **options)
    predictions = (tmp_path / "predict_results.txt").read_text()
    assert predictions == (trained / "predict_results.txt").read_text()


def test_the_papers_recipe(scripts):
    """Every value that Appendix G.2 and Table 9 give."""
    types = [
        scripts["hyperset_lab.text.tokenizer"].TextModelArguments,
        scripts["hyperset_lab.text.data"].TextDataArguments,
    ]
    types.append(scripts["hyperset_lab.trainer"].ScriptTrainingArguments)
    model, data, training = scripts["hyperset_lab.arguments"].parse_arguments(
        types, [str(RECIPES / "yelp-paper.yaml"), "--use_cpu"]
    )
    assert (data.dataset_name, data.max_seq_length) == ("Yelp/yelp_review_full", 128)
    assert model.tokenizer_name == "google-bert/bert-base-uncased"
    config = scripts["hyperset_lab.models"].load_config(model, vocab_size=30522, num_labels=5)
    assert (config.num_hidden_layers, config.num_iterations, config.hidden_size) == (1, 6, 384)
    assert AutoModelForSequenceClassification.from_config(config).num_parameters() == 12_660_677  # 12.66 M in Table 22
    assert (training.num_train_epochs, training.train_batch_size, training.learning_rate) == (10, 128, 1e-3)
    assert (training.optim, training.adam_beta1, training.adam_beta2) == ("adam", 0.9, 0.999)
    assert training.weight_decay == 5e-5
    assert (training.lr_scheduler_type, training.lr_scheduler_kwargs) == ("cosine_with_min_lr", {"min_lr": 1e-5})
    assert training.get_warmup_steps(1000) == 500  # 5 of the 10 epochs
    assert training.max_grad_norm == 0.0 and training.label_smoothing_factor == 0.0


def test_the_recipe_that_learns_differs_from_the_papers_by_two_values():
    recipe, paper = (yaml.safe_load((RECIPES / f"{name}.yaml").read_text()) for name in ("yelp", "yelp-paper"))
    assert recipe.pop("config_overrides") == {"pooling": "mean", "position_embedding_type": "learned"}
    assert recipe | {"output_dir": paper["output_dir"]} == paper


needs_reviews = pytest.mark.skipif(
    not (REVIEWS / "train.csv").is_file(), reason="no review sentences; HYPERSET_REVIEWS may name their folder"
)


def recipe_flags(folder: Path, recipe: str = "reviews", **options) -> list[str]:
    """A recipe, on the files at hand."""
    files = {"train_file": REVIEWS / "train.csv", "validation_file": REVIEWS / "test.csv"}
    common = {"output_dir": folder, "cache_dir": folder / "cache", "use_cpu": True, "report_to": "none"}
    return [str(RECIPES / f"{recipe}.yaml"), *flags_of(files | common | {"disable_tqdm": True} | options)]


@needs_reviews
@pytest.mark.parametrize("layer_type", ["hyperset", "transformer"])
def test_the_reviews_recipe_runs(scripts, tmp_path, layer_type):
    options = {"max_train_samples": 128, "max_eval_samples": 64, "num_train_epochs": 1, "train_tokenizer": 400}
    metrics = scripts["hyperset_lab.text.task"].main(recipe_flags(tmp_path, layer_type=layer_type, **options))
    assert {"eval_accuracy", "eval_12_iterations_accuracy"} <= metrics.keys()
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["layer_type"], config["num_hidden_layers"], config["num_iterations"]) == (layer_type, 1, 6)
    assert list(config["label2id"]) == ["0", "1", "2", "3", "4"]


@needs_reviews
@pytest.mark.parametrize(
    "num_epochs", [pytest.param(2, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.long)]
)
def test_the_reviews_recipe_beats_the_majority_by_12_points(scripts, tmp_path, num_epochs):
    """A one-layer six-iteration model, at the trained depth and at twice that; in two epochs, and in the recipe's five."""
    with threads(1):
        metrics = scripts["hyperset_lab.text.task"].main(
            recipe_flags(tmp_path, num_train_epochs=num_epochs, eval_strategy="no")
        )
    best = largest_class() + 0.12
    assert metrics["eval_accuracy"] >= best and metrics["eval_12_iterations_accuracy"] >= best


@needs_reviews
@pytest.mark.long
def test_the_yelp_recipe_learns_within_its_warm_up(scripts, tmp_path):
    """At the paper's size, on the reviews, while its rate still rises."""
    options = {
        "train_tokenizer": 4000,
        "bf16": True,
        "num_train_epochs": 2,
        "save_strategy": "no",
        "eval_strategy": "no",
    }
    options |= {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 335}
    metrics = scripts["hyperset_lab.text.task"].main(recipe_flags(tmp_path, "yelp", **options))
    assert metrics["eval_accuracy"] >= largest_class() + 0.12


def largest_class() -> float:
    """The share of the largest class among the sentences to evaluate on."""
    with (REVIEWS / "test.csv").open(encoding="utf-8") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    return max(labels.count(label) for label in set(labels)) / len(labels)
