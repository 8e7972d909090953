# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
What the scripts measure, as metrics of `evaluate` that need no network: `evaluate.load("accuracy")` fetches a program from the
Hub, these are classes of this file. scikit-learn and scipy compute them.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import datasets
import evaluate
import numpy as np
import torch
from datasets import Features, Value
from scipy import stats
from sklearn import metrics as sklearn_metrics

from transformers import EvalPrediction


SINGLE_LABEL, MULTI_LABEL, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
Scores = dict[str, float]


class ScriptMetric(evaluate.Metric):
    """
    A metric of this file. `config_name` is `None` for one class per sample, or `"multilabel"` for a row of 0 and 1 per sample,
    as in evaluate's own metrics. What is added to it stays in memory.
    """

    description: str
    dtype = "int32"

    def __init__(self, config_name: str | None = None):
        super().__init__(config_name=config_name, keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        value = Value(self.dtype)
        if self.config_name == "multilabel":
            value = datasets.Sequence(value)
        return evaluate.MetricInfo(
            description=self.description,
            citation="",
            inputs_description="`predictions` and `references`: one for each sample.",
            features=Features({"predictions": value, "references": value}),
        )


class Accuracy(ScriptMetric):
    """`accuracy`: share of samples whose class, or whose whole row of labels, is right."""

    description = "Share of samples that are right; of several labels, all must be."

    def _compute(self, predictions, references) -> Scores:
        return {"accuracy": float(sklearn_metrics.accuracy_score(references, predictions))}


class F1(ScriptMetric):
    """
    `f1_macro`: the mean over the classes that occur of the harmonic mean of precision and recall. With `"multilabel"` also
    `f1`, which counts all decisions alike (micro), as transformers' scripts report it.
    """

    description = "Harmonic mean of precision and recall, over classes and (multi-label) over all decisions."

    def _compute(self, predictions, references) -> Scores:
        several = self.config_name == "multilabel"
        single_column = several and np.shape(references)[1] == 1  # to scikit-learn that is two classes, not one label

        def f1(average):
            average = "binary" if single_column else average
            return float(sklearn_metrics.f1_score(references, predictions, average=average, zero_division=0))

        return ({"f1": f1("micro")} if several else {}) | {"f1_macro": f1("macro")}


class MeanSquaredError(ScriptMetric):
    """`mse`: mean of the squared difference, in squared units of the label."""

    description = "Mean squared error."
    dtype = "float32"

    def _compute(self, predictions, references) -> Scores:
        return {"mse": float(sklearn_metrics.mean_squared_error(references, predictions))}


class Correlation(ScriptMetric):
    """
    `pearsonr` and `spearmanr`, in [−1, 1]; NaN where predictions or references are all alike, or are fewer than two, because
    then there is no correlation.
    """

    description = "Pearson's correlation, and Spearman's, which is that of the ranks."
    dtype = "float32"

    def _compute(self, predictions, references) -> Scores:
        if len(predictions) < 2 or min(np.ptp(predictions), np.ptp(references)) == 0:
            return {"pearsonr": math.nan, "spearmanr": math.nan}
        return {
            "pearsonr": float(stats.pearsonr(predictions, references)[0]),
            "spearmanr": float(stats.spearmanr(predictions, references)[0]),
        }


def load_metrics(problem_type: str = SINGLE_LABEL, metric_name: str | None = None) -> list[evaluate.EvaluationModule]:
    """
    The metrics of a kind of problem, or the one that `metric_name` names: a metric of the Hub, or a folder or file with its
    program, as `evaluate.load` takes it.

    Raises:
        `ValueError`: a kind of problem that does not exist, or a metric that cannot be loaded.
    """
    config_name = "multilabel" if problem_type == MULTI_LABEL else None
    if metric_name is not None:
        try:
            return [evaluate.load(metric_name, config_name=config_name, keep_in_memory=True)]
        except (OSError, ImportError) as error:
            raise ValueError(
                f"`--metric_name` must be a metric of the Hub, or a folder or file with one, got {metric_name!r}: {error}"
            ) from error
    if problem_type == REGRESSION:
        return [MeanSquaredError(), Correlation()]
    if problem_type not in (SINGLE_LABEL, MULTI_LABEL):
        raise ValueError(
            f"`problem_type` must be one of {SINGLE_LABEL!r}, {MULTI_LABEL!r} and {REGRESSION!r}, got {problem_type!r}."
        )
    return [Accuracy(config_name), F1(config_name)]


def make_compute_metrics(
    problem_type: str = SINGLE_LABEL, metric_name: str | None = None, num_labels: int = 2
) -> Callable[..., Scores]:
    """
    The `compute_metrics` of a Trainer whose model gives logits of shape `(samples, num_labels)`: it takes the class of the
    largest logit, every label whose logit is above 0, or the logits as they are in a regression. It also serves
    `--batch_eval_metrics`, where Trainer hands over one batch at a time.

    Returns:
        A function whose result holds, by kind of problem: `accuracy` and `f1_macro`; `accuracy` (of whole rows), `f1` (micro)
        and `f1_macro`; `mse`, `pearsonr` and `spearmanr` (of a single number). With `metric_name`, what that metric gives, and
        the `combined_score` of several values, as transformers' scripts have it.

    Raises:
        `ValueError`: a metric that cannot be loaded, or that does not work for this kind of problem. It is tried on made-up
            predictions, so that it does not fail after an epoch.
    """
    modules = load_metrics(problem_type, metric_name)
    if problem_type == REGRESSION and num_labels > 1 and metric_name is None:
        modules = [module for module in modules if not isinstance(module, Correlation)]
    options = [metric_options(module, problem_type, num_labels) for module in modules]

    def compute_metrics(prediction: EvalPrediction, compute_result: bool = True) -> Scores:
        logits = prediction.predictions
        logits = to_array(logits[0] if isinstance(logits, tuple | list) else logits)
        labels: Any = prediction.label_ids
        predictions, references = decide(logits, problem_type), to_array(labels)
        if problem_type == REGRESSION:
            predictions, references = predictions.reshape(-1), references.reshape(-1)
        else:
            references = references.astype(np.int64)
        for module in modules:
            module.add_batch(predictions=predictions, references=references)
        if not compute_result:
            return {}
        scores: Scores = {}
        for module, given in zip(modules, options, strict=True):
            scores |= module.compute(**given)
        if metric_name is not None and len(scores) > 1:
            scores["combined_score"] = float(np.mean(list(scores.values())))
        return scores

    if metric_name is not None:
        try:
            compute_metrics(made_up_predictions(problem_type, num_labels))
        except Exception as error:  # a program of someone else's may raise anything
            raise ValueError(f"`--metric_name` {metric_name!r} does not work for a {problem_type}: {error}") from error
    return compute_metrics


def to_array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """Trainer hands over arrays, or tensors with `--batch_eval_metrics`; NumPy has no bfloat16."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    return values.detach().to("cpu", torch.float32 if values.is_floating_point() else values.dtype).numpy()


def decide(logits: np.ndarray, problem_type: str) -> np.ndarray:
    """Logits of shape `(samples, num_labels)` → classes, rows of 0 and 1, or the numbers they are."""
    if problem_type == SINGLE_LABEL:
        return logits.argmax(axis=-1)
    return (logits > 0).astype(np.int64) if problem_type == MULTI_LABEL else logits


def metric_options(module: evaluate.EvaluationModule, problem_type: str, num_labels: int) -> dict[str, str]:
    """Metrics that average over classes (F1, precision, recall) must be told how once there are more than two."""
    if isinstance(module, ScriptMetric) or "average" not in inspect.signature(module._compute).parameters:
        return {}
    if problem_type == MULTI_LABEL:
        return {"average": "micro"}
    return {"average": "macro"} if problem_type == SINGLE_LABEL and num_labels > 2 else {}


def made_up_predictions(problem_type: str, num_labels: int) -> EvalPrediction:
    """Right predictions for a few samples of every class."""
    logits = np.tile(2.0 * np.eye(num_labels, dtype=np.float32) - 1.0, (2, 1))
    references = logits if problem_type == REGRESSION else (logits > 0).astype(np.int64)
    return EvalPrediction(logits, logits.argmax(-1) if problem_type == SINGLE_LABEL else references)
