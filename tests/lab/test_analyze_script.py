# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""`scripts/analyze.py` as a user calls it: every picture shows the numbers that are written beside it."""

import importlib
import json
import statistics
from pathlib import Path

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from modeling_hyperset import (
    HyperSETConfig,
    HyperSETForImageClassification,
    HyperSETForSequenceClassification,
    HyperSETForTokenClassification,
)
from modeling_hyperset.analysis import QUANTITIES, Analysis, DepthPoint, analyze
from modeling_hyperset.analysis.comparison_figures import draw_accuracy, draw_overlay, draw_training, over_runs
from modeling_hyperset.analysis.figures import (
    draw_adaptive_depth,
    draw_energies,
    draw_per_head,
    draw_rank_and_angle,
    draw_step_sizes,
)
from support.builders import make_inputs, make_model, wake
from transformers import TrainingArguments, ViTImageProcessorPil


SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = {"hidden_size": 24, "num_attention_heads": 3, "num_iterations": 2, "image_size": 8, "patch_size": 4}
SMALL_TEXT = {"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2}


@pytest.fixture(scope="module")
def main():
    yield importlib.import_module("analyze").main


@pytest.fixture
def figures(monkeypatch) -> dict[str, Figure]:
    """The figures that are saved, by the name of their file."""
    drawn, save = {}, Figure.savefig

    def savefig(figure, path, **options):
        drawn[Path(path).name.split("-", 1)[1].split(".")[0]] = figure
        save(figure, path, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return drawn


def image_model(folder: Path, seed: int = 0, **fields) -> str:
    """A small classifier of digits with random weights, saved with its image processor."""
    torch.manual_seed(seed)
    config = HyperSETConfig(**(TINY | {"num_labels": 10, "step_size_time_dim": 8} | fields))
    wake(HyperSETForImageClassification(config)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(folder)
    return str(folder)


def curves(figure: Figure) -> dict[str, list[float]]:
    """The curves of a figure: their numbers by their name."""
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    return {line.get_gid(): list(map(float, line.get_ydata())) for line in lines if line.get_gid()}


def bands(figure: Figure) -> list[list[tuple[float, float]]]:
    """Lower and upper edge of each band, by step."""
    found = []
    for axes in figure.axes:
        for band in axes.collections:
            vertices = band.get_paths()[0].vertices
            steps = sorted({x for x, _ in vertices})
            edges = [[y for x, y in vertices if x == step] for step in steps]
            found.append([(min(values), max(values)) for values in edges])
    return found


def assert_labelled(figure: Figure) -> None:
    """Every panel has a label on both axes, its own or one that it shares."""
    visible = [axes for axes in figure.axes if axes.get_visible() and axes.name != "3d"]
    for axes in visible:
        assert axes.get_ylabel() or any(axes.get_shared_y_axes().joined(axes, o) and o.get_ylabel() for o in visible)
        assert axes.get_xlabel() or any(axes.get_shared_x_axes().joined(axes, o) and o.get_xlabel() for o in visible)


def assert_nothing_is_covered(figure: Figure) -> None:
    """Legends lie beside the panels, and no written word on another or out of the figure."""
    FigureCanvasAgg(figure).draw()
    panels = [axes.get_window_extent() for axes in figure.axes if axes.get_visible()]
    inside = [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]
    words = [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    assert not inside and not any(legend.get_window_extent().count_overlaps(panels) for legend in figure.legends)
    boxes = words + [legend.get_window_extent() for legend in figure.legends]
    if figure.get_suptitle():
        boxes.append(figure._suptitle.get_window_extent())
    for index, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[index + 1 :])
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0


def trained_marks(figure: Figure) -> list[list[list[float]]]:
    """Where each panel marks the trained depth."""
    return [
        [list(line.get_xdata()) for line in axes.get_lines() if line.get_gid() == "trained depth"]
        for axes in figure.axes
        if axes.get_visible()
    ]


def test_pictures_show_the_numbers_beside_them(main, figures, tmp_path, capsys):
    first = image_model(tmp_path / "ours")
    others = [
        image_model(tmp_path / "transformer", layer_type="transformer"),
        image_model(tmp_path / "layers", num_hidden_layers=2, num_iterations=1),
        image_model(tmp_path / "again", initializer_range=0.3),
        image_model(tmp_path / "shared", layer_type="shared_qkv_transformer"),
    ]
    out = tmp_path / "out"
    flags = ["--model_name_or_path", first, "--dataset_name", "digits", "--max_eval_samples", "30", "--use_cpu"]
    flags += ["--output_dir", str(out), "--per_device_eval_batch_size", "8", "--head", "2", "--sample", "3"]
    returned = main([*flags, "--depth_multiple", "2.5", "--energy_tolerances", "0", "0.05", "--compare_with", *others])
    analysis = Analysis.load(out / "analysis.json")
    assert analysis == returned and analysis.num_samples == 30 and analysis.num_iterations == 5
    assert analysis.table() in capsys.readouterr().out
    names = {"energies", "rank_and_angle", "rank_per_head", "angle_per_head", "step_sizes", "accuracy", "trajectories"}
    assert figures.keys() == names | {"trade_off", "adaptive_depth", "rank_compared", "angle_compared"}
    for name in figures:
        with Image.open(out / f"{name}.png") as picture:
            assert picture.width > 500 and len(picture.convert("L").getcolors(256)) > 10
        assert_labelled(figures[name])
        assert_nothing_is_covered(figures[name])
    for name in ("energies", "rank_and_angle", "rank_per_head", "angle_per_head", "step_sizes"):
        marks = trained_marks(figures[name])
        assert marks == [[[2, 2]]] * len(marks) and len(marks) > 1
    assert not list(out.glob(".*"))

    def numbers(name, head=None):
        values = analysis.mean(name) if head is None else analysis.mean(name)[:, head - 1]
        return values.tolist()

    shown = curves(figures["energies"])
    for name in ("attention_energy", "feedforward_energy", "total_energy", "accuracy"):
        assert shown[name] == numbers(name)
    for name, band in zip(("attention", "feedforward", "total"), bands(figures["energies"]), strict=True):
        mean, std = analysis.mean(f"{name}_energy"), analysis.std(f"{name}_energy")
        assert [edge for edges in band for edge in edges] == pytest.approx(
            torch.stack((mean - std, mean + std), dim=-1).flatten().tolist()
        )
    shown = curves(figures["rank_and_angle"])
    for name in ("effective_rank", "full_rank", "mean_angle", "angle_of_mean_cosine"):
        assert shown[f"{name} of head 2"] == numbers(name, 2)
    for picture, name in (("rank_per_head", "effective_rank"), ("angle_per_head", "mean_angle")):
        shown = curves(figures[picture])
        assert all(shown[f"{name} of head {head}"] == numbers(name, head) for head in (1, 2, 3))
    compared = {name: Analysis.from_dict(one) for name, one in json.loads((out / "compared.json").read_text()).items()}
    assert list(compared) == ["ours", "layers", "again", "shared"] and compared["ours"] == analysis
    for picture, name in (("rank_compared", "effective_rank"), ("angle_compared", "mean_angle")):
        shown = curves(figures[picture])
        for model, one in compared.items():
            assert shown[f"{model}: {name} of head 3"] == one.mean(name)[:, 2].tolist()
    shown = curves(figures["step_sizes"])
    for side in ("attention", "feedforward"):
        for name in (f"{side}_step_size", f"{side}_step_size_positive"):
            assert shown[name] == numbers(name)

    depths = json.loads((out / "depth.json").read_text())
    shown = curves(figures["accuracy"])
    assert list(depths) == ["ours", "transformer", "layers", "again", "shared"]
    assert not (out / "accuracy_over_runs.json").exists()
    assert depths["ours"]["accuracy"] == analysis.statistics["accuracy"]["mean"]
    for name, found in depths.items():
        assert shown[name] == found["accuracy"]
        trained = found["num_iterations"].index(found["trained_iterations"])
        assert shown[f"{name}: as trained"] == [found["accuracy"][trained]]
    assert "total_energy" not in depths["transformer"] and len(depths["layers"]["accuracy"]) == 2

    points = json.loads((out / "adaptive_depth.json").read_text())
    (axes,) = figures["adaptive_depth"].axes
    drawn = {line.get_gid(): sorted(zip(*line.get_data(), strict=True)) for line in axes.get_lines()}
    for label, is_fixed in (("fixed depth", True), ("adaptive depth", False)):
        group = [point for point in points if (point["energy_tolerance"] is None) == is_fixed]
        assert drawn[label] == sorted((point["mean_iterations"], point["accuracy"]) for point in group)
        assert len(group) == (5 if is_fixed else 2)
    (trained,) = [point for point in points if point["energy_tolerance"] is None and point["num_iterations"] == 2]
    assert drawn["as trained"] == [(trained["mean_iterations"], trained["accuracy"])]
    assert trained["trained_iterations"] == 2
    assert {tuple(map(float, text.get_text().split(", "))): text.xy for text in axes.texts} == {
        (point["energy_tolerance"],): (point["mean_iterations"], point["accuracy"]) for point in points[:2]
    }

    models = json.loads((out / "trade_off.json").read_text())
    left, _ = figures["trade_off"].axes
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["1 × 2", "2 × 1"]
    shown = curves(figures["trade_off"])
    ours = [model for model in models if model["series"] == "hyperset, width 24"]
    alike = [model["accuracy"] for model in ours if model["num_layers"] == 1]
    single = next(model for model in ours if model["num_layers"] == 2)
    assert len(alike) == 2 and models[1]["series"] == "transformer, width 24"
    drawn = [
        line.get_ydata().tolist() for line in left.get_lines() if line.get_gid() == "hyperset, width 24: accuracy"
    ]
    assert drawn == [pytest.approx([sum(alike) / 2, single["accuracy"]])]
    parameters = [models[0]["num_parameters"] / 1e6, single["num_parameters"] / 1e6]
    assert shown["hyperset, width 24: parameters"] == pytest.approx(parameters)
    assert shown["transformer, width 24: parameters"] == pytest.approx([models[1]["num_parameters"] / 1e6])

    paths = json.loads((out / "trajectories.json").read_text())
    for axes, name in zip(figures["trajectories"].axes, ("subspace", "tokens"), strict=True):
        drawn = [line.get_data_3d() for line in axes.get_lines() if str(line.get_gid()).startswith("path")]
        found = torch.stack([torch.tensor([list(map(float, part)) for part in line]).T for line in drawn], dim=1)
        torch.testing.assert_close(found, torch.tensor(paths[name]))


@pytest.mark.parametrize("num_heads", [1, 2, 5])
def test_pictures_of_few_and_many_heads_hold_their_words(num_heads):
    model = make_model("images", num_attention_heads=num_heads, hidden_size=20)
    analysis = analyze(model, make_inputs("images"), num_iterations=5)
    for values in analysis.statistics.values():
        values["count"] = 10_000  # the longest that is likely
    drawn = [draw_per_head(analysis, name) for name in ("effective_rank", "mean_angle", "angle_of_mean_cosine")]
    for figure in [*drawn, draw_rank_and_angle(analysis), draw_energies(analysis), draw_step_sizes(analysis)]:
        assert_nothing_is_covered(figure)


def test_the_picture_of_adaptive_depth_names_every_tolerance_once():
    """Also of points in one place, near to each other, and where accuracy falls."""
    model = {"num_iterations": 8, "num_samples": 100, "trained_iterations": 4}
    found = [(0.0, 0.8, 8.0), (0.001, 0.9, 6.0), (0.002, 0.9, 6.0), (0.005, 0.89, 5.6), (0.01, 0.2, 2.0)]
    points = [DepthPoint(tolerance, accuracy=a, mean_iterations=mean, **model) for tolerance, a, mean in found]
    for trained in (3, 4):  # without and with
        fixed = [DepthPoint(None, n, n / 10, float(n), 100, trained_iterations=4) for n in range(1, trained + 1)]
        figure = draw_adaptive_depth([*points, *fixed])
        assert_nothing_is_covered(figure)
        (axes,) = figure.axes
        assert {text.get_text(): text.xy for text in axes.texts} == {
            "0": (8.0, 0.8),
            "0.001, 0.002": (6.0, 0.9),
            "0.005": (5.6, 0.89),
            "0.01": (2.0, 0.2),
        }
        assert ("as trained" in curves(figure)) == (trained == 4)


def test_runs_of_one_config_are_one_curve_with_a_band():
    """Figure 3, right: several seeds. The Transformer's seeds are another curve, and a single model has no band."""
    analyzing = importlib.import_module("hyperset_lab.analyzing")
    kinds = {"a": {}, "t-0": {"layer_type": "transformer"}, "b": {}, "t-1": {"layer_type": "transformer"}}
    kinds |= {"fixed": {"step_size_type": "fixed"}, "c": {"_name_or_path": "elsewhere", "num_labels": 10}}
    groups = analyzing.alike(
        {name: HyperSETConfig(**TINY, **({"num_labels": 10} | kind)) for name, kind in kinds.items()}
    )
    assert groups == [["a", "b", "c"], ["t-0", "t-1"], ["fixed"]]
    common = {"trained_iterations": 2, "num_iterations": [1, 2, 3, 4]}
    depths = {name: common | {"accuracy": torch.rand(4).tolist()} for name in kinds}
    runs = analyzing.accuracy_curves(depths, groups)
    assert list(runs) == ["a (3 runs)", "t-0 (2 runs)", "fixed"] and runs["fixed"] is depths["fixed"]
    figure = draw_accuracy(runs)
    assert_nothing_is_covered(figure)
    shown, edges = curves(figure), bands(figure)
    assert {name for name in shown if "trained" not in name} == runs.keys() and len(edges) == 2
    for label, names, pairs in zip(list(runs)[:2], groups, edges, strict=False):
        values = list(zip(*(depths[name]["accuracy"] for name in names), strict=True))
        means, stds = map(statistics.fmean, values), map(statistics.stdev, values)
        wanted = [edge for mean, std in zip(means, stds, strict=True) for edge in (mean - std, mean + std)]
        assert [edge for pair in pairs for edge in pair] == pytest.approx(wanted)
        assert shown[label] == runs[label]["accuracy"] == pytest.approx([statistics.fmean(step) for step in values])
    with pytest.raises(ValueError, match="`runs` must be at least two of the same depths"):
        over_runs([depths["a"], depths["b"] | {"num_iterations": [1, 2]}])


def test_curves_of_training_are_means_with_bands():
    """Figure 3, left. Epochs that a run does not have are left out."""
    runs = [[(1.0, 2.0), (2.0, 1.0), (3.0, 0.5)], [(1.0, 4.0), (2.0, 2.0)]]
    figure = draw_training({"ours": runs, "alone": [[(1.0, 3.0), (2.0, 2.5)]]}, "training loss")
    assert_labelled(figure)
    assert_nothing_is_covered(figure)
    assert curves(figure) == {"ours": [3.0, 1.5], "alone": [3.0, 2.5]}
    ((first, second),) = bands(figure)
    assert first == pytest.approx((3 - 2**0.5, 3 + 2**0.5)) and second == pytest.approx(
        (1.5 - 0.5**0.5, 1.5 + 0.5**0.5)
    )
    with pytest.raises(ValueError, match="'ours' have no epoch in common"):
        draw_training({"ours": [[(1.0, 1.0)], [(2.0, 1.0)]]}, "training loss")


def test_models_are_overlaid_head_by_head():
    """Figures 13 and 14, also of several layers and of other depths; not of other numbers of heads."""
    models = {"ours": {}, "shared": {"layer_type": "shared_qkv_transformer"}, "deep": {"num_hidden_layers": 2}}
    quantities = ["rank", "angles"]
    analyses = {
        name: analyze(make_model("images", **fields), make_inputs("images"), quantities=quantities)
        for name, fields in models.items()
    }
    figure = draw_overlay(analyses, "mean_angle")
    assert_nothing_is_covered(figure)
    shown = curves(figure)
    for name, analysis in analyses.items():
        for head in (1, 4):
            assert shown[f"{name}: mean_angle of head {head}"] == analysis.mean("mean_angle")[:, head - 1].tolist()
    other = analyze(make_model("images", num_attention_heads=2), make_inputs("images"), quantities=quantities)
    with pytest.raises(ValueError, match=r"one number of heads, got .*'other': 2"):
        draw_overlay(analyses | {"other": other}, "mean_angle")
    with pytest.raises(ValueError, match="`name` must be one of effective_rank"):
        draw_overlay(analyses, "total_energy")


@pytest.mark.slow
def test_more_models_than_a_picture_can_tell_apart(main, figures, tmp_path, capsys):
    flags = ["--model_name_or_path", image_model(tmp_path / "0"), "--dataset_name", "digits", "--use_cpu"]
    flags += ["--max_eval_samples", "4", "--output_dir", str(tmp_path / "out"), "--depth_multiple", "1"]
    others = [image_model(tmp_path / f"seed-{index}", initializer_range=0.1 + index / 100) for index in range(6)]
    main([*flags, "--compare_with", *others])
    assert "shows the first 6 of 7 models" in capsys.readouterr().out
    assert_nothing_is_covered(figures["accuracy"])
    assert len(json.loads((tmp_path / "out" / "depth.json").read_text())) == 7
    assert {name for name in curves(figures["accuracy"]) if "trained" not in name} == {
        "0",
        *(f"seed-{index}" for index in range(5)),
    }
    others = [image_model(tmp_path / f"{width}", hidden_size=width) for width in (6, 12, 18, 30, 36, 42)]
    with pytest.raises(ValueError, match=r"`--compare_with` must name .* at most 6 layers and widths .* got 7"):
        main([*flags, "--output_dir", str(tmp_path / "other"), "--compare_with", *others])
    assert not (tmp_path / "other").exists()


def test_one_process_analyses_all_of_the_data(main, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    flags = ["--model_name_or_path", image_model(tmp_path / "model"), "--dataset_name", "digits", "--use_cpu"]
    with pytest.raises(ValueError, match=r"One process must analyse all data, got 2"):
        main([*flags, "--output_dir", str(tmp_path / "out")])


def test_a_baseline_without_energies(main, figures, tmp_path, capsys):
    folder, out = image_model(tmp_path / "model", layer_type="transformer"), tmp_path / "out"
    flags = ["--model_name_or_path", folder, "--dataset_name", "digits", "--max_eval_samples", "8", "--use_cpu"]
    flags += ["--output_dir", str(out), "--figure_format", "svg"]
    with pytest.raises(ValueError, match=r"`energy_tolerance` must be None.*'transformer'"):
        main([*flags, "--energy_tolerances", "0"])
    assert not out.exists()
    main(flags)
    assert figures.keys() == {"accuracy"}
    assert {path.name for path in out.iterdir()} == {"analysis.json", "analysis.csv", "depth.json", "accuracy.svg"}
    assert "No energies: TransformerLayer is not derived from an energy." in capsys.readouterr().out


def test_sudoku_and_several_layers(main, figures, tmp_path):
    """Cells and whole boards are told apart."""
    config = HyperSETConfig(
        vocab_size=10, num_labels=9, hidden_size=16, num_attention_heads=2, num_iterations=2, num_hidden_layers=2
    )
    torch.manual_seed(0)
    wake(HyperSETForTokenClassification(config)).save_pretrained(tmp_path / "model")
    flags = ["--model_name_or_path", str(tmp_path / "model"), "--dataset_name", "generated", "--use_cpu"]
    flags += [
        "--max_eval_samples",
        "4",
        "--min_givens",
        "70",
        "--max_givens",
        "75",
        "--cache_dir",
        str(tmp_path / "c"),
    ]
    analysis = main([*flags, "--output_dir", str(tmp_path / "out"), "--layer", "2"])
    assert len(analysis.mean("total_energy")) == 8
    assert analysis.statistics["token_accuracy"]["count"] >= 4 * 6
    assert curves(figures["energies"])["token_accuracy"] == analysis.mean("token_accuracy").tolist()
    depths = json.loads((tmp_path / "out" / "depth.json").read_text())["model"]
    assert depths["num_iterations"] == [1, 2, 3, 4] and len(depths["token_accuracy"]) == 4


def test_a_token_classifier_that_is_no_solver_is_refused(main, tmp_path):
    """It has nine labels as well. `--task` says what cannot be told, and only of a head that fits."""
    config = HyperSETConfig(vocab_size=50, num_labels=9, max_position_embeddings=100, **SMALL_TEXT)
    HyperSETForTokenClassification(config).save_pretrained(tmp_path / "tags")
    flags = ["--model_name_or_path", str(tmp_path / "tags"), "--dataset_name", "generated", "--use_cpu"]
    flags += ["--output_dir", str(tmp_path / "out"), "--max_eval_samples", "2", "--min_givens", "75"]
    flags += ["--max_givens", "78", "--cache_dir", str(tmp_path / "c")]
    with pytest.raises(ValueError, match=r"does not say that it is one of sudoku\. Pass `--task sudoku` if it is"):
        main(flags)
    with pytest.raises(
        ValueError, match=r"`--task` must be sudoku for a HyperSETForTokenClassification, got 'images'"
    ):
        main([*flags, "--task", "images"])
    with pytest.raises(ValueError, match=r"`--task` must be one of images, .*, got 'chess'"):
        main([*flags, "--task", "chess"])
    assert not (tmp_path / "out").exists()
    assert main([*flags, "--task", "sudoku"]).num_samples == 2


@pytest.mark.slow
def test_text(main, figures, tmp_path):
    """Texts of different lengths, in padded batches."""
    texts = [f"{'really ' * (row % 5)}{('good', 'bad')[row % 2]} food" for row in range(12)]
    rows = "".join(f"{text},{row % 2}\n" for row, text in enumerate(texts))
    (tmp_path / "test.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    tokenizer = importlib.import_module("hyperset_lab.text.tokenizer").train_tokenizer(texts, 280)
    config = HyperSETConfig(vocab_size=len(tokenizer), num_labels=2, max_position_embeddings=128, **TINY)
    torch.manual_seed(0)
    wake(HyperSETForSequenceClassification(config)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    flags = [
        "--model_name_or_path",
        str(tmp_path / "model"),
        "--validation_file",
        str(tmp_path / "test.csv"),
        "--use_cpu",
    ]
    flags += ["--output_dir", str(tmp_path / "out"), "--cache_dir", str(tmp_path / "c"), "--sample", "1"]
    analysis = main([*flags, "--per_device_eval_batch_size", "4"])
    assert analysis.num_samples == analysis.statistics["accuracy"]["count"] == 12
    assert figures.keys() >= {"energies", "accuracy", "trajectories"}
    paths = json.loads((tmp_path / "out" / "trajectories.json").read_text())
    assert len(paths["tokens"][0]) == len(tokenizer(texts[1])["input_ids"])  # no padding


@pytest.mark.slow
def test_the_cost_is_measured(main, tmp_path, capsys):
    """What `benchmark_analysis.py` reports; how much it is, the command says."""
    benchmark = importlib.import_module("benchmark_analysis").main
    path = tmp_path / "cost.json"
    flags = ["--model_name_or_path", image_model(tmp_path / "model"), "--num_samples", "40", "--batch_size", "8"]
    report = benchmark([*flags, "--rounds", "2", "--device", "cpu", "--each", "--output", str(path)])
    assert json.loads(path.read_text()) == report and report["num_samples"] == 40
    taken = report["seconds"]
    assert taken.keys() == report["ratios"].keys() == {"forward", "everything", *QUANTITIES}
    rounds = zip(taken["everything"], taken["forward"], strict=True)
    assert report["ratios"]["everything"] == statistics.median(mine / plain for mine, plain in rounds)
    assert f"{report['ratios']['rank']:.2f} × the forward pass" in capsys.readouterr().out
    with pytest.raises(ValueError, match="`--rounds` must be at least 1, got 0"):
        benchmark([*flags, "--rounds", "0"])


def test_bad_flags(main, tmp_path):
    folder = image_model(tmp_path / "model")
    data = ["--dataset_name", "digits", "--output_dir", str(tmp_path / "out"), "--use_cpu"]
    for flags, message in (
        (data, "`--model_name_or_path` must name the checkpoint"),
        (["--model_name_or_path", folder, *data, "--depth_multiple", "0"], "`--depth_multiple` must be positive"),
        (
            ["--model_name_or_path", folder, *data, "--figure_format", "gif"],
            "`--figure_format` must be one of png, pdf, svg",
        ),
        (["--model_name_or_path", folder, *data, "--head", "4"], "`--head` must lie between 1 and 3, got 4"),
        (["--model_name_or_path", folder, *data, "--layer", "0"], "`--layer` must lie between 1 and 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            main(flags)
    other = image_model(tmp_path / "other", num_labels=3)
    with pytest.raises(ValueError, match=r"`--compare_with` must name checkpoints of .* with 10 classes, .* with 3"):
        main(["--model_name_or_path", folder, *data, "--compare_with", other])
    config = HyperSETConfig(**TINY)
    config.architectures = ["HyperSETForMaskedImageModeling"]
    config.save_pretrained(tmp_path / "masked")
    with pytest.raises(ValueError, match="got HyperSETForMaskedImageModeling"):
        main(["--model_name_or_path", str(tmp_path / "masked"), *data])
    assert not (tmp_path / "out").exists()


def test_a_sample_that_there_is_not_is_refused_before_the_analysis(main, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("analyze"), "analyze", lambda *_, **__: pytest.fail("was analysed"))
    flags = ["--model_name_or_path", image_model(tmp_path / "model"), "--dataset_name", "digits", "--use_cpu"]
    flags += ["--output_dir", str(tmp_path / "out"), "--max_eval_samples", "4"]
    with pytest.raises(ValueError, match=r"`sample` must lie in \[0, 4\), got 4"):
        main([*flags, "--sample", "4"])
