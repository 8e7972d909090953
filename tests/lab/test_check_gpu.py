# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The checks of a GPU, tried on a CPU: that they run, that they find what is wrong, and that they keep to their time."""

import importlib
import json

import pytest
import torch


@pytest.fixture
def main():
    return importlib.import_module("check_gpu").main


@pytest.fixture
def lab():
    return lambda name: importlib.import_module(f"hyperset_lab.gpu_check.{name}")


def test_every_part_runs(main, tmp_path, capsys):
    parts = ["numbers", "heads", "training", "sizes", "programs"]
    report = main(["--device", "cpu", "--tiny", "--parts", *parts, "--output_dir", str(tmp_path)])
    assert json.loads((tmp_path / "check_gpu.json").read_text()) == json.loads(json.dumps(report))
    assert (tmp_path / "check_gpu.md").read_text() in capsys.readouterr().out
    assert "says nothing of a GPU" in report["about"]
    assert [row for row in report["rows"] if row["result"] != "passed"] == []
    assert {row["part"] for row in report["rows"]} == set(parts)


@pytest.mark.slow
def test_times_are_those_of_the_benchmark(main):
    (row,) = main(["--device", "cpu", "--tiny", "--parts", "times"])["rows"]
    assert row["result"] == "passed" and row["measured"]["hyperset training, ms"] > 0
    assert row["measured"]["transformer forward, ratio"] == 1


def test_wrong_numbers_are_found(lab, monkeypatch):
    numbers = lab("numbers")
    check = numbers.checks(torch.device("cpu"), is_tiny=True)[0]
    assert lab("report").run(check).result == "passed"
    fused = numbers.bi_softmax_fused
    monkeypatch.setattr(
        numbers, "bi_softmax_fused", lambda *arguments, **keywords: 1.001 * fused(*arguments, **keywords)
    )
    row = lab("report").run(check)
    assert row.result == "FAILED" and row.measured["output"] == pytest.approx(1e-3, rel=0.01)


def test_an_error_and_nan_fail_and_what_has_no_time_is_left_out(lab):
    report = lab("report")

    def broken():
        raise RuntimeError("no | such kernel")

    checks = [
        report.Check("numbers", "an error", 0, broken),
        report.Check("numbers", "not a number", 0, lambda: report.Found({"error": float("nan")}, {"error": 1.0})),
        report.Check(
            "numbers", "good", 0, lambda: report.Found({"error": 0.5, "other": float("inf")}, {"error": 1.0})
        ),
        report.Check("times", "long", 61, lambda: report.Found()),
        report.Check("times", "short", 1, lambda: report.Found()),
    ]
    rows = report.run_all(checks, budget_seconds=60, say=lambda text: None)
    assert [row.result for row in rows] == ["FAILED", "FAILED", "passed", "left out", "passed"]
    table = report.table_of(rows)
    assert "RuntimeError: no / such kernel" in table and "error 0.5 (≤ 1), other inf" in table
    assert "2 passed, 2 failed, 1 left out for want of time" in table
    json.dumps(report.as_json(rows), allow_nan=False)


def test_all_cases_of_a_gpu_are_made(lab):
    """What only a GPU runs is at least built: names differ, and the most important part has most of the checks."""
    device = torch.device("cuda")
    checks = lab("numbers").checks(device, False) + lab("heads").checks(device, False)
    checks += lab("times").checks(device, False) + lab("numbers").size_checks(device, False)
    checks += lab("programs").checks(device, False)
    names = [f"{check.part}: {check.name}" for check in checks]
    assert len(set(names)) == len(names)
    assert {check.part for check in checks} == set(importlib.import_module("check_gpu").PARTS) - {"tiles"}


@pytest.mark.slow
def test_kernels_fit_the_smallest_gpus(main):
    """Compiled for a GPU that is not here: no memory for registers, and no more shared memory than any GPU has."""
    pytest.importorskip("triton", reason="Triton is not installed")
    (row,) = main(["--parts", "tiles", "--tiny", "--capability", "86"])["rows"]
    assert row["result"] == "passed", row
    assert row["measured"]["registers"] > 0 and row["measured"]["shared memory, KiB"] > 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--device", "cpu"], "--tiny"),
        (["--device", "cpu", "--tiny", "--parts", "speed"], "speed"),
        (["--device", "cpu", "--tiny", "--budget_minutes", "0"], "budget_minutes"),
        (["--device", "cpu", "--tiny", "--capability", "80"], "tiles"),
        (["--device", "mps", "--tiny"], "mps"),
    ],
)
def test_bad_flags(main, flags, message):
    with pytest.raises(ValueError, match=message):
        main(flags)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="nothing was checked"):
            main([])
