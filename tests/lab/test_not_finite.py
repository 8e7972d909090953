# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""A training stops at NaN with an error that names the step, and leaves the last good checkpoint."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hyperset_lab.checkpoints import all_checkpoints, last_whole_checkpoint
from hyperset_lab.trainer import ScriptTrainer, ScriptTrainingArguments
from modeling_hyperset import HyperSETForImageClassification
from support.builders import make_config, threads


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with threads(1):
        yield


@pytest.fixture
def make_trainer(tmp_path):
    """A trainer of six steps of four images in order that saves every second step, and the images."""

    def make(**arguments):
        data = [{"pixel_values": torch.randn(3, 12, 12), "labels": index % 5} for index in range(24)]
        arguments = ScriptTrainingArguments(
            output_dir=str(tmp_path / "out"),
            use_cpu=True,
            train_sampling_strategy="sequential",
            per_device_train_batch_size=4,
            num_train_epochs=1,
            save_strategy="steps",
            save_steps=2,
            report_to="none",
            disable_tqdm=True,
            **arguments,
        )
        model = HyperSETForImageClassification(make_config(initializer_range=0.2))
        return ScriptTrainer(model=model, args=arguments, train_dataset=data), data

    return make


def assert_stopped_with(folder: Path, step: int) -> None:
    """The checkpoint of `step` is the last one, whole, and finite."""
    assert last_whole_checkpoint(folder) == str(folder / f"checkpoint-{step}")
    assert [path.name for path in all_checkpoints(folder)] == [f"checkpoint-{kept}" for kept in range(2, step + 1, 2)]
    weights = load_file(folder / f"checkpoint-{step}" / "model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_a_pixel_that_is_nan(make_trainer, tmp_path):
    trainer, data = make_trainer()
    data[18]["pixel_values"][0, 5, 5] = float("nan")
    with pytest.raises(ValueError, match=r"In step 5: `pixel_values` must be finite.*samples \[2\] of 4"):
        trainer.train()
    assert_stopped_with(tmp_path / "out", 4)
    assert trainer.state.global_step == 4


@pytest.mark.parametrize(("accumulation", "max_grad_norm"), [(1, 0.0), (1, 1.0), (2, 0.0)])
def test_a_gradient_that_is_nan(make_trainer, tmp_path, accumulation, max_grad_norm):
    """Of a finite loss: the weights are as they were."""
    trainer, _ = make_trainer(gradient_accumulation_steps=accumulation, max_grad_norm=max_grad_norm)
    calls, bias = 0, trainer.model.classifier.bias
    kept = {}

    def spoil(gradient):
        nonlocal calls
        calls += 1
        if calls == 3 * accumulation:
            kept.update({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})
            return gradient * float("nan")

    bias.register_hook(spoil)
    with pytest.raises(
        FloatingPointError, match=r"gradient of step 3 is nan.*checkpoint-2 is whole.*resume_from_checkpoint"
    ):
        trainer.train()
    assert_stopped_with(tmp_path / "out", 2)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in trainer.model.state_dict().items())


def test_a_run_that_diverges(make_trainer, tmp_path):
    """A step as large as float32 holds: the loss of the next one is not finite, or the gradient before."""
    trainer, _ = make_trainer(learning_rate=1e38, optim="sgd", max_grad_norm=0.0)
    with pytest.raises(FloatingPointError, match=r"The (loss|gradient) of step \d is (nan|inf)"):
        trainer.train()


def test_without_a_checkpoint_none_is_named(make_trainer):
    trainer, _ = make_trainer()
    trainer.model.classifier.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError) as caught:
        trainer.train()
    assert str(caught.value) == "The loss of step 1 is nan; nothing was changed or saved since."


def test_what_is_sound_is_trained_as_before(make_trainer, tmp_path):
    trainer, _ = make_trainer()
    trainer.train()
    assert trainer.state.global_step == 6 and (tmp_path / "out" / "checkpoint-6" / "model.safetensors").is_file()
