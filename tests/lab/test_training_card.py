# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The card that a training run writes: metadata that the Hub takes, whatever was trained on whatever data."""

import importlib
from pathlib import Path

import pytest
import torch
import yaml
from datasets import Dataset
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import make_model
from support.hub_card_rules import check_card
from transformers import Trainer, TrainingArguments


ROOT = Path(__file__).parents[2]
METRICS = {
    "eval_loss": 0.5,
    "eval_accuracy": 0.9,
    "eval_8_iterations_accuracy": 0.925,
    "eval_runtime": 3.0,
    "epoch": 2.0,
}
IMAGES = {"tasks": "image-classification", "tags": ["vision"]}


@pytest.fixture(scope="module")
def card_module():
    yield importlib.import_module("hyperset_lab.card")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory) -> Trainer:
    """A trainer that trains nothing."""
    folder = tmp_path_factory.mktemp("run")
    arguments = TrainingArguments(output_dir=str(folder), use_cpu=True, do_train=True, report_to=[])
    data = Dataset.from_dict({"pixel_values": [0.0] * 7})
    model = make_model("image-classification", num_iterations=4)
    return Trainer(model, arguments, train_dataset=data, eval_dataset=data)


def written(card_module, trainer, metrics=METRICS, **card) -> ModelCard:
    """The card that `write_card` writes, which the Hub takes without a warning."""
    card_module.write_card(trainer, metrics, **card)
    text = (Path(trainer.args.output_dir) / "README.md").read_text(encoding="utf-8")
    assert check_card(text) == ([], [])
    return ModelCard(text)


def test_results_at_every_depth(card_module, trainer):
    card = written(card_module, trainer, **IMAGES, dataset="owner/pictures", dataset_args="small")
    results = [
        (result.metric_type, result.metric_args["num_iterations"], result.metric_value, result.metric_name)
        for result in card.data.eval_results
    ]
    assert results == [
        ("loss", 4, 0.5, "Loss at 4 iterations"),
        ("accuracy", 4, 0.9, "Accuracy at 4 iterations"),
        ("accuracy", 8, 0.925, "Accuracy at 8 iterations"),
    ]
    first = card.data.eval_results[0]
    assert (first.dataset_type, first.dataset_name, first.dataset_config) == (
        "owner/pictures",
        "owner/pictures",
        "small",
    )
    assert (first.task_type, first.task_name) == ("image-classification", "Image Classification")
    assert card.data.datasets == ["owner/pictures"] and card.data.metrics == ["accuracy"]
    assert "| 4 (as trained) | 0.5000 | 0.9000 |" in card.text and "| 8 |  | 0.9250 |" in card.text
    assert "trained on 7 samples, evaluated on 7 samples" in card.text
    assert f"{trainer.model.num_parameters():,} parameters" in card.text


@settings(max_examples=30)
@given(
    dataset=st.text(min_size=1, max_size=12).filter(str.strip),
    task=st.sampled_from(["masked-image-modeling", "other"]),
)
def test_metadata_validates_whatever_the_data_are_called(card_module, trainer, dataset, task):
    on_hub = [dataset] if card_module.is_on_hub(dataset) else []
    results = card_module.evaluation_results(trainer, [(4, "loss", 1.0)], task, dataset, on_hub, None)
    data = card_module.ModelCardData(model_name="it", datasets=on_hub or None, eval_results=results)
    assert len(results) == 1 and check_card(f"---\n{data.to_yaml()}\n---\n") == ([], [])


def test_data_without_a_name_give_no_results_of_a_benchmark(card_module, trainer):
    card = written(card_module, trainer, **IMAGES)
    assert card.data.eval_results is None and "| 4 (as trained) |" in card.text and "local data" in card.text
    card = written(card_module, trainer, {}, **IMAGES, dataset="digits")
    assert card.data.eval_results is None and "Nothing was measured" in card.text
    # A local folder that looks like a name of the Hub is none.
    card = written(card_module, trainer, **IMAGES, dataset=str(ROOT / "tests"))
    assert card.data.datasets is None and card.data.eval_results[0].dataset_type == "tests"


def test_license_is_that_of_the_model_it_comes_from(card_module, trainer, tmp_path):
    assert written(card_module, trainer, **IMAGES).data.license == "apache-2.0"
    assert written(card_module, trainer, **IMAGES, license="mit").data.license == "mit"
    # Out of reach: nothing is claimed.
    card = written(card_module, trainer, **IMAGES, finetuned_from="owner/base")
    assert card.data.license is None and card.data.base_model == "owner/base"
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: own\nlicense_link: LICENSE\n---\n")
    card = written(card_module, trainer, **IMAGES, finetuned_from=str(tmp_path))
    assert (card.data.license, card.data.license_name, card.data.base_model) == ("other", "own", None)
    assert f"fine-tuned version of `{tmp_path}`" in card.text


def test_command_and_recipe_without_tokens(card_module, trainer, tmp_path, monkeypatch):
    common, training = (
        importlib.import_module("hyperset_lab.arguments"),
        importlib.import_module("hyperset_lab.trainer"),
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump({"config_name": "imagenet-small", "output_dir": str(tmp_path), "token": "hf_one"})
    )
    flags = [str(recipe), "--hub_tok=hf_two", "--run_name", "it's mine", "--use_cpu"]
    types = (common.ModelArguments, training.ScriptTrainingArguments)
    model_arguments, arguments = common.parse_arguments(types, flags)
    assert (model_arguments.token, arguments.hub_token) == ("hf_one", "hf_two")
    monkeypatch.setattr(trainer.args, "command", arguments.command, raising=False)
    text = written(card_module, trainer, **IMAGES).text
    assert "hf_one" not in text and "hf_two" not in text
    assert (
        f"python tests/lab/test_training_card.py {recipe} '--hub_tok=…' --run_name 'it'\"'\"'s mine' --use_cpu" in text
    )
    assert "config_name: imagenet-small" in text
    torch.save(arguments, tmp_path / "training_args.bin")
    assert b"hf_two" not in (tmp_path / "training_args.bin").read_bytes()


def test_results_that_chose_the_weights_are_named_so(card_module, trainer, monkeypatch):
    assert "better than they would be" not in written(card_module, trainer, **IMAGES).text
    monkeypatch.setattr(trainer.args, "load_best_model_at_end", True)
    monkeypatch.setattr(trainer.args, "metric_for_best_model", "accuracy")
    assert "with the best `accuracy` on these same data" in written(card_module, trainer, **IMAGES).text


def test_a_model_inside_a_wrapper_is_the_one_described(card_module, trainer, monkeypatch):
    wrapper = torch.nn.Module()
    wrapper.inner, wrapper.extra = make_model("image-classification"), torch.nn.Linear(100, 100)
    monkeypatch.setattr(trainer, "model", wrapper)
    text = written(card_module, trainer, **IMAGES).text
    assert f"`HyperSETForImageClassification` with {wrapper.inner.num_parameters():,} parameters" in text
    wrapper.inner = torch.nn.Linear(2, 3)
    text = written(card_module, trainer, {"eval_psnr": 20.0}, tasks="image-to-image").text
    assert "`Module` with 10,109 parameters" in text and "| – | 20.0000 |" in text and "Hyper-SET" not in text


def test_a_card_that_cannot_be_written_leaves_the_old_one(card_module, trainer, monkeypatch):
    before = written(card_module, trainer, **IMAGES).content

    def full(self, path):
        Path(path).write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr(card_module.ModelCard, "save", full)
    with pytest.raises(OSError, match="No space"):
        card_module.write_card(trainer, METRICS, **IMAGES, dataset="other")
    folder = Path(trainer.args.output_dir)
    assert (folder / "README.md").read_text() == before and [path.name for path in folder.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("license: apache", '"license"'),
        ("license: other", '"license_name" is required'),
        ("datasets: digits", '"datasets" must be an array'),
        ("datasets: [a b]", '"datasets" with value'),
        ("base_model: /home/me/model", '"base_model"'),
        ("tags: [1]", '"tags"'),
        ("language: English", '"language"'),
        ("model-index: {}", '"model-index" must be an array'),
        ("model-index: [{name: x}]", 'results" must be an array'),
        ("model-index: [{name: x, results: [{task: {type: t}, metrics: []}]}]", 'dataset.name" is required'),
        ("model-index: [{name: x, results: [{task: {type: t}, metrics: []}]}]", 'metrics" must be an array'),
        ("a: [", "no YAML"),
    ],
)
def test_the_stand_in_refuses_what_the_hub_refuses(metadata, message):
    errors, _ = check_card(f"---\n{metadata}\n---\ntext\n")
    assert any(message in error for error in errors), errors


def test_the_stand_in_warns_as_the_hub_does():
    assert check_card("# No metadata\n") == ([], ["empty or missing yaml metadata in repo card"])
    errors, warnings = check_card("---\npipeline_tag: solving\n---\n")
    assert errors == [] and "solving" in warnings[0]
