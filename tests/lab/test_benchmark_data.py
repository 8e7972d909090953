# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The benchmark of reading images reports what it measured. How fast that is, the command says."""

import importlib
import json

import pytest


TINY = ["--device", "cpu", "--num_workers", "0", "--batch_size", "2", "--steps", "1", "--rounds", "2"]
MODEL = '{"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 1, "step_size_time_dim": 4}'


@pytest.fixture
def main():
    return importlib.import_module("benchmark_data").main


def test_both_loops_are_measured_in_turn(main, tmp_path, capsys):
    report = main([*TINY, "--config_overrides", MODEL, "--output_dir", str(tmp_path)])
    assert json.loads((tmp_path / "samples.json").read_text()) == json.loads(json.dumps(report))
    assert (tmp_path / "samples.md").read_text() == capsys.readouterr().out  # and nothing of the training
    (record,), (row,) = report["measurements"], report["rows"]
    assert len(record["alone"]) == len(record["of_script"]) == 3 and min(record["alone"]) > 0
    assert row["first_epoch"] == pytest.approx(2 / record["of_script"][0])
    assert row["lost"] == pytest.approx(sum(1 - record["alone"][at] / record["of_script"][at] for at in (1, 2)) / 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", "0"], "`--steps` must be at least 1"),
        (["--num_workers", "-1"], "`--num_workers` must not be negative"),
        (["--device", "tpu"], "`--device` must be cpu or cuda"),
        (["--no_such_flag", "1"], "no_such_flag"),
        (["--dataset_name", "digits", "--batch_size", "1000"], "3,000 images are needed"),
    ],
)
def test_bad_flags(main, flags, message):
    with pytest.raises(ValueError, match=message):
        main([*TINY, *flags])
