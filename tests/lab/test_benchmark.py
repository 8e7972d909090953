# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The benchmark runs every line of its presets, and its table is what was measured. How fast that is, the command says."""

import importlib
import json
import multiprocessing
import statistics

import pytest
import torch

from modeling_hyperset import HyperSETForImageClassification
from modeling_hyperset.presets import preset_config


@pytest.fixture
def main(monkeypatch):
    return importlib.import_module("benchmark").main


TINY = ["--device", "cpu", "--rounds", "2", "--batch_size", "1"]


@pytest.mark.parametrize(
    ("preset", "flags"),
    [
        pytest.param("table16", ["--num_tokens", "5"], marks=pytest.mark.slow),
        pytest.param("text", ["--num_tokens", "6"], marks=pytest.mark.slow),
        pytest.param("attention", ["--num_tokens", "9"], marks=pytest.mark.slow),
    ],
)
def test_every_line_of_a_preset_is_measured(main, preset, flags, tmp_path, capsys):
    if preset != "attention":
        flags = [*flags, "--num_iterations", "1"]
    report = main(["--preset", preset, *TINY, *flags, "--output_dir", str(tmp_path)])
    assert json.loads((tmp_path / "benchmark.json").read_text()) == json.loads(json.dumps(report))
    printed = capsys.readouterr().out
    assert (tmp_path / "benchmark.md").read_text() == printed
    names = [row["model"] for row in report["rows"]]
    assert {"table16": "vit", "text": "albert", "attention": "bi-softmax-eager"}[preset] in names
    for row, record in zip(report["rows"], report["measurements"], strict=True):
        assert f"| {row['model']} |" in printed
        assert len(record["forward_seconds"]) == len(record["training_seconds"]) == 2
        for label in ("forward", "training"):
            first = report["measurements"][0][f"{label}_seconds"]
            ratios = [mine / theirs for mine, theirs in zip(record[f"{label}_seconds"], first, strict=True)]
            assert row[label][1] == pytest.approx(statistics.median(ratios))


@pytest.mark.slow
def test_a_sweep_compares_with_the_first_setting(main, capsys):
    flags = [
        "--models",
        "transformer",
        "hyperset",
        "--num_tokens",
        "5",
        "--num_iterations",
        "1",
        "2",
        "--forward_only",
    ]
    report = main([*TINY, *flags])
    assert [row["num_iterations"] for row in report["rows"]] == [1, 1, 2, 2]
    assert report["rows"][1]["forward_scaling"] == [1.0, 1.0, 1.0]
    flops = [row["flops"] for row in report["rows"]]
    assert flops[2] > flops[0] and flops[3] > flops[1]
    assert "first line's" in capsys.readouterr().out


@pytest.mark.slow
def test_neighbours_are_measured_beside(main, capsys):
    report = main(["--preset", "attention", *TINY, "--num_tokens", "9", "--forward_only", "--neighbour", "1"])
    for row, record in zip(report["rows"], report["measurements"], strict=True):
        alone, beside = record["forward_seconds"], record["forward beside others_seconds"]
        assert len(alone) == len(beside) == 2 and alone != beside
        assert row["forward beside others"][1] > 0
    assert "forward / sdpa-self-attention beside others" in capsys.readouterr().out
    assert not multiprocessing.active_children()


def test_memory_of_graphs_is_that_of_their_pools():
    """What the allocator holds for everyone is not the graphs'."""
    graphs = importlib.import_module("hyperset_lab.benchmarking.graphs")
    segments = [(2**20, (0, 0)), (3 * 2**20, (0, 1)), (5 * 2**20, [1, 0])]
    snapshot = [{"total_size": size, "segment_pool_id": pool} for size, pool in segments]
    assert graphs.pool_bytes(snapshot) == 8 * 2**20


def test_flops_and_parameters_are_the_papers(main):
    """Table 16: 6.81 GFLOPs beside 12.27 of the Transformer; reading out one token in the last iteration saves the rest."""
    models = importlib.import_module("hyperset_lab.benchmarking.models")
    setting, gigaflops, parameters = models.Setting(1, 257, 12), {}, {}
    with torch.device("meta"):
        images = {"pixel_values": torch.empty(1, 3, 224, 224)}
        for name in ("transformer", "hyperset", "hyperset-whole", "hyperset-eager"):
            model = models.make_model("image", name, setting)
            gigaflops[name], parameters[name] = models.count_flops(model, images) / 1e9, model.num_parameters()
    assert parameters["hyperset"] == 1_551_808 and parameters["transformer"] == 2_383_336
    assert gigaflops["transformer"] == pytest.approx(12.27, rel=5e-3)
    assert gigaflops["hyperset-whole"] == pytest.approx(6.81, rel=5e-3)
    assert gigaflops["hyperset-eager"] == pytest.approx(gigaflops["hyperset-whole"])
    assert gigaflops["hyperset"] / gigaflops["transformer"] == pytest.approx(0.52, abs=5e-3)


def test_the_papers_other_counts_follow_from_ours(main):
    """
    Tables 16 and 17 count with `calflops`. It sees the calls of the authors' program: a third product with C in an iteration of
    CRATE, and of the Energy Transformer the energies alone, because its gradient comes from autograd. It counts one operation
    for each value of a softmax and of GELU or ReLU, five for one of a LayerNorm, and none for an RMSNorm, a logsumexp, or the
    Energy Transformer's own norm.
    """
    models = importlib.import_module("hyperset_lab.benchmarking.models")
    n, d, heads, patch, steps = 257, 384, 6, 588, 12
    product, pairs, tokens = 2 * n * d * d, 2 * n * n * d, n * d
    softmax, norm = heads * n * n, 5 * tokens
    embedding_norms = 5 * (n - 1) * (patch + d)

    def ours(name: str, **fields) -> int:
        with torch.device("meta"):
            config = preset_config(name, prune_last_iteration=False, **fields)
            model = HyperSETForImageClassification._from_config(config, attn_implementation="eager")
            return models.count_flops(model, {"pixel_values": torch.empty(1, 3, 224, 224)})

    crate = steps * (product + softmax + 2 * norm)
    energy_transformer = steps * (4 * tokens - (2 * pairs + 2 * product + 4 * product))
    hyperset = steps * (2 * softmax + tokens) + embedding_norms
    learned = steps * tokens  # GELU of the step sizes
    extra = {
        "imagenet-small-transformer": ([steps * (softmax + 2 * norm + 4 * tokens)], [12.27]),
        "imagenet-small-crate": ([crate], [5.90]),
        "imagenet-small-crate-t": ([crate], [5.90]),
        "imagenet-small-energy-transformer": ([energy_transformer], [6.19]),
    }
    # Table 17: as it is, Pre-Norm, LayerNorm, both. Norms have no products, so ours are equal.
    norms = [0, 0, 4 * steps * norm, 2 * steps * norm]
    extra["imagenet-small"] = ([hyperset + learned + each for each in norms], [6.81, 6.81, 6.84, 6.82])
    extra["imagenet-small-fixed-step"] = ([hyperset + each for each in norms], [4.98, 4.98, 5.01, 5.00])
    for name, (more, paper) in extra.items():
        count = ours(name)
        assert [round((count + each) / 1e9, 2) for each in more] == paper, name
    assert ours("imagenet-small-fixed-step", pre_norm=True, sublayer_norm_type="layernorm") == count


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "bert"], "bert"),
        (["--num_tokens", "12"], "num_tokens"),
        (["--batch_size", "0"], "batch_size"),
        (["--rounds", "0"], "rounds"),
        (["--neighbour", "-1"], "neighbour"),
        (["--compile_mode", "reduce-overhead"], "--compile"),
        (["--compile", "blocks", "--preset", "attention"], "--compile blocks"),
    ],
)
def test_bad_flags(main, flags, message):
    with pytest.raises(ValueError, match=message):
        main(["--device", "cpu", *flags])
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="cuda"):
            main(["--device", "cuda"])
