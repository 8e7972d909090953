# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""`analyze` measures what the models' own outputs say, on any of them, in batches or at once."""

import csv
import importlib
import itertools
import math

import peft
import pytest
import torch
from torch.nn import functional as F
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from modeling_hyperset.analysis import (
    QUANTITIES,
    Analysis,
    accuracy_at_depths,
    analyze,
    analyze_depths,
    average_angles,
    by_depth,
    effective_rank,
    subspace_tokens,
    trajectories,
)
from support.builders import CASES, HEADS, make_inputs, make_model


def joined(batches: list[dict]) -> dict:
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def wrong_and_right(model, batch: dict) -> dict:
    """`batch` with labels of which some are what `model` answers after two iterations."""
    batch = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        answers = model(**batch, num_iterations=2).logits.argmax(dim=-1)
    even = torch.arange(len(answers)).view(-1, *[1] * (answers.ndim - 1)) % 2 == 0
    labels = answers.where(even, (answers + 1) % model.config.num_labels)
    if labels.ndim > 1:
        labels[:, 3:5] = -100
        labels[1, 7] = answers[1, 7]
    return batch | {"labels": labels}


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_energies_and_geometry_are_those_of_the_outputs(case, num_layers):
    model = make_model(case, num_hidden_layers=num_layers)
    batches = [make_inputs(case, batch_size=size) for size in (3, 2)]
    analysis = analyze(model, batches, num_iterations=4, progress=False)
    with torch.no_grad():
        outputs = model(**joined(batches), num_iterations=4, output_energies=True, output_hidden_states=True)
    energies = torch.stack(outputs.energies).double()
    for index, name in enumerate(("attention_energy", "feedforward_energy")):
        torch.testing.assert_close(analysis.mean(name), energies[..., index].mean(dim=1), rtol=1e-5, atol=0)
        torch.testing.assert_close(analysis.std(name), energies[..., index].std(1, correction=0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(analysis.mean("total_energy"), energies.sum(dim=-1).mean(dim=1), rtol=1e-5, atol=0)
    layers = [layer for layer in model.base_model.layers for _ in range(4)]
    with torch.no_grad():
        tokens = [subspace_tokens(layer, x) for layer, x in zip(layers, outputs.hidden_states[1:], strict=True)]
    ranks = torch.stack([effective_rank(z) for z in tokens]).double()
    torch.testing.assert_close(analysis.mean("effective_rank"), ranks.mean(dim=1), rtol=1e-5, atol=0)
    torch.testing.assert_close(analysis.std("effective_rank"), ranks.std(1, correction=0), rtol=1e-3, atol=1e-4)
    for index, name in enumerate(("angle_of_mean_cosine", "mean_angle")):
        angles = torch.stack([average_angles(z)[index] for z in tokens]).double()
        torch.testing.assert_close(analysis.mean(name), angles.mean(dim=1), rtol=1e-5, atol=0)
    assert analysis.num_samples == 5 and analysis.absent["accuracy"]
    assert analysis.statistics["mean_angle"]["count"] == 5


@pytest.mark.parametrize("case", [case for case in HEADS if "masked" not in case])
def test_accuracy_is_that_of_a_model_so_deep(case):
    """For one layer at every depth; the labels do not reach the model's loss."""
    model = make_model(case)
    batch, count = wrong_and_right(model, make_inputs(case, batch_size=6)), 6 * 14
    if case == "causal-lm":  # a token is predicted by the one before it
        batch["labels"][:, -1], count = -100, 6 * 13
        moved = {"labels": F.pad(batch["labels"][:, :-1], (1, 0), value=-100)}
    else:
        moved = {}
    analysis = analyze(model, [batch | moved], num_iterations=5)
    labels, inputs = batch["labels"], {name: value for name, value in batch.items() if name != "labels"}
    by_tokens = labels.ndim > 1
    for depth in range(1, 6):
        with torch.no_grad():
            right = model(**inputs, num_iterations=depth).logits.argmax(dim=-1) == labels
        if by_tokens:
            assert analysis.statistics["token_accuracy"]["mean"][depth - 1] == pytest.approx(
                right[labels != -100].double().mean().item()
            )
            right = (right | (labels == -100)).all(dim=-1)
        assert analysis.statistics["accuracy"]["mean"][depth - 1] == pytest.approx(right.double().mean().item())
    assert ("token_accuracy" in analysis.statistics) == by_tokens
    assert analysis.statistics["accuracy"]["mean"][1] == 0.5  # not all alike
    if by_tokens:
        assert analysis.statistics["token_accuracy"]["count"] == count
    depths = analyze_depths(model, [batch | moved], 5)
    assert depths == by_depth(analysis) and depths["accuracy"] == analysis.statistics["accuracy"]["mean"]


def test_depths_of_several_layers():
    model = make_model("image-classification", num_hidden_layers=2)
    batch = wrong_and_right(model, make_inputs("image-classification", batch_size=6))
    depths = analyze_depths(model, batch)
    assert depths["num_iterations"] == [1, 2, 3, 4, 5, 6] and depths["trained_iterations"] == 3
    for depth, accuracy, energy in zip(
        depths["num_iterations"], depths["accuracy"], depths["total_energy"], strict=True
    ):
        with torch.no_grad():
            outputs = model(batch["pixel_values"], num_iterations=depth, output_energies=True)
        assert accuracy == pytest.approx((outputs.logits.argmax(-1) == batch["labels"]).double().mean().item())
        assert energy == pytest.approx(outputs.energies[-1].sum(dim=-1).mean().item(), rel=1e-5)
    with pytest.raises(ValueError, match="one layer"):
        by_depth(analyze(model, batch))


@pytest.mark.parametrize("condition", ["current", "initial"])
def test_step_sizes(condition):
    model = make_model("images", step_size_condition=condition, step_size_per_layer=True, num_hidden_layers=2)
    batch, seen = make_inputs("images", batch_size=4), []
    analysis = analyze(model, batch)
    with torch.no_grad():
        embeddings = model.time_embedding(3, torch.device("cpu"), torch.float32)
        states = model(**batch, output_hidden_states=True).hidden_states
        for step in range(6):
            step_size = model.step_sizes[step // 3]
            seen.append(torch.stack(step_size(embeddings[step % 3], states[step], states[0])))
    seen = torch.stack(seen).double()  # (steps, α and γ, batch_size, seq_len, hidden_size)
    for index, side in enumerate(("attention", "feedforward")):
        sizes = seen[:, index].flatten(2)
        expected = (sizes.mean(-1), sizes.std(-1, correction=0), (sizes > 0).double().mean(-1))
        for kind, values in zip(("", "_deviation", "_positive"), expected, strict=True):
            name = f"{side}_step_size{kind}"
            torch.testing.assert_close(analysis.mean(name), values.mean(dim=1), rtol=1e-4, atol=1e-6)


def test_adaptive_depth_is_left_out():
    """Every sample is measured after every iteration, whatever the config says."""
    model, batch = make_model("image-classification"), make_inputs("image-classification", labels=True)
    found = []
    for model.config.energy_tolerance in (None, 0.5):
        found.append((analyze(model, batch), trajectories(model, batch).to_dict()))
    assert found[0] == found[1] and model.config.energy_tolerance == 0.5


def test_fixed_step_sizes():
    model = make_model("images", step_size_type="fixed", step_size_attention=0.3, step_size_feedforward=-0.1)
    analysis = analyze(model, make_inputs("images"), quantities="step_sizes")
    assert analysis.statistics.keys() == set(QUANTITIES["step_sizes"])
    assert analysis.mean("attention_step_size").tolist() == pytest.approx([0.3] * 3)
    assert analysis.mean("attention_step_size_deviation").tolist() == pytest.approx([0] * 3, abs=1e-7)
    assert analysis.mean("feedforward_step_size_positive").tolist() == [0] * 3


@pytest.mark.parametrize("case", ["sequence-classification", "token-classification"])
def test_a_padded_batch_is_its_rows_alone(case):
    model = make_model(case)
    ids, lengths = torch.randint(1, 19, (4, 9)), (9, 5, 2, 1)
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    labels = torch.arange(4) if case == "sequence-classification" else (ids % 5).masked_fill(~mask, -100)
    padded = analyze(model, {"input_ids": ids, "attention_mask": mask.long(), "labels": labels})
    rows = [
        {
            "input_ids": ids[row, None, :length],
            "labels": labels[row, None] if labels.ndim == 1 else labels[row, None, :length],
        }
        for row, length in enumerate(lengths)
    ]
    alone = analyze(model, rows[:3], progress=False)
    without_pairs = {"energies", "rank", "step_sizes", "accuracy"}
    single = analyze(model, rows[3], quantities=without_pairs)
    for name, values in padded.statistics.items():
        expected, count = alone.mean(name), alone.statistics[name]["count"]
        if name in single.statistics:  # the row of one token has no angle
            more = single.statistics[name]["count"]
            expected = (expected * count + single.mean(name) * more) / (count + more)
            count += more
        assert values["count"] == count
        torch.testing.assert_close(padded.mean(name), expected, rtol=1e-4, atol=1e-5)
    assert padded.statistics["mean_angle"]["count"] == 3


@pytest.mark.parametrize(
    ("layer_type", "absent"),
    [
        ("transformer", {"energies", "rank", "angles", "step_sizes"}),
        ("energy_transformer", {"rank", "angles", "step_sizes"}),
        ("shared_qkv_transformer", {"energies", "step_sizes"}),
        ("crate", {"energies", "step_sizes"}),
        ("crate_t", {"energies", "step_sizes"}),
    ],
)
def test_baselines_have_what_is_defined(layer_type, absent):
    model = make_model("image-classification", layer_type=layer_type)
    batch = make_inputs("image-classification", labels=True)
    analysis = analyze(model, batch)
    assert analysis.absent.keys() == absent and all(analysis.absent.values())
    assert analysis.statistics.keys() == {
        name for quantity, names in QUANTITIES.items() if quantity not in absent for name in names
    } - {"token_accuracy"}
    assert "accuracy" in analysis.table() and ("E_ATTN" in analysis.table()) == ("energies" not in absent)
    for quantity in absent:
        with pytest.raises(ValueError, match=f"{quantity}.*does not exist here: "):
            analyze(model, batch, quantities=[quantity])
    if "rank" in absent:
        with pytest.raises(ValueError, match=r"effective_rank.*different matrices for queries and keys"):
            analysis.mean("effective_rank")
        with pytest.raises(ValueError, match="`layer` must project"):
            trajectories(model, batch)
    else:
        assert len(trajectories(model, batch).anchors) == 0


def test_the_model_is_as_it_was():
    model = make_model("image-classification", num_hidden_layers=2).train()
    model.base_model.layers[0].eval()  # as somebody may have frozen it
    batch = make_inputs("image-classification", labels=True)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    state, training = torch.get_rng_state(), [module.training for module in model.modules()]
    analyze(model, batch)
    trajectories(model, batch)
    with pytest.raises(ValueError, match="pixel_values"):
        analyze(model, {"pixel_values": torch.zeros(1, 3, 5, 5)})
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == training
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert model.config.prune_last_iteration and all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Stream(torch.utils.data.IterableDataset):
    """Data whose length is not known."""

    def __init__(self, batches: list[dict]):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def test_details_are_measured_on_batches_spread_over_the_data():
    model = make_model("images")
    batches = [make_inputs("images", batch_size=3) for _ in range(10)]
    analysis = analyze(model, batches, detail_samples=9, progress=False)
    assert analysis.num_samples == analysis.statistics["total_energy"]["count"] == 30
    assert analysis.statistics["effective_rank"]["count"] == 9
    some = analyze(model, [batches[index] for index in (0, 4, 7)], detail_samples=None, progress=False)
    for name in ("effective_rank", "mean_angle", "attention_step_size"):
        assert analysis.statistics[name] == some.statistics[name]
    stream = torch.utils.data.DataLoader(Stream(batches), batch_size=None)
    for data, count in ((batches, None), (iter(batches), 9), (stream, 9)):  # without a length it is measured whole
        whole = analyze(model, data, detail_samples=count, progress=False)
        assert whole.statistics["effective_rank"]["count"] == 30


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtypes(dtype):
    """Energies are sums in float32 at least, whatever the model's dtype."""
    model = make_model("images").to(dtype)
    batch = {"pixel_values": make_inputs("images")["pixel_values"].to(dtype)}
    analysis = analyze(model, batch)
    with torch.no_grad():
        energies = torch.stack(model(**batch, output_energies=True).energies).double()
    torch.testing.assert_close(analysis.mean("attention_energy"), energies[..., 0].mean(dim=1), rtol=1e-5, atol=0)
    assert torch.isfinite(analysis.mean("mean_angle")).all()


def test_what_diverges_is_shown():
    model = make_model("images")
    with torch.no_grad():
        model.layers[0].feedforward.directions.weight[0] = math.nan
    analysis = analyze(model, make_inputs("images"))
    assert analysis.statistics["total_energy"]["mean"] == [None] * 3
    assert torch.isnan(analysis.mean("effective_rank")).all() and torch.isnan(analysis.mean("mean_angle")).all()
    assert torch.isnan(analysis.mean("total_energy")).all() and "nan" in analysis.table()


@pytest.mark.parametrize("num_layers", [1, 2])
def test_saved_and_printed(num_layers, tmp_path):
    model = make_model("token-classification", num_hidden_layers=num_layers)
    analysis = analyze(model, make_inputs("token-classification", labels=True), num_iterations=4)
    analysis.save(tmp_path / "a.json")
    assert Analysis.load(tmp_path / "a.json") == analysis
    analysis.save(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    steps = 4 * num_layers
    assert len(rows) == steps * (len(analysis.statistics) - 4 + 4 * 4)
    for row in rows:
        step = (int(row["layer"]) - 1) * 4 + int(row["iteration"]) - 1
        value = analysis.mean(row["quantity"])[step]
        value = value[int(row["head"]) - 1] if row["head"] else value
        assert float(row["mean"]) == value
    lines = analysis.table().splitlines()
    assert len(lines) == 1 + steps and f"{analysis.mean('total_energy')[-1]:.2f}" in lines[-1]
    assert ("layer" in lines[0]) == (num_layers > 1)
    with pytest.raises(ValueError, match=r"`path` must end in \.json or \.csv"):
        analysis.save(tmp_path / "a.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json"]


def test_bad_arguments():
    model, batch = make_model("images"), make_inputs("images")
    for wrong, message in (
        ({"quantities": ["rank", "entropy"]}, "`quantities` must be among .*, got entropy"),
        ({"quantities": ["accuracy"]}, "'accuracy' does not exist here: HyperSETModel has no head"),
        ({"num_iterations": 0}, "`num_iterations` must be an integer of at least 1"),
        ({"detail_samples": 0}, "`detail_samples` must be a positive integer or None, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            analyze(model, batch, **wrong)
    with pytest.raises(ValueError, match=r"`model` must be an instance of .*got torch.*\.Linear"):
        analyze(torch.nn.Linear(2, 2), batch)
    with pytest.raises(ValueError, match="`batches` is empty"):
        analyze(model, [], progress=False)
    with pytest.raises(ValueError, match="`batches` must hold mappings"):
        analyze(model, batch["pixel_values"], progress=False)
    with pytest.raises(ValueError, match="at most 3, got 4: only 3 have LoRA adapters"):
        analyze(make_model("images", lora_rank=2), batch, num_iterations=4)
    for wrapper in (torch.nn.DataParallel(model), torch.compile(model, backend="eager")):
        with pytest.raises(ValueError, match="this package's model classes, without a wrapper"):
            analyze(wrapper, batch)
    with pytest.raises(ValueError, match="this package's model classes"):
        analyze_depths(torch.nn.Linear(2, 2), batch)
    with pytest.raises(ValueError, match=r"`batches` must be a list or a data loader .* got an iterator"):
        analyze_depths(make_model("images", num_hidden_layers=2), iter([batch]))
    classifier = make_model("image-classification")
    labelled = make_inputs("image-classification", labels=True)
    with pytest.raises(ValueError, match="'accuracy' does not exist here: the batch has no `labels`"):
        analyze(classifier, [labelled, batch], progress=False)
    for wrong in ({"layer": 2}, {"head": 5}, {"head": 0}, {"sample": 2}, {"num_anchors": -1}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must"):
            trajectories(model, batch, **wrong)


@pytest.mark.parametrize(
    ("case", "labels", "message"),
    [
        ("image-classification", [[0, 1, 0, 0, 1]] * 3, r"`labels` must have shape \(3,\)"),
        ("image-classification", [[1], [0], [2]], r"`labels` must have shape \(3,\)"),
        ("image-classification", [1], r"`labels` must have shape \(3,\)"),
        ("image-classification", [1, -100, 2], r"`labels` must lie in \[0, num_labels=5\)"),
        ("token-classification", [1, 2, 3], r"`labels` must have the shape of the tokens, \(3, 16\)"),
        ("masked-lm", [[20] * 16] * 3, r"`labels` must lie in \[0, number of classes=20\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(case, labels, message):
    """Rather than counted as wrong answers, or compared with the answers of other tokens."""
    model, batch = make_model(case), make_inputs(case, batch_size=3) | {"labels": torch.tensor(labels)}
    with pytest.raises(ValueError, match=message):
        analyze(model, batch)
    with pytest.raises(ValueError, match=message):
        accuracy_at_depths(model, batch, num_iterations=[1])


def test_what_has_no_classes_has_no_accuracy():
    pixels, batch = make_model("masked-pixels"), make_inputs("masked-pixels", labels=True)
    assert (
        "of pixels has no classes" in analyze(pixels, batch | {"labels": torch.zeros(2, 10).long()}).absent["accuracy"]
    )
    batch = make_inputs("image-classification") | {"labels": torch.ones(2, 5, dtype=torch.long)}
    several = make_model("image-classification", problem_type="multi_label_classification")
    assert "no `labels` that are classes" in analyze(several, batch).absent["accuracy"]


def test_a_batch_of_single_tokens_has_no_angles():
    """And does not end the analysis of the batches around it."""
    model = make_model("sequence-classification")
    batches = [{"input_ids": torch.randint(0, 19, (3, length))} for length in (5, 1)]
    analysis = analyze(model, batches, progress=False)
    assert analysis.num_samples == analysis.statistics["effective_rank"]["count"] == 6
    assert analysis.statistics["mean_angle"] == analyze(model, batches[0]).statistics["mean_angle"]
    assert analyze(model, batches[1]).absent["angles"] == "no sample has a value"


@pytest.mark.parametrize("layer_type", ["hyperset", "shared_qkv_transformer", "crate", "crate_t"])
def test_trajectories_in_half_precision(layer_type):
    model, batch = make_model("images", layer_type=layer_type), make_inputs("images")
    paths, half = trajectories(model, batch), trajectories(model.bfloat16(), batch)
    assert half.subspace.shape == paths.subspace.shape and half.tokens.dtype == paths.tokens.dtype
    assert half.tokens_share == pytest.approx(paths.tokens_share, abs=0.02)


def test_anchors_are_those_of_the_adapted_weight():
    model = make_model("image-classification")
    model = peft.get_peft_model(model, peft.LoraConfig(target_modules=["bases", "directions"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    inputs = make_inputs("image-classification")
    paths = trajectories(model.get_base_model(), inputs)
    merged = trajectories(model.merge_and_unload(), inputs)
    torch.testing.assert_close(paths.anchors, merged.anchors, rtol=1e-4, atol=1e-5)


def test_a_model_of_the_code_of_its_checkpoint_is_refused(tmp_path):
    """Its layers are of other classes, which would pass for ones without subspaces."""
    make_model("image-classification").save_pretrained(tmp_path)
    name = "modeling_hyperset.HyperSETForImageClassification"
    model = get_class_from_dynamic_module(name, str(tmp_path)).from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"this package's model classes.*got transformers_modules\."):
        analyze(model, make_inputs("image-classification"))


def test_a_sample_of_padding_has_no_trajectories():
    mask = torch.tensor([[1] * 4, [0] * 4])
    batch = {"input_ids": torch.randint(0, 19, (2, 4)), "attention_mask": mask}
    with pytest.raises(ValueError, match="`sample` must have tokens that are not padding, got 1"):
        trajectories(make_model("tokens"), batch, sample=1)


def interrupted(batch: dict):
    yield batch
    raise KeyboardInterrupt


@pytest.mark.parametrize("measure", [analyze, accuracy_at_depths])
def test_an_interrupt_leaves_the_model_as_it_was(measure):
    model, batch = make_model("image-classification").train(), make_inputs("image-classification", labels=True)
    model.hyperset.embeddings.eval()  # as one that is frozen
    modes = [module.training for module in model.modules()]
    with pytest.raises(KeyboardInterrupt):
        measure(model, interrupted(batch))
    assert [module.training for module in model.modules()] == modes and model.config.prune_last_iteration
    assert not any(module._forward_hooks for module in model.modules())


def test_trajectories_in_three_dimensions_are_the_tokens_turned():
    """With heads of width three nothing is lost: angles between tokens stay as they are."""
    model = make_model("token-classification", hidden_size=6, num_attention_heads=2, num_hidden_layers=2)
    ids = torch.randint(0, 19, (2, 7))
    mask = torch.tensor([[1] * 7, [0, 1, 1, 1, 1, 0, 0]])
    batch = {"input_ids": ids, "attention_mask": mask, "labels": ids % 5}
    paths = trajectories(model, batch, sample=1, layer=2, head=2, num_iterations=4, num_anchors=3)
    assert paths.subspace.shape == paths.tokens.shape == (5, 4, 3) and paths.anchors.shape == (3, 3)
    assert paths.subspace_share == pytest.approx(1.0) and 0.5 < paths.tokens_share < 1
    for points in (paths.subspace, paths.tokens, paths.anchors):
        torch.testing.assert_close(points.norm(dim=-1), torch.ones(points.shape[:-1], dtype=torch.float64))
    with torch.no_grad():
        states = model(ids, attention_mask=mask, num_iterations=4, output_hidden_states=True).hidden_states[4:]
        tokens = torch.stack([subspace_tokens(model.base_model.layers[1], x)[1, 1, 1:5] for x in states])
    flat = torch.nn.functional.normalize(tokens.double().flatten(0, 1), dim=-1)
    turned = paths.subspace.flatten(0, 1)
    torch.testing.assert_close(turned @ turned.T, flat @ flat.T, rtol=0, atol=1e-5)
    assert paths.to_dict()["subspace"] == paths.subspace.tolist()


def test_batches_of_any_kind():
    """A generator, a data loader and one batch give the same."""
    model = make_model("images")
    images = torch.randn(6, 3, 12, 12)
    loader = torch.utils.data.DataLoader([{"pixel_values": image} for image in images], batch_size=4)
    found = [analyze(model, data, progress=False).to_dict() for data in (loader, itertools.chain(loader))]
    whole = analyze(model, {"pixel_values": images})
    assert found[0] == found[1]
    torch.testing.assert_close(
        Analysis.from_dict(found[0]).mean("effective_rank"), whole.mean("effective_rank"), rtol=1e-5, atol=0
    )


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(monkeypatch):
    """Three times the data take no more memory: what is kept of them would be tens of megabytes."""
    benchmark, memory = (
        importlib.import_module(f"hyperset_lab.benchmarking.{name}") for name in ("digits", "measuring")
    )
    model, device = benchmark.digits_model(), torch.device("cpu")

    def peak(num_samples: int) -> int | None:
        batches = benchmark.RandomBatches(model.config, num_samples, 60, device)
        return memory.peak_memory(lambda: analyze(model, batches, progress=False), device)

    peak(2000)  # the allocator settles
    few, many = peak(2000), peak(6000)
    if few is None:
        pytest.skip("peak memory is known on Linux only")
    assert many - few < 8 * 2**20, (few, many)
