# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Energies in the logs of Trainer."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch

from transformers import PreTrainedModel, TrainerCallback

from .analysis import Analysis, analyze
from .measuring import PER_HEAD, check_model, check_quantities


if TYPE_CHECKING:
    from transformers import Trainer


class EnergyCallback(TrainerCallback):
    """
    At every evaluation, analyses the iterations on one batch, and logs the result with Trainer:

        from modeling_hyperset.analysis.callback import EnergyCallback

        trainer.add_callback(EnergyCallback(trainer))

    It logs `energy/total_first` and `energy/total_last`, after the first and the last step, and the same for `attention` and
    `feedforward`. `energy/falling` is the share of iterations in which the mean total energy falls. Other `quantities` are
    logged the same way, for example `energy/effective_rank_first`; those per head are means over the heads. Training does not
    change: it draws the same random numbers as without the callback.

    Args:
        trainer ([`Trainer`]): The trainer that logs. The batch comes from its evaluation data.
        batch (`Mapping`, *optional*): A batch to use instead of the first one of the evaluation data.
        quantities (collection of `str`): As in [`analyze`].

    Raises:
        `ValueError`: quantities that do not exist or that the trainer's model does not have; or neither a batch nor evaluation
            data; or the trainer shards its model (FSDP), so that the weights of a layer are only complete while it runs.
    """

    def __init__(
        self,
        trainer: "Trainer",
        batch: Mapping[str, Any] | None = None,
        quantities: Collection[str] | None = ("energies",),
    ):
        self.num_iterations = check_model(trainer.model, None)  # also when an evaluation goes deeper
        check_quantities(cast(PreTrainedModel, trainer.model), quantities)
        if batch is None and trainer.eval_dataset is None:
            raise ValueError("`batch` must be given if the trainer has no `eval_dataset`.")
        if getattr(trainer, "is_fsdp_enabled", False):
            raise ValueError("`trainer` must not shard its model (FSDP): analyse the saved model after training.")
        self.trainer, self.batch, self.quantities = trainer, batch, quantities
        self.analysis: Analysis | None = None  # the last one

    def on_evaluate(self, args, state, control, **kwargs):
        if self.batch is None:
            devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
            with torch.random.fork_rng(devices=devices):  # a data loader draws a seed for its workers
                data = self.trainer.eval_dataset
                data = next(iter(data.values())) if isinstance(data, dict) else data
                self.batch = next(iter(self.trainer.get_eval_dataloader(data)))
        model = cast(PreTrainedModel, self.trainer.model)
        analysis = analyze(model, self.batch, self.num_iterations, self.quantities)
        # An evaluation at another depth may have changed the config, so the trained depth comes from here.
        self.analysis = replace(analysis, trained_iterations=self.num_iterations)
        self.trainer.log(self.figures(self.analysis))

    def figures(self, analysis: Analysis) -> dict[str, float]:
        """The numbers of an analysis that are logged."""
        figures: dict[str, float] = {}
        for name in analysis.statistics:
            values = analysis.mean(name)
            values = values.mean(dim=-1) if name in PER_HEAD else values
            name = name.removesuffix("_energy")
            figures |= {f"energy/{name}_first": values[0].item(), f"energy/{name}_last": values[-1].item()}
        if "total_energy" in analysis.statistics and analysis.num_iterations > 1:
            steps = analysis.mean("total_energy").view(analysis.num_layers, -1).diff(dim=-1)
            figures["energy/falling"] = (steps < 0).double().mean().item()
        return figures
