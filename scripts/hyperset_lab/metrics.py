# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What the scripts measure, by scikit-learn and scipy, or by a metric of `evaluate` that a flag names."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import evaluate
import numpy as np
import torch
from scipy import stats
from sklearn import metrics as sklearn_metrics

from transformers import EvalPrediction


SINGLE_LABEL, MULTI_LABEL, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
Scores = dict[str, float]
# Predictions and references, one for each sample → scores.
Measure = Callable[[np.ndarray, np.ndarray], Scores]


def f1_score(predictions: np.ndarray, references: np.ndarray, average: str) -> float:
    """The harmonic mean of precision and recall; 0 for a class that does not occur and is not predicted."""
    if references.ndim == 2 and references.shape[1] == 1:  # to scikit-learn that is two classes, not one label
        average = "binary"
    return float(sklearn_metrics.f1_score(references, predictions, average=average, zero_division=0))


def class_scores(predictions: np.ndarray, references: np.ndarray) -> Scores:
    """Of classes: `accuracy`, and `f1_macro`, the mean of F1 over the classes that occur."""
    accuracy = float(sklearn_metrics.accuracy_score(references, predictions))
    return {"accuracy": accuracy, "f1_macro": f1_score(predictions, references, "macro")}


def label_scores(predictions: np.ndarray, references: np.ndarray) -> Scores:
    """Of rows of 0 and 1: `accuracy` of whole rows, `f1` of all decisions together (micro), and `f1_macro`."""
    return {"f1": f1_score(predictions, references, "micro")} | class_scores(predictions, references)


def number_scores(predictions: np.ndarray, references: np.ndarray) -> Scores:
    """Of numbers: `mse`, and of one per sample also the [`correlations`]."""
    return {"mse": float(sklearn_metrics.mean_squared_error(references, predictions))}


def correlations(predictions: np.ndarray, references: np.ndarray) -> Scores:
    """`pearsonr` and `spearmanr`, in [−1, 1]. They are NaN for fewer than two numbers, and where all are alike."""
    measures = {"pearsonr": stats.pearsonr, "spearmanr": stats.spearmanr}
    if len(predictions) < 2 or min(np.ptp(predictions), np.ptp(references)) == 0:
        return dict.fromkeys(measures, math.nan)
    return {name: float(measure(predictions, references)[0]) for name, measure in measures.items()}


def named_measure(metric_name: str, problem_type: str, num_labels: int) -> Measure:
    """
    The metric that `--metric_name` names: one of the Hub, or a folder or file with its program, as `evaluate.load` takes it. It
    also gives the mean of several values as `combined_score`, as transformers' scripts do.
    """
    config_name = "multilabel" if problem_type == MULTI_LABEL else None
    try:
        module = evaluate.load(metric_name, config_name=config_name, keep_in_memory=True)
    except (OSError, ImportError) as error:
        raise ValueError(
            f"`--metric_name` must be a metric of the Hub, or a folder or file with one, got {metric_name!r}: {error}"
        ) from error
    options = metric_options(module, problem_type, num_labels)

    def measure(predictions: np.ndarray, references: np.ndarray) -> Scores:
        scores = module.compute(predictions=predictions, references=references, **options)
        return scores | ({"combined_score": float(np.mean(list(scores.values())))} if len(scores) > 1 else {})

    return measure


def make_compute_metrics(
    problem_type: str = SINGLE_LABEL, metric_name: str | None = None, num_labels: int = 2
) -> Callable[..., Scores]:
    """
    The `compute_metrics` of a Trainer whose model gives logits of shape `(samples, num_labels)`: it takes the class of the
    largest logit, every label whose logit is above 0, or the logits as they are in a regression. It also serves
    `--batch_eval_metrics`, where Trainer hands over one batch at a time.

    Returns:
        A function that gives the scores of [`class_scores`], [`label_scores`], or [`number_scores`] and [`correlations`]; with
        `metric_name`, what [`named_measure`] gives.

    Raises:
        `ValueError`: a kind of problem that does not exist; a metric that cannot be loaded or does not work for this kind. The
            metric is tried on made-up predictions, so that it does not fail after an epoch.
    """
    measures: dict[str, Measure] = {SINGLE_LABEL: class_scores, MULTI_LABEL: label_scores, REGRESSION: number_scores}
    if problem_type not in measures:
        raise ValueError(f"`problem_type` must be one of {', '.join(map(repr, measures))}, got {problem_type!r}.")
    measure = measures[problem_type]
    if metric_name is not None:
        measure = named_measure(metric_name, problem_type, num_labels)
    elif problem_type == REGRESSION and num_labels == 1:
        measure = lambda *both: number_scores(*both) | correlations(*both)  # noqa: E731
    batches: list[tuple[np.ndarray, np.ndarray]] = []

    def compute_metrics(prediction: EvalPrediction, compute_result: bool = True) -> Scores:
        given: Any = prediction.predictions
        labels: Any = prediction.label_ids
        logits = to_array(given[0] if isinstance(given, tuple | list) else given)
        predictions, references = decide(logits, problem_type), to_array(labels)
        if problem_type == REGRESSION:
            predictions, references = predictions.reshape(-1), references.reshape(-1)
        else:
            references = references.astype(np.int64)
        batches.append((predictions, references))
        if not compute_result:
            return {}
        predictions, references = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        batches.clear()
        return measure(predictions, references)

    if metric_name is not None:
        try:
            compute_metrics(made_up_predictions(problem_type, num_labels))
        except Exception as error:  # another's program may raise anything
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
    if "average" not in inspect.signature(module._compute).parameters:
        return {}
    if problem_type == MULTI_LABEL:
        return {"average": "micro"}
    return {"average": "macro"} if problem_type == SINGLE_LABEL and num_labels > 2 else {}


def made_up_predictions(problem_type: str, num_labels: int) -> EvalPrediction:
    """Right predictions for a few samples of every class."""
    logits = np.tile(2.0 * np.eye(num_labels, dtype=np.float32) - 1.0, (2, 1))
    references = logits if problem_type == REGRESSION else (logits > 0).astype(np.int64)
    return EvalPrediction(logits, logits.argmax(-1) if problem_type == SINGLE_LABEL else references)
