# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The benchmark of generation measures every line, and its table is what was measured. How fast that is, the command says."""

import importlib
import json

import pytest


TINY = ["--device", "cpu", "--hidden_size", "8", "--head_dim", "4", "--num_iterations", "2", "--vocab_size", "9"]
TINY += ["--rounds", "2", "--steps", "2", "--num_tokens", "4", "16"]


@pytest.fixture
def main():
    return importlib.import_module("benchmark_generation").main


def test_every_line_is_measured(main, tmp_path, capsys):
    report = main([*TINY, "--output_dir", str(tmp_path)])
    assert json.loads((tmp_path / "generation.json").read_text()) == json.loads(json.dumps(report))
    assert (tmp_path / "generation.md").read_text() == capsys.readouterr().out
    rows = {(row["model"], row["num_tokens"]): row for row in report["rows"]}
    assert len(rows) == 8 and all(len(record["seconds"]) == 2 for record in report["measurements"])
    for length in (4, 16):
        assert rows["gpt2", length]["speed"] == 1.0
        sizes = {name: rows[name, length]["cache_bytes"] for name in ("gpt2", "transformer", "causal_softmax")}
        assert sizes == {"gpt2": 128 * length, "transformer": 128 * length, "causal_softmax": 64 * length}
        assert rows["causal_linear", length]["cache_bytes"] == 2 * 2 * 4 * 4 * 4


@pytest.mark.parametrize(
    ("flags", "name"),
    [(["--head_dim", "3"], "--head_dim"), (["--num_tokens", "0"], "--num_tokens"), (["--rounds", "0"], "rounds")],
)
def test_bad_flags(main, flags, name):
    with pytest.raises(ValueError, match=name):
        main([*TINY, *flags])
