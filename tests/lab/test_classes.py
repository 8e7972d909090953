# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Classes are names: those of a data set and of a checkpoint meet by name, in any order, or are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from hyperset_lab.analyzing import check_comparable, in_order_of
from hyperset_lab.arguments import ModelArguments, parse_arguments
from hyperset_lab.classes import align_classes
from hyperset_lab.images.labels import encode_classes, encode_streams
from hyperset_lab.images.task import TASK
from hyperset_lab.models import check_trained, label_fields, load_config, load_model, reorder_head
from hyperset_lab.sudoku.task import TASK as SUDOKU
from hyperset_lab.text.data import TextDataArguments
from hyperset_lab.text.labels import encode_labels
from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification, HyperSETForTokenClassification
from modeling_hyperset.presets import preset_config
from transformers import AutoModelForImageClassification, ViTImageProcessorPil


COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
TINY = {"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2, "step_size_type": "fixed"}


def config_of(*names: str) -> HyperSETConfig:
    return HyperSETConfig(image_size=8, patch_size=4, **TINY, **label_fields(names))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A model that tells colours apart by construction: its pooled token is the colour, and each class reads its own."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    model = HyperSETForImageClassification(config_of(*COLOURS)).eval()
    processor = ViTImageProcessorPil(size={"height": 8, "width": 8})
    images = [Image.new("RGB", (8, 8), colour) for colour in COLOURS.values()]
    with torch.no_grad():  # a linear read-out of three images
        tokens = model.hyperset(**processor(images, return_tensors="pt")).pooler_output
        head = next(
            module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == 3
        )
        caught = []
        hook = head.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
        model(**processor(images, return_tensors="pt"))
        hook.remove()
        assert tokens.shape == caught[0].shape
        head.weight.copy_(torch.linalg.pinv(caught[0]).T * 10)
        head.bias.zero_()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def data_set(folder: Path, names: list[str], of: list[str] | None = None, **more: list[str]) -> str:
    """A local data set of pictures of colours, its classes declared in the order `names`; `more` are other splits."""
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=names)})

    def split(shown):
        images = [Image.new("RGB", (8, 8), COLOURS.get(name, "white")) for name in shown]
        return Dataset.from_dict({"image": images, "label": [names.index(name) for name in shown]}, features=features)

    for name, shown in {"test": of or names, **more}.items():
        (folder / "data" / "data").mkdir(parents=True, exist_ok=True)
        split(shown).to_parquet(folder / "data" / "data" / f"{name}-00000-of-00001.parquet")
    return str(folder / "data")


def evaluate(checkpoint: Path, data: str, tmp_path: Path, *flags: str) -> dict:
    flags = ("--do_eval", "--output_dir", str(tmp_path / "out"), "--cache_dir", str(tmp_path / "cache"), *flags)
    return TASK.main(["--model_name_or_path", str(checkpoint), "--dataset_name", data, "--use_cpu", *flags])


@pytest.mark.parametrize(
    ("names", "of"),
    [
        (["red", "green", "blue"], None),
        (["blue", "red", "green"], None),
        (["blue", "red"], None),  # the data lack a class
        (["green"], None),
        (["blue", "green", "red"], ["red"]),
    ],
)
def test_an_evaluation_is_right_in_any_order_of_the_classes(checkpoint, names, of, tmp_path):
    metrics = evaluate(checkpoint, data_set(tmp_path, names, of), tmp_path, "--eval_num_iterations", "2")
    assert metrics["eval_accuracy"] == 1.0
    if names[0] == "blue" and of is None:
        streamed = evaluate(
            checkpoint, data_set(tmp_path, names), tmp_path, "--eval_num_iterations", "2", "--streaming"
        )
        assert streamed["eval_accuracy"] == 1.0


def test_unknown_classes_are_refused_and_listed(checkpoint, tmp_path):
    data = data_set(tmp_path, ["red", "pink", "blue", "grey"])
    with pytest.raises(ValueError, match=r"has 3 classes \(red, green, blue\).*does not know pink, grey\."):
        evaluate(checkpoint, data, tmp_path)
    assert not (tmp_path / "out").exists()


def test_training_from_a_checkpoint_keeps_its_order(checkpoint, tmp_path):
    data = data_set(tmp_path, ["blue", "green", "red"], train=["red", "green", "blue", "red"])
    flags = ["--model_name_or_path", str(checkpoint), "--dataset_name", data, "--do_train", "--do_eval", "--use_cpu"]
    flags += ["--output_dir", str(tmp_path / "out"), "--cache_dir", str(tmp_path / "cache")]
    trainer, _ = TASK.build_trainer(*parse_arguments(TASK.arguments, flags))
    assert list(trainer.model.config.id2label.values()) == list(COLOURS)
    assert [row["label"] for row in trainer.train_dataset] == [0, 1, 2, 0]
    assert trainer.evaluate()["eval_accuracy"] == 1.0


def test_a_new_head_is_new_where_its_shape_is_the_old_one(checkpoint):
    arguments = ModelArguments(model_name_or_path=str(checkpoint), ignore_mismatched_sizes=True)
    old = AutoModelForImageClassification.from_pretrained(checkpoint).state_dict()
    for names, same in ((("blue", "red", "green"), True), (("cat", "dog", "owl"), False)):
        model = load_model(AutoModelForImageClassification, arguments, load_config(arguments, **label_fields(names)))
        for name, value in model.state_dict().items():
            if name.startswith("hyperset.") or (name.endswith("weight") and value.dim() == 2):
                assert torch.equal(value, old[name]) == (same or name.startswith("hyperset.")), name
        if same:
            check_trained(model)
        else:
            with pytest.raises(ValueError, match=r"The checkpoint has no weights for .*classifier"):
                check_trained(model)


@pytest.mark.parametrize(
    ("names", "theirs", "do_train", "wanted"),
    [
        ("ab", "ab", True, "ab"),
        ("ba", "ab", True, "ab"),
        ("ba", "ab", False, "ab"),
        ("b", "ab", False, "ab"),
        ("b", "ab", True, r"data do not have a\. Pass `--ignore_mismatched_sizes`"),
        ("bc", "ab", False, r"does not know c\.$"),
        ("bc", "ab", True, r"does not know c\. Pass `--ignore_mismatched_sizes`"),
        ("abc", "ab", True, r"does not know c\. Pass"),
        ("ba", ("LABEL_0", "LABEL_1"), False, "ba"),
        ("b", ("LABEL_0", "LABEL_1"), False, "does not know b"),
        ("ab", "aa", False, "does not know b"),
        ("a", "aab", False, "several classes of the name a"),
        ((1, 2), (2, 1), False, "21"),
    ],
)
def test_names_are_aligned(names, theirs, do_train, wanted, caplog):
    config = config_of(*map(str, theirs))
    if len(wanted) > 2:
        with pytest.raises(ValueError, match=wanted):
            align_classes(names, config, do_train)
    else:
        assert align_classes(names, config, do_train) == tuple(wanted)
    assert ("does not name its classes" in caplog.text) == (theirs[0] == "LABEL_0" and len(names) == 2)
    if do_train:
        new = tuple(wanted) if len(wanted) == 2 else tuple(names)
        assert align_classes(names, config, do_train, new_head=True) == new


def declared(names: list[str], labels: list[int]) -> Dataset:
    features = Features({"image": Value("string"), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": ["x"] * len(labels), "label": labels}, features=features)


def test_splits_meet_by_name_and_a_class_that_only_one_evaluates_is_refused():
    train, other = declared(["a", "b", "c"], [0, 1]), declared(["b", "a"], [0, 0, 1])
    for encoded in (
        encode_classes({"train": train, "eval": other}),
        encode_streams({"train": train.to_iterable_dataset(), "eval": other.to_iterable_dataset()}),
    ):
        assert [row["label"] for row in encoded["eval"]] == [1, 1, 0]
        assert encoded["eval"].features["label"].names == ["a", "b", "c"]
    for other in (
        declared(["a", "b", "c"], [0, 2]),
        declared(["c"], [0]),
        Dataset.from_dict({"image": ["x"] * 2, "label": ["a", "c"]}),
    ):
        with pytest.raises(
            ValueError, match=r"'eval' has labels that are not among those to learn: c\. To learn are a, b\."
        ):
            encode_classes({"train": train, "eval": other})
        texts = {"train": train, "eval": other}
        texts = {name: split.rename_column("image", "text") for name, split in texts.items()}
        with pytest.raises(
            ValueError, match=r"'eval' has labels that are not among those to learn: c\. To learn are a, b\."
        ):
            encode_labels(texts, TextDataArguments(dataset_name="x"))
    with pytest.raises(ValueError, match=r"'eval' has labels .*: d"):
        streamed = {"train": train.to_iterable_dataset(), "eval": declared(["a", "d"], [0]).to_iterable_dataset()}
        encode_streams(streamed)


def test_texts_are_evaluated_by_name():
    split = declared(["c", "b", "a"], [0, 2]).rename_column("image", "text")
    arguments = TextDataArguments(dataset_name="x")
    encoded, space = encode_labels({"eval": split}, arguments, config_of("a", "b", "c"), do_train=False)
    assert encoded["eval"]["label"][:] == [2, 0] and space.names == ("a", "b", "c")
    with pytest.raises(ValueError, match=r"does not know c\."):
        encode_labels({"eval": split}, arguments, config_of("a", "b", "x"), do_train=False)
    with pytest.raises(ValueError, match=r"does not know c\. Pass `--ignore_mismatched_sizes`"):
        encode_labels({"train": split}, arguments, config_of("a", "b", "x"), do_train=True)


def solver_of(flags: list[str]):
    """The trainer that `run_sudoku.py` builds."""
    return SUDOKU.build_trainer(*parse_arguments(SUDOKU.arguments, flags))[0]


def test_a_solver_with_its_digits_in_another_order_answers_alike(tmp_path):
    """`run_sudoku.py` brings the rows of its head into order."""
    torch.manual_seed(0)
    digits = [str(digit) for digit in range(1, 10)]
    fields = {"vocab_size": 10, "max_position_embeddings": 81, "num_iterations": 1}
    model = HyperSETForTokenClassification(preset_config("sudoku", **(TINY | fields), **label_fields(digits))).eval()
    flags = ["--dataset_name", "generated", "--max_eval_samples", "4", "--do_eval", "--use_cpu", "--min_givens", "70"]
    flags += ["--max_givens", "74", "--cache_dir", str(tmp_path / "cache"), "--eval_num_iterations", "1"]
    losses = []
    for name, order in (("same", range(9)), ("turned", range(8, -1, -1))):
        reorder_head(model, list(order))
        model.config.id2label = {place: digits[index] for place, index in enumerate(order)}
        model.config.label2id = {label: place for place, label in model.config.id2label.items()}
        model.save_pretrained(tmp_path / name)
        reorder_head(model, list(np.argsort(list(order))))
        more = ["--model_name_or_path", str(tmp_path / name), "--output_dir", str(tmp_path / f"{name}-out")]
        losses.append(solver_of([*flags, *more]).evaluate()["eval_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    model.config.id2label = dict(enumerate("abcdefghi"))
    model.save_pretrained(tmp_path / "letters")
    with pytest.raises(ValueError, match="does not know 1, 2, 3"):
        solver_of([*flags, "--model_name_or_path", str(tmp_path / "letters"), "--output_dir", str(tmp_path / "no")])


def test_compared_checkpoints_meet_by_name():
    ours, theirs = config_of("a", "b", "c"), config_of("c", "a", "b")
    check_comparable(ours, "other", theirs)
    batches = [{"labels": torch.tensor([0, 1, 2, -100])}, {"labels": torch.tensor([[1.0, 2.0, 3.0]])}]
    for _ in range(2):  # several passes
        numbers, rows = (batch["labels"].tolist() for batch in in_order_of(ours, theirs, batches))
        assert numbers == [1, 2, 0, -100] and rows == [[3.0, 1.0, 2.0]]
    assert in_order_of(ours, ours, batches) is batches
    with pytest.raises(ValueError, match="of the same classes, 'other' has x in place of c"):
        check_comparable(ours, "other", config_of("a", "x", "b"))


def test_weights_that_nothing_trained_are_not_evaluated(checkpoint, tmp_path):
    data = data_set(tmp_path, list(COLOURS))
    body = HyperSETForImageClassification.from_pretrained(checkpoint)
    state = {name: value for name, value in body.state_dict().items() if name.startswith("hyperset.")}
    body.save_pretrained(tmp_path / "body", state_dict=state)
    ViTImageProcessorPil.from_pretrained(checkpoint).save_pretrained(tmp_path / "body")
    with pytest.raises(ValueError, match=r"has no weights for .*classifier\.weight.* Nothing has trained them"):
        evaluate(tmp_path / "body", data, tmp_path)
    flags = ["--config_name", "imagenet-small", "--dataset_name", "digits", "--do_eval", "--use_cpu"]
    flags += ["--config_overrides", json.dumps(TINY | {"image_size": 8, "patch_size": 4})]
    with pytest.raises(ValueError, match="Nothing has trained this model, so there is nothing to evaluate"):
        TASK.main([*flags, "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="Nothing has trained this model, so there is nothing to evaluate"):
        flags += ["--do_train", "--num_train_epochs", "0", "--report_to", "none"]
        TASK.main([*flags, "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "model.safetensors").exists()
