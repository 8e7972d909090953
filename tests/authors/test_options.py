# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' options by the names of their classes and of their Hydra configs, from every place that may say them."""

import importlib
import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from modeling_hyperset.conversion import Source, convert_original_checkpoint, load_original_state_dict
from modeling_hyperset.conversion.given import HYDRA_OPTIONS, IMAGE_TYPES, TASK_OPTIONS, UNREAD
from modeling_hyperset.conversion.images import BASELINE_CLASSES, HYPERSET_CLASSES
from modeling_hyperset.conversion.options import NAMES


ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "fixtures" / "golden"

# The configs of a run as the program writes them: those of all tasks, and all models, in one.
TRAINING = {
    "seed": 42,
    "debug": False,
    "wandb": True,
    "run_dir": None,
    "mode": "train",
    "training": {"epochs": 200, "lr": "1e-3", "dropout": 0.0},
    "experiment": {"comment": "x", "ckpt_path": None},
}
BASE = {"multiplier": 1, "time_emb": 512, "adaptive_mode": "gd_with_learnable_step_size", "pos_emb": "learnable"}
CONFIGS = {
    "ic_hyperset": TRAINING
    | {
        "task_name": "ic",
        "data": {
            "dataset": None,
            "size": 32,
            "num_classes": None,
            "in_c": None,
            "autoaugment": True,
            "data_root": "data",
        },
        "model": BASE
        | {"type": "hyper-set", "n_layer": 1, "n_recur": 5, "n_head": 3, "n_embd": 72, "patch": 8, "mlp_hidden": 108}
        | {"dropout": 0.0, "use_cls_token": True, "input_cond": False, "lora_r": 4, "lora_alpha": 8}
        | {"attention": "bisoftmax", "ff": "relu", "step_size": 1.0},
    },
    "sudoku_hyperset": TRAINING
    | {
        "task_name": "sudoku",
        "data": {"dataset": "palm", "n_train": 9000, "n_test": 1000, "label_size": 16},
        "model": BASE
        | {"type": "hyper-set", "n_layer": 1, "n_recur": 5, "n_head": 3, "n_embd": 72, "multiplier": 2, "time_emb": 32}
        | {"vocab_size": 10, "block_size": 81, "num_classes": 9, "phi_func": None, "input_cond": True},
    },
    "mim_hyperset": TRAINING
    | {
        "task_name": "mim",
        "data": {"dataset": "in100", "img_size": 256, "in100_path": "somewhere"},
        "model": BASE
        | {"type": "hyper-set", "n_layer": 1, "n_recur": 5, "n_head": 4, "n_embd": 80, "multiplier": 2}
        | {"phi_func": None, "mask_value": 50, "uncond": True, "input_cond": False},
        "vqgan": {"folder": "vqgan"},
        "sampling": {"step": 12},
        "evaluation": {"masked_ratio": 0.4},
    },
}


def fixture(name):
    options = json.loads((FOLDER / name / "knobs.json").read_text())
    return load_original_state_dict(FOLDER / name / options["file"]), options


@pytest.fixture(params=CONFIGS)
def case(request):
    """The weights, the options by the classes' names, and the config of the run."""
    state_dict, options = fixture(request.param)
    return state_dict, options, CONFIGS[request.param]


def config_of(state_dict, options):
    return convert_original_checkpoint(state_dict, options).config.to_dict()


def dotted(config, prefix=""):
    found = {}
    for name, value in config.items():
        found |= dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def test_a_config_says_what_the_classes_options_say(case):
    state_dict, options, config = case
    expected = config_of(state_dict, options)
    assert config_of(state_dict, [Source(config, is_config=True)]) == expected
    assert config_of(state_dict, [Source(options), Source(config, "`{}` in config.yaml", is_config=True)]) == expected
    few = {"task": config["task_name"]} | {
        name: value
        for name, value in dotted(config).items()
        if name in ("model.type", "model.n_recur", "model.adaptive_mode", "model.patch") and value is not None
    }
    few.pop("model.adaptive_mode" if "model.patch" in few else "", None)
    assert config_of(state_dict, few) == expected  # dotted, as on a command line


def test_two_places_that_differ_are_both_named(case):
    state_dict, _, config = case
    run = Source(config, "`{}` in config.yaml", is_config=True)
    for name, value in {"model.n_recur": 7, "task": "sudoku" if config["task_name"] != "sudoku" else "ic"}.items():
        theirs = "task_name" if name == "task" else name
        message = rf"`{name}=` says .* and `{theirs}` in config\.yaml says .*: give one of them, or the same"
        with pytest.raises(ValueError, match=message):
            convert_original_checkpoint(state_dict, [Source({name: value}, "`{}=`", is_strict=True), run])


def test_what_contradicts_the_weights_is_named_with_its_place(case):
    state_dict, _, config = case
    config = config | {"model": config["model"] | {"n_embd": 96}}
    message = r"The option 'n_embd' \(`model.n_embd` in run\.yaml\) is 96, which contradicts the weights: they say \d+"
    with pytest.raises(ValueError, match=message):
        convert_original_checkpoint(state_dict, [Source(config, "`{}` in run.yaml", is_config=True)])


@pytest.mark.parametrize("name", ["model.n_heads", "model.depth", "data.dataste", "n_recurrence", "nonsense"])
def test_unknown_names_are_refused_with_the_known_ones(name):
    state_dict, _ = fixture("sudoku_hyperset")
    with pytest.raises(ValueError, match=rf"`{re.escape(name)}=` is not known.* model\.n_head, .*model\.type"):
        convert_original_checkpoint(state_dict, [Source({name: 1}, "`{}=`", is_strict=True)])


def test_a_config_may_not_name_unknown_parts_of_the_model():
    state_dict, _ = fixture("sudoku_hyperset")
    config = CONFIGS["sudoku_hyperset"]
    unknown = config | {"model": config["model"] | {"window": 3}}
    with pytest.raises(ValueError, match=r"`model\.window` is not known"):
        convert_original_checkpoint(state_dict, [Source(unknown, is_config=True)])
    convert_original_checkpoint(state_dict, [Source(config | {"trainer": {"gpus": 1}}, is_config=True)])


def test_options_of_other_models_are_a_mistake_by_hand_and_none_in_a_config():
    state_dict, options = fixture("ic_hyperset")
    for name, value in {"model.lora_r": 4, "model.attention": "sigma", "model.step_size": 0.1}.items():
        with pytest.raises(ValueError, match="has no option"):
            convert_original_checkpoint(state_dict, options | {name: value})
        both = [Source({name: CONFIGS["ic_hyperset"]["model"][name.split(".")[1]]})]
        with pytest.raises(ValueError, match="has no option"):
            convert_original_checkpoint(state_dict, [*both, Source(CONFIGS["ic_hyperset"], is_config=True)])


def test_references_within_a_config():
    state_dict, options = fixture("ic_hyperset")
    config = CONFIGS["ic_hyperset"]
    model = config["model"] | {"n_recur": "${model.loops}", "patch": "${data.side}"}
    data = config["data"] | {"side": "${other}"}
    with pytest.raises(ValueError, match=r"`model\.n_recur` refers to another option by '\$\{model\.loops\}'"):
        convert_original_checkpoint(state_dict, [Source(config | {"model": model}, is_config=True)])
    model["n_recur"] = "${iterations}"
    whole = config | {"model": model, "data": data, "other": 8, "iterations": 5}
    assert config_of(state_dict, [Source(whole, is_config=True)]) == config_of(state_dict, options)
    circle = config | {"model": config["model"] | {"n_recur": "${a}"}, "a": "${b}", "b": "${a}"}
    with pytest.raises(ValueError, match="cannot be followed"):
        convert_original_checkpoint(state_dict, [Source(circle, is_config=True)])


def test_image_types_are_the_classes():
    assert set(IMAGE_TYPES.values()) == {*HYPERSET_CLASSES, *BASELINE_CLASSES} - {"ViTSharedQKV"}
    state_dict, options = fixture("ic_hyperset")
    options = {name: value for name, value in options.items() if name != "class"}
    assert (
        convert_original_checkpoint(state_dict, options | {"model.type": "hyper-set"}).config.layer_type == "hyperset"
    )
    with pytest.raises(ValueError, match=r"'class' \(`model.type`\) must be one of .*'HyperSETBasic'.*got 'vit'"):
        convert_original_checkpoint(state_dict, options | {"model.type": "vit"})


def test_the_task_may_be_told_by_the_weights_to_name_what_is_missing(case):
    state_dict, _, config = case
    known = {name: value for name, value in config["model"].items() if name in ("type", "n_head")}
    with pytest.raises(ValueError, match=r"'task': one of") as error:
        convert_original_checkpoint(state_dict, {"model": known})
    assert "'n_recur': a whole number of at least 1" in str(error.value) and "in the program's own configs" in str(
        error.value
    )
    assert "'head'" not in str(error.value) and "'model'" not in str(error.value) and "'class'" not in str(error.value)


def resized(classes, size):
    """The weights of the image fixture for other classes and patches, eight on a side."""
    state_dict, options = fixture("ic_hyperset")
    values = 3 * (size // 8) ** 2
    state_dict |= {"fc.1.weight": torch.zeros(classes, 72), "fc.1.bias": torch.zeros(classes)}
    state_dict |= {"emb.0.weight": torch.ones(values), "emb.0.bias": torch.ones(values)}
    state_dict["emb.1.weight"] = torch.ones(72, values)
    return state_dict, {name: options[name] for name in ("task", "class", "n_recur")}


@pytest.mark.parametrize(
    ("dataset", "classes", "size"),
    [
        ("c10", 10, 32),
        ("c100", 100, 32),
        ("svhn", 10, 32),
        ("in100", 100, 224),
        ("in1k", 1000, 224),
        ("c100", 100, 224),
    ],
)
def test_a_data_set_says_classes_and_size(dataset, classes, size):
    state_dict, options = resized(classes, size)
    config = convert_original_checkpoint(state_dict, options | {"data.dataset": dataset}).config
    assert (config.num_labels, config.image_size) == (classes, size)
    with pytest.raises(ValueError, match=r"'dataset' \(`data.dataset`\) is .* contradicts the weights: they say 11"):
        convert_original_checkpoint(resized(11, size)[0], options | {"data.dataset": dataset})
    with pytest.raises(ValueError, match=rf"'{dataset}', whose images have .* contradicts the {4 * size} pixels"):
        convert_original_checkpoint(state_dict, options | {"data.dataset": dataset, "img_size": 4 * size})
    with pytest.raises(ValueError, match=r"'dataset' must be one of 'c10'"):
        convert_original_checkpoint(state_dict, options | {"dataset": "mnist"})


def test_what_the_program_computes_and_no_config_is_refused():
    state_dict, options = fixture("ic_hyperset")
    moved = {f"time_mlp.1.1.{part}": f"enc.0.time_mlp_inner.2.{part}" for part in ("weight", "bias")}
    state_dict = {moved.get(name, name).replace("time_mlp.0.", "time_mlp."): t for name, t in state_dict.items()}
    state_dict |= {
        "enc.0.ln_inp.weight": state_dict.pop("ln_inp.weight"),
        "enc.0.time_mlp_inner.0.weight": torch.ones(72),
    }
    options = options | {"class": "HyperSETAlternativeAttention"}
    convert_original_checkpoint(state_dict, options | {"attention": "bisoftmax"})
    for attention in ("relu", "sigma_square"):
        with pytest.raises(ValueError, match=rf"'attention' is '{attention}', .* cannot be converted"):
            convert_original_checkpoint(state_dict, options | {"attention": attention})
    for kind, name in (("Attention", "attention"), ("Feedforward", "ff")):
        with pytest.raises(ValueError, match="'input_cond' must be False for HyperSETAlternative"):
            given = {"class": f"HyperSETAlternative{kind}", name: "tanh", "input_cond": True}
            convert_original_checkpoint(state_dict, options | given)


OTHERS = {
    "ic_hyperset": ("class", ["HyperSETBasic", "HyperSETFixedStepSize", "ViT", "CRATET"], "'HyperSET'"),
    "sudoku_hyperset": ("model_type", ["transformer", "crate", "et"], "'hyper-set'"),
    "sudoku_crate": ("model_type", ["hyper-set", "transformer_shared"], "'crate'"),
    "mim_hyperset": ("model", ["transformer"], "'hyper-set'"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_model_than_the_weights_are_of(name):
    state_dict, options = fixture(name)
    option, kinds, looks = OTHERS[name]
    for kind in kinds:
        with pytest.raises(
            ValueError, match=rf"'{option}' is '{kind}', which contradicts the weights: they look like {looks}"
        ):
            convert_original_checkpoint(state_dict, options | {option: kind})
    others = {"image-classification", "sudoku", "masked-image-modeling"} - {options["task"]}
    for task in others:
        with pytest.raises(
            ValueError, match=rf"'task' is '{task}', which contradicts the weights: they look like '{options['task']}'"
        ):
            convert_original_checkpoint(state_dict, options | {"task": task})


def test_the_class_token_has_two_names():
    state_dict, options = fixture("ic_hyperset")
    for name in ("use_cls_token", "is_cls_token"):
        convert_original_checkpoint(state_dict, options | {name: True})
        for value in (False, 1):
            with pytest.raises(ValueError, match=f"'{name}'.*contradicts the weights"):
                convert_original_checkpoint(state_dict, options | {name: value})


@pytest.fixture
def script():
    return importlib.import_module("convert_original_checkpoint")


def command(folder, *more, case="ic_hyperset"):
    return [str(FOLDER / case / "checkpoint.pth"), *more, "--output_dir", str(folder / "out")]


def test_the_command_takes_the_programs_own_command_line(script, tmp_path, capsys):
    words = ["task=ic", "mode=eval", "model.type=hyper-set", "model.patch=8", "model.n_recur=5", "model.n_head=3"]
    words += ["training.eval_batch_size=256", "experiment.comment=eval ic", "+model.input_cond=false"]
    script.main(command(tmp_path, *words))
    out = capsys.readouterr().out
    assert "Not read, because they decide nothing about the model: mode, training.eval_batch_size" in out
    made = json.loads((tmp_path / "out" / "config.json").read_text())
    expected = config_of(*fixture("ic_hyperset"))
    assert all(made[name] == expected[name] for name in ("num_iterations", "image_size", "num_attention_heads"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "convert_original_checkpoint.py checkpoint.pth task=ic" in card and str(tmp_path) not in card


def test_flags_words_files_and_the_config_beside_must_agree(script, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoint").mkdir(parents=True)
    (run / ".hydra").mkdir()
    (run / "checkpoint" / "best.pth").write_bytes((FOLDER / "sudoku_hyperset" / "checkpoint.pth").read_bytes())
    (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(CONFIGS["sudoku_hyperset"]))
    start = [str(run / "checkpoint" / "best.pth"), "--output_dir", str(tmp_path / "out")]
    at = re.escape(str(run / ".hydra" / "config.yaml"))
    (tmp_path / "knobs.json").write_text('{"n_recur": 9, "format": "bare"}')
    places = {
        ("--n_recur", "9"): rf"`--n_recur` says 9 and `model\.n_recur` in {at} says 5",
        ("model.n_recur=9",): rf"`model\.n_recur=` says 9 and `model\.n_recur` in {at} says 5",
        (
            "--options",
            str(tmp_path / "knobs.json"),
        ): rf"`n_recur` in .*knobs\.json says 9 and `model\.n_recur` in {at} says 5",
        ("--n_recur", "9", "model.n_recur=8"): r"`--n_recur` says 9 and `model\.n_recur=` says 8",
        ("--model.n_recur", "9"): rf"`--model\.n_recur` says 9 and `model\.n_recur` in {at} says 5",
        ("model.n_recur=9", "model.n_recur=8"): r"`model\.n_recur` is given twice, as 9 and as 8",
        ("--n_recur", "many"): r"`--n_recur` says 'many' and",
        ("--config", "", "model.n_recur=5"): r"'task': one of .*'model_type': one of .*'adaptive_mode': one of",
        ("--config", "nowhere.yaml"): "`--config` must be a file, or owner/name:path",
        ("--revision", "main"): "`--revision` is for files of the Hub",
        ("n_recur",): "Options must be name=value",
        ("model.n_recur=[",): "is no YAML",
    }
    for more, message in places.items():
        with pytest.raises(ValueError, match=message):
            script.main([*start[:1], *more, *start[1:]])
        assert not (tmp_path / "out").exists()
    script.main([*start, "--n_recur", "5", "--model.multiplier", "2", "model.n_head=3", "model.time_emb=???"])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_iterations"] == 5


def test_the_guide_lists_every_name():
    guide = (ROOT / "docs" / "guides" / "checkpoints.md").read_text()
    names = {*NAMES, *HYDRA_OPTIONS, *TASK_OPTIONS["sudoku"], *IMAGE_TYPES}
    assert not [name for name in names if f"`{name}`" not in guide]
    assert all(name.split(".")[0] in ("model", "data") or f"`{name}`" in guide for name in UNREAD)
