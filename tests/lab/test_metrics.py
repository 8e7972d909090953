# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The scripts' metrics: against their definitions, without the network, batch by batch, and the ones that a user brings."""

import importlib
import math
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transformers import EvalPrediction


SINGLE_LABEL, MULTI_LABEL, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
METRIC = """
import datasets
import evaluate
from sklearn.metrics import precision_score


class Hits(evaluate.Metric):
    def _info(self):
        value = datasets.Value("int32")
        value = datasets.Sequence(value) if self.config_name == "multilabel" else value
        features = datasets.Features({"predictions": value, "references": value})
        return evaluate.MetricInfo(description="Precision.", citation="", features=features)

    def _compute(self, predictions, references, average="binary"):
        return {"hits": float(precision_score(references, predictions, average=average)), "one": 1.0}
"""


@pytest.fixture(scope="module")
def metrics():
    yield importlib.import_module("hyperset_lab.metrics")


def f1(hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> float:
    """2 · hits / (predicted + actual), the definition of F1 in counts."""
    total = predicted + actual
    return float(np.mean(np.where(total > 0, 2 * hits / np.maximum(total, 1), 0.0)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 30))
def test_classes_against_the_definitions(metrics, seed, num_labels, samples):
    rng = np.random.default_rng(seed)
    logits, labels = rng.standard_normal((samples, num_labels)), rng.integers(0, num_labels, samples)
    scores = metrics.make_compute_metrics(num_labels=num_labels)(EvalPrediction(logits, labels))
    predicted = logits.argmax(-1)
    classes = np.union1d(predicted, labels)
    hits, predictions, actual = (
        np.array([np.sum(mask & (where == label)) for label in classes])
        for mask, where in ((predicted == labels, labels), (True, predicted), (True, labels))
    )
    expected = {"accuracy": np.mean(predicted == labels), "f1_macro": f1(hits, predictions, actual)}
    assert scores == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 30))
def test_several_labels_against_the_definitions(metrics, seed, num_labels, samples):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((samples, num_labels))
    labels = rng.integers(0, 2, (samples, num_labels))
    compute = metrics.make_compute_metrics(MULTI_LABEL, num_labels=num_labels)
    scores = compute(EvalPrediction(logits, labels.astype(np.float32)))
    predicted = logits > 0
    hits, predictions, actual = ((rows == 1).sum(0) for rows in (predicted & (labels == 1), predicted, labels))
    assert scores == pytest.approx(
        {
            "accuracy": np.mean((predicted == labels).all(-1)),
            "f1": f1(hits.sum(keepdims=True), predictions.sum(keepdims=True), actual.sum(keepdims=True)),
            "f1_macro": f1(hits, predictions, actual),
        }
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_numbers_against_the_definitions(metrics, seed, samples):
    rng = np.random.default_rng(seed)
    predictions, references = rng.standard_normal((2, samples)).astype(np.float32)
    scores = metrics.make_compute_metrics(REGRESSION, num_labels=1)(EvalPrediction(predictions[:, None], references))

    def ranks(values):
        return values.argsort().argsort()

    assert scores == pytest.approx(
        {
            "mse": np.mean((predictions - references) ** 2),
            "pearsonr": np.corrcoef(predictions, references)[0, 1],
            "spearmanr": np.corrcoef(ranks(predictions), ranks(references))[0, 1],
        },
        rel=1e-3,
        abs=1e-3,
    )


def test_correlation_of_a_constant_is_no_number(metrics):
    compute = metrics.make_compute_metrics(REGRESSION, num_labels=1)
    for predictions, references in (([[1.0], [1.0]], [0.0, 1.0]), ([[1.0], [0.0]], [2.0, 2.0]), ([[1.0]], [2.0])):
        scores = compute(EvalPrediction(np.array(predictions), np.array(references)))
        assert math.isnan(scores["pearsonr"]) and math.isnan(scores["spearmanr"]) and math.isfinite(scores["mse"])
    scores = metrics.make_compute_metrics(REGRESSION, num_labels=2)(EvalPrediction(np.eye(2), np.zeros((2, 2))))
    assert scores == {"mse": 0.5}


@pytest.mark.parametrize(("problem_type", "num_labels"), [(SINGLE_LABEL, 3), (MULTI_LABEL, 3), (REGRESSION, 1)])
def test_batch_by_batch_is_the_whole(metrics, problem_type, num_labels):
    """As Trainer calls it with `--batch_eval_metrics`: tensors, of the training dtype, and the result at the end."""
    torch.manual_seed(0)
    logits = torch.randn(11, num_labels).bfloat16()
    labels = {
        SINGLE_LABEL: torch.arange(11) % num_labels,
        MULTI_LABEL: torch.randint(0, 2, (11, num_labels)).float(),
        REGRESSION: torch.randn(11),
    }[problem_type]
    compute = metrics.make_compute_metrics(problem_type, num_labels=num_labels)
    whole = compute(EvalPrediction(logits.float().numpy(), labels.numpy()))
    for _ in range(2):  # nothing is left over from an evaluation
        assert compute(EvalPrediction(logits[:6], labels[:6]), compute_result=False) == {}
        parts = compute(EvalPrediction((logits[6:], "hidden states"), labels[6:]), compute_result=True)
        assert parts == pytest.approx(whole)


def test_no_network_is_asked(metrics, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a metric asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(metrics.evaluate, "load", refuse)
    for problem_type in (SINGLE_LABEL, MULTI_LABEL, REGRESSION):
        compute = metrics.make_compute_metrics(problem_type, num_labels=2)
        assert compute(metrics.made_up_predictions(problem_type, 2))


@pytest.fixture
def folder(tmp_path):
    """A metric of someone's own, in a folder."""
    (tmp_path / "hits").mkdir()
    (tmp_path / "hits" / "hits.py").write_text(METRIC)
    return str(tmp_path / "hits")


def test_a_metric_of_ones_own(metrics, folder):
    labels = np.array([0, 1, 2, 2])
    compute = metrics.make_compute_metrics(metric_name=folder, num_labels=3)
    scores = compute(EvalPrediction(np.eye(3)[[0, 1, 2, 0]], labels))
    assert scores == pytest.approx({"hits": (0.5 + 1 + 1) / 3, "one": 1.0, "combined_score": (2.5 / 3 + 1) / 2})
    compute = metrics.make_compute_metrics(MULTI_LABEL, metric_name=folder, num_labels=2)
    scores = compute(EvalPrediction(np.array([[1.0, 1.0], [-1.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 1.0]])))
    assert scores["hits"] == pytest.approx(2 / 3)


def test_mistakes(metrics, folder):
    with pytest.raises(ValueError, match=r"metric_name.*no-such-metric"):
        metrics.make_compute_metrics(metric_name="no-such-metric")
    with pytest.raises(ValueError, match="problem_type"):
        metrics.make_compute_metrics("ranking")
    Path(folder, "hits.py").write_text(METRIC.replace("precision_score(", "no_such_function("))
    with pytest.raises(ValueError, match=r"hits.*does not work for a single_label_classification.*no_such_function"):
        metrics.make_compute_metrics(metric_name=folder)
