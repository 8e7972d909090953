# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the scripts' Trainer leans on in transformers', and which parameters it decays."""

import inspect

import pytest
import torch

from hyperset_lab.trainer import PRIVATE, ScriptTrainer, ScriptTrainingArguments
from modeling_hyperset import HyperSETForImageClassification
from support.builders import make_config, make_model
from transformers import Trainer, TrainerCallback, TrainingArguments


@pytest.mark.parametrize(("method", "argument", "use"), PRIVATE)
def test_transformers_still_has_what_it_does_not_promise(method, argument, use):
    assert argument in inspect.signature(getattr(Trainer, method)).parameters, (
        f"`Trainer.{method}` of this transformers has no `{argument}`, which {use}: change `ScriptTrainer` and `PRIVATE`."
    )


def test_nothing_private_of_trainer_is_overridden():
    subclasses, found = [ScriptTrainer], set()
    while subclasses:
        subclass = subclasses.pop()
        subclasses += subclass.__subclasses__()
        found |= {name for name in vars(subclass) if name.startswith("_") and not name.startswith("__")} & set(
            dir(Trainer)
        )
    assert not found


def test_trainer_saves_and_calls_back_in_the_order_that_checkpoints_need(tmp_path):
    """The manifest is written in `on_save`, so all else must be there. Old checkpoints stay until then."""
    events = []

    class Order(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            events.append("gradient" if model.weight.grad is not None else "no gradient")

        def on_optimizer_step(self, args, state, control, **kwargs):
            events.append("step")

        def on_save(self, args, state, control, **kwargs):
            folders = sorted(tmp_path.glob("checkpoint-*"))
            names = {path.name for path in folders[-1].iterdir()}
            missing = {
                "model.safetensors",
                "optimizer.pt",
                "scheduler.pt",
                "rng_state.pth",
                "trainer_state.json",
            } - names
            assert not missing, f"{missing} is written after `on_save`: `ScriptTrainer`'s manifest would not list it."
            assert len(folders) == state.global_step, "Trainer no longer reads `save_total_limit` after `save_model`."
            events.append("on_save")

    class Model(torch.nn.Linear):
        def forward(self, x, labels):
            return {"loss": (super().forward(x) - labels).square().mean()}

    class Saver(Trainer):
        def save_model(self, output_dir=None, _internal_call=False):
            assert not output_dir or not list(tmp_path.glob(f"checkpoint-{self.state.global_step}/*"))
            super().save_model(output_dir, _internal_call)
            self.args.save_total_limit = None
            events.append("save_model")

    arguments = TrainingArguments(
        str(tmp_path), use_cpu=True, max_steps=2, per_device_train_batch_size=1, report_to="none", disable_tqdm=True,
        save_strategy="steps", save_steps=1, save_total_limit=1,
    )  # fmt: skip
    data = [{"x": torch.ones(1), "labels": torch.ones(1)}] * 2
    Saver(model=Model(1, 1), args=arguments, train_dataset=data, callbacks=[Order()]).train()
    assert events == ["gradient", "step", "save_model", "on_save"] * 2, "Trainer's order changed: see `ScriptTrainer`."


def not_decayed(model, folder, **arguments) -> set[str]:
    arguments = ScriptTrainingArguments(str(folder), use_cpu=True, report_to="none", weight_decay=0.1, **arguments)
    groups = ScriptTrainer(model=model, args=arguments).create_optimizer().param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert sum(len(group["params"]) for group in groups) == len(names)
    return {names[id(parameter)].removeprefix("hyperset.") for parameter in groups[1]["params"]}


@pytest.mark.parametrize(
    ("case", "fields"),
    [
        ("image-classification", {"position_embedding_type": "learned", "lora_rank": 2}),
        ("image-classification", {"layer_type": "energy_transformer", "norm_type": "rmsnorm"}),
        ("image-classification", {"layer_type": "crate"}),
        ("masked-pixels", {}),
        ("masked-lm", {}),
    ],
)
def test_matrices_are_decayed_and_what_scales_or_is_added_is_not(tmp_path, case, fields):
    """Every weight with which tokens are multiplied, or which is looked up, is a matrix (LoRA: a stack)."""
    model = make_model(case, **fields)
    added = {"embeddings.cls_token", "embeddings.mask_token", "embeddings.position_embeddings"}
    names = {name.removeprefix("hyperset."): parameter for name, parameter in model.named_parameters()}
    wanted = {name for name, parameter in names.items() if parameter.ndim == 1} | (added & names.keys())
    assert (any("norm" in name for name in wanted) and wanted & added) or case == "masked-lm"
    assert not_decayed(model, tmp_path, optim="adam") == wanted


def test_the_same_kind_of_parameter_is_treated_the_same(tmp_path):
    """By name transformers would decay the gains of `qkv_norms`, and not those of `feedforward.norm`."""
    left = not_decayed(HyperSETForImageClassification(make_config()), tmp_path)
    gains = {"layers.0.attention.qkv_norms.0.weight", "layers.0.feedforward.norm.weight", "norm.weight", "norm.bias"}
    assert (
        gains <= left
        and not {"layers.0.attention.bases.weight", "embeddings.patch_embeddings.projection.weight"} & left
    )


def test_every_parameter_is_decayed_as_in_the_papers_program(tmp_path):
    assert not_decayed(HyperSETForImageClassification(make_config()), tmp_path, decay_all=True) == set()
