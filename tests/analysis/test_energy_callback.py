# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Energies in the log of a real Trainer run, which trains as it does without them."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from modeling_hyperset.analysis import analyze
from modeling_hyperset.analysis.callback import EnergyCallback
from support.builders import make_inputs, make_model
from transformers import Trainer, TrainerCallback, TrainingArguments


def make_trainer(folder, layer_type="hyperset", report_to="none", **options) -> Trainer:
    """A trainer of a small classifier that evaluates twice."""
    inputs = make_inputs("image-classification", batch_size=12, labels=True)
    data = [{name: value[index] for name, value in inputs.items()} for index in range(12)]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=4,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=5,
        eval_strategy="steps" if "eval_dataset" not in options else "no",
        eval_steps=2,
        save_strategy="no",
        report_to=report_to,
        use_cpu=True,
        disable_tqdm=True,
    )
    model = make_model("image-classification", layer_type=layer_type)
    return Trainer(model, arguments, train_dataset=data, **{"eval_dataset": data} | options)


class Reporter(TrainerCallback):
    """What Trainer reports to, as its integrations are: by step, all that it was told."""

    def __init__(self):
        self.told: list[tuple[int, dict[str, float]]] = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.told.append((state.global_step, dict(logs)))


def test_energies_reach_the_log_and_what_trainer_reports_to(tmp_path):
    reporter = Reporter()
    trainer = make_trainer(tmp_path, callbacks=[reporter])
    callback = EnergyCallback(trainer, quantities=("energies", "rank", "accuracy"))
    trainer.add_callback(callback)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "energy/total_last" in entry]
    assert [entry["step"] for entry in logged] == [2, 4]
    data = trainer.eval_dataset[:5]
    batch = {name: torch.stack([torch.as_tensor(row[name]) for row in data]) for name in data[0]}
    analysis = analyze(trainer.model, batch)
    for name in ("attention", "feedforward", "total"):
        energy = analysis.mean(f"{name}_energy")
        assert logged[1][f"energy/{name}_first"] == pytest.approx(energy[0].item())
        assert logged[1][f"energy/{name}_last"] == pytest.approx(energy[-1].item())
    assert logged[1]["energy/falling"] == (analysis.mean("total_energy").diff() < 0).double().mean().item()
    assert logged[1]["energy/effective_rank_last"] == pytest.approx(analysis.mean("effective_rank")[-1].mean().item())
    assert logged[1]["energy/accuracy_last"] == analysis.mean("accuracy")[-1].item()
    assert logged[0]["energy/total_last"] != logged[1]["energy/total_last"]
    assert callback.analysis.num_samples == 5
    told = [(step, logs["energy/total_last"]) for step, logs in reporter.told if "energy/total_last" in logs]
    assert told == [(entry["step"], entry["energy/total_last"]) for entry in logged]


def test_energies_reach_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="no extra has it: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = make_trainer(tmp_path, report_to="tensorboard")
    trainer.add_callback(EnergyCallback(trainer))
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "energy/total_last" in entry]
    (events,) = tmp_path.rglob("events.out.*")
    reader = EventAccumulator(str(events))
    reader.Reload()
    (tag,) = [tag for tag in reader.Tags()["scalars"] if tag.endswith("energy/total_last")]
    seen = [(event.step, event.value) for event in reader.Scalars(tag)]
    assert [step for step, _ in seen] == [2, 4]
    assert [value for _, value in seen] == pytest.approx([entry["energy/total_last"] for entry in logged])


def test_training_is_the_same_with_and_without(tmp_path):
    weights = []
    for with_callback in (False, True):
        torch.manual_seed(0)
        trainer = make_trainer(tmp_path)
        if with_callback:
            trainer.add_callback(EnergyCallback(trainer))
        trainer.train()
        assert any("energy/total_last" in entry for entry in trainer.state.log_history) == with_callback
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


def test_a_batch_of_ones_own(tmp_path):
    trainer = make_trainer(tmp_path, eval_dataset=None)
    with pytest.raises(ValueError, match="`batch` must be given if the trainer has no `eval_dataset`"):
        EnergyCallback(trainer)
    callback = EnergyCallback(trainer, make_inputs("image-classification", batch_size=3))
    callback.on_evaluate(trainer.args, trainer.state, trainer.control)
    assert callback.analysis.num_samples == 3


def test_an_evaluation_at_another_depth(tmp_path):
    """The scripts evaluate at other depths by changing the config: the trained depth is that of before."""
    trainer = make_trainer(tmp_path)
    trained = trainer.model.config.num_iterations
    callback = EnergyCallback(trainer, make_inputs("image-classification"))
    trainer.add_callback(callback)
    trainer.model.config.num_iterations = 2 * trained
    trainer.evaluate()
    assert callback.analysis.trained_iterations == callback.analysis.num_iterations == trained
    assert trainer.model.config.num_iterations == 2 * trained


def test_quantities_are_checked_before_training(tmp_path):
    trainer = make_trainer(tmp_path)
    with pytest.raises(ValueError, match=r"`quantities` must be among .*, got entropy"):
        EnergyCallback(trainer, quantities=["energies", "entropy"])
    callback = EnergyCallback(trainer, make_inputs("image-classification"), quantities="rank")  # one by its name
    callback.on_evaluate(trainer.args, trainer.state, trainer.control)
    assert callback.analysis.statistics.keys() == {"effective_rank", "full_rank"}


def test_a_model_without_energies(tmp_path):
    with pytest.raises(ValueError, match="'energies' does not exist here: TransformerLayer is not derived"):
        EnergyCallback(make_trainer(tmp_path, layer_type="transformer"))


def test_the_flag_of_the_training_scripts(tmp_path, monkeypatch):
    scripts = Path(__file__).parents[2] / "scripts"
    main = importlib.import_module("hyperset_lab.images.task").main
    tiny = '{"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2, "image_size": 8, "patch_size": 4}'
    flags = [str(scripts / "recipes" / "digits.yaml"), "--config_overrides", tiny, "--use_cpu", "--log_energies"]
    flags += ["--num_train_epochs", "1", "--max_train_samples", "64", "--max_eval_samples", "20"]
    main([*flags, "--output_dir", str(tmp_path / "ours")])
    history = json.loads((tmp_path / "ours" / "trainer_state.json").read_text())["log_history"]
    energies = json.loads((tmp_path / "ours" / "energy.json").read_text())
    (logged,) = [entry["energy/total_last"] for entry in history if "energy/total_last" in entry]
    assert logged == pytest.approx(energies["total"][-1], rel=1e-4)
    with pytest.raises(ValueError, match="'energies' does not exist here"):
        main([*flags, "--output_dir", str(tmp_path / "other"), "--layer_type", "transformer"])
