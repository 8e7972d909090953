# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
transformers' own example scripts run on our folders as they are, with the package and by their code alone.

The scripts are not ours to copy. `TRANSFORMERS_EXAMPLES` names the folder `examples/pytorch` of a clone of transformers, at the
version that is installed. Without it these tests are skipped, and so is a script whose packages are not installed.
"""

import csv
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from accelerate import DistributedType
from support.builders import make_config, make_model
from transformers import (
    BertTokenizer,
    SegformerImageProcessorPil,
    UperNetConfig,
    UperNetForSemanticSegmentation,
    ViTImageProcessorPil,
)


EXAMPLES = os.environ.get("TRANSFORMERS_EXAMPLES") or None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        EXAMPLES is None, reason="TRANSFORMERS_EXAMPLES names no folder of transformers' example scripts"
    ),
]

# With the package a script runs behind its import, which registers the family.
WITH_THE_PACKAGE = (
    "import runpy, sys, modeling_hyperset; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
)
WORDS = ["good", "bad", "film", "fine", "dull", "plot", "actor", "great"]
TAGS = ["O", "B-PER", "I-PER"]

# Metrics of the same names in the working folder, which `evaluate.load` takes before those of the Hub.
METRIC = """
import datasets
import evaluate

class Metric(evaluate.Metric):
    def _info(self):
        value = {value}
        features = datasets.Features({{"predictions": value, "references": value}})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        share = sum(map(lambda pair: pair[0] == pair[1], zip(predictions, references))) / len(references)
        return {{name: share for name in {names}}}
"""
# The one of the segments has arguments of its own, and shares of each class.
SEGMENTS = """
import datasets
import evaluate
import numpy as np

class Metric(evaluate.Metric):
    def _info(self):
        value = datasets.Sequence(datasets.Sequence(datasets.Value("uint16")))
        features = datasets.Features({"predictions": value, "references": value})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references, num_labels, ignore_index, reduce_labels):
        right = np.array(predictions) == np.array(references)
        shares = np.array([right[np.array(references) == label].mean() for label in range(num_labels)])
        return {"mean_iou": shares.mean(), "per_category_accuracy": shares, "per_category_iou": shares}
"""
METRICS = {
    "accuracy": ("datasets.Value('int32')", ["accuracy"]),
    "seqeval": (
        "datasets.Sequence(datasets.Value('string'))",
        [f"overall_{name}" for name in ("precision", "recall", "f1", "accuracy")],
    ),
}

TRAINER = ["--do_train", "--do_eval", "--max_steps", "2", "--per_device_train_batch_size", "4", "--use_cpu", "true"]
TRAINER += ["--report_to", "none", "--save_strategy", "no"]
LOOP = ["--max_train_steps", "2", "--per_device_train_batch_size", "4"]
IMAGES = ["--train_dir", "images", "--validation_dir", "images"]
# What `load_dataset` takes for files: it wants a pattern here, where the scripts for classes add one to a folder.
PATCHES = ["--dataset_name", "imagefolder", "--train_dir", "images/**", "--validation_dir", "images/**"]
PATCHES += ["--mask_patch_size", "4"]
SCENES = ["--dataset_name", "scenes", "--remove_unused_columns", "false"]
TABLES = ["--train_file", "texts.csv", "--validation_file", "texts.csv"]
LINES = ["--train_file", "lines.txt", "--validation_file", "lines.txt", "--max_seq_length", "16"]
BLOCKS = ["--train_file", "lines.txt", "--validation_file", "lines.txt", "--block_size", "8"]
TAGGED = ["--train_file", "tags.json", "--validation_file", "tags.json"]
COLUMNS = ["--text_column_names", "text", "--label_column_name", "label", "--metric_name", "accuracy"]
OVERRIDES = "vocab_size=32,hidden_size=32,num_attention_heads=2,num_iterations=2,step_size_time_dim=8"

# The script: what it needs installed, the model that it starts from, and its flags.
SCRIPTS = {
    "image-classification/run_image_classification.py": (
        ["torchvision"], "image-classification",
        [*IMAGES, *TRAINER, "--remove_unused_columns", "false", "--ignore_mismatched_sizes", "true"],
    ),
    "image-classification/run_image_classification_no_trainer.py": (
        ["torchvision"], "image-classification", [*IMAGES, *LOOP, "--ignore_mismatched_sizes"],
    ),
    "image-pretraining/run_mim.py": (
        ["torchvision"], "masked-pixels", [*PATCHES, *TRAINER, "--remove_unused_columns", "false"],
    ),
    "image-pretraining/run_mim_no_trainer.py": (["torchvision"], "masked-pixels", [*PATCHES, *LOOP]),
    "text-classification/run_classification.py": (
        [], "sequence-classification",
        [*TABLES, *COLUMNS, *TRAINER, "--max_seq_length", "16", "--ignore_mismatched_sizes", "true"],
    ),
    "text-classification/run_glue.py": (
        [], "sequence-classification",
        [*TABLES, *TRAINER, "--max_seq_length", "16", "--ignore_mismatched_sizes", "true"],
    ),
    "text-classification/run_glue_no_trainer.py": (
        [], "sequence-classification", [*TABLES, *LOOP, "--max_length", "16", "--ignore_mismatched_sizes"],
    ),
    "language-modeling/run_mlm.py": ([], "masked-lm", [*LINES, *TRAINER, "--line_by_line", "true"]),
    "language-modeling/run_mlm_no_trainer.py": ([], "masked-lm", [*LINES, *LOOP, "--line_by_line", "true"]),
    "language-modeling/run_clm.py": ([], "causal-lm", [*BLOCKS, *TRAINER]),
    "language-modeling/run_clm_no_trainer.py": ([], "causal-lm", [*BLOCKS, *LOOP]),
    "token-classification/run_ner.py": (
        [], "token-classification", [*TAGGED, *TRAINER, "--ignore_mismatched_sizes", "true"],
    ),
    "token-classification/run_ner_no_trainer.py": (
        [], "token-classification", [*TAGGED, *LOOP, "--max_length", "16", "--ignore_mismatched_sizes"],
    ),
}  # fmt: skip
# A head of transformers over our backbone. Its config names the backbone by type, which only the package registers.
SEGMENTATION = {
    "semantic-segmentation/run_semantic_segmentation.py": (
        ["albumentations", "torchvision"], "segmentation", [*SCENES, *TRAINER],
    ),
    "semantic-segmentation/run_semantic_segmentation_no_trainer.py": (
        ["albumentations", "torchvision"], "segmentation", ["--dataset_name", "scenes", *LOOP],
    ),
}  # fmt: skip
ALL = SCRIPTS | SEGMENTATION
# `argparse` takes these flags of the scripts without Trainer bare, and this one with a value.
WITH_A_VALUE = "text-classification/run_glue_no_trainer.py"


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A working folder with data, metrics and a saved model of each kind."""
    folder, rng = tmp_path_factory.mktemp("examples"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "images" / name).mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{index}.png")
    texts = [list(rng.choice(WORDS, size=rng.integers(3, 9))) for _ in range(12)]
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *([" ".join(text), i % 2] for i, text in enumerate(texts))])
    (folder / "lines.txt").write_text("\n".join(map(" ".join, texts)) + "\n", encoding="utf-8")
    rows = [{"tokens": text, "ner_tags": [TAGS[i % 3] for i in range(len(text))]} for text in texts]
    (folder / "tags.json").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    for name, (value, names) in METRICS.items():
        (folder / name).mkdir()
        (folder / name / f"{name}.py").write_text(METRIC.format(value=value, names=names), encoding="utf-8")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = BertTokenizer(vocab={token: index for index, token in enumerate(vocabulary)}, model_max_length=16)
    for case in {case for _, case, _ in SCRIPTS.values()}:
        model = make_model(case)
        model.save_pretrained(folder / case)
        processor = (
            tokenizer if model.config.takes_token_ids else ViTImageProcessorPil(size={"height": 12, "width": 12})
        )
        processor.save_pretrained(folder / case)
    write_scenes(folder)
    maps = make_config(out_features=["stem", "stage1", "stage2", "stage3"])
    config = UperNetConfig(
        backbone_config=maps, hidden_size=8, pool_scales=[1, 2], auxiliary_channels=8, auxiliary_in_channels=32, num_labels=3
    )  # fmt: skip
    UperNetForSemanticSegmentation(config).save_pretrained(folder / "segmentation")
    SegformerImageProcessorPil(size={"height": 12, "width": 12}).save_pretrained(folder / "segmentation")
    (folder / "mean_iou").mkdir()
    (folder / "mean_iou" / "mean_iou.py").write_text(SEGMENTS, encoding="utf-8")
    (folder / "hidden").mkdir()
    # An import of this name finds a module that refuses, wherever the package is installed.
    (folder / "hidden" / "modeling_hyperset.py").write_text("raise ImportError('hidden')\n", encoding="utf-8")
    return folder


def write_scenes(folder: Path) -> None:
    """Images with a class for each pixel, and the file of the classes where a download from the Hub would have left it."""
    rng = np.random.default_rng(1)
    images = [Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)) for _ in range(12)]
    labels = [Image.fromarray(rng.integers(0, 3, (12, 12), dtype=np.uint8)) for _ in range(12)]
    features = Features({"image": ImageFeature(), "label": ImageFeature()})
    rows = Dataset.from_dict({"image": images, "label": labels}, features=features)
    (folder / "scenes").mkdir()
    for split in ("train", "validation"):
        rows.to_parquet(folder / "scenes" / f"{split}.parquet")
    cached = folder / "home" / "hub" / "datasets--scenes"
    revision = "0" * 40
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(revision, encoding="utf-8")
    (cached / "snapshots" / revision).mkdir(parents=True)
    names = json.dumps({"0": "sky", "1": "road", "2": "car"})
    (cached / "snapshots" / revision / "id2label.json").write_text(names, encoding="utf-8")


def run(work: Path, script: str, flags: list[str], by_remote_code: bool, output: str) -> Path:
    """Run a script in the working folder. Returns its output folder."""
    path = Path(str(EXAMPLES)) / script
    if not path.is_file():
        pytest.skip(f"TRANSFORMERS_EXAMPLES has no {script}")
    if missing := [name for name in ALL[script][0] if find_spec(name) is None]:
        pytest.skip(f"{script} needs {', '.join(missing)}")
    if "DistributedType.TPU" in path.read_text(encoding="utf-8") and not hasattr(DistributedType, "TPU"):
        pytest.skip(f"{script} asks for a name that the installed accelerate no longer has, whatever the model")
    environment = os.environ | {"HF_HOME": str(work / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    paths = [
        str(work / "hidden") if by_remote_code else str(Path(__file__).parents[2]),
        os.environ.get("PYTHONPATH", ""),
    ]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    start = [] if by_remote_code else ["-c", WITH_THE_PACKAGE]
    trust = []
    if by_remote_code:
        trust = ["--trust_remote_code", *(["true"] if "no_trainer" not in script or script == WITH_A_VALUE else [])]
    command = [sys.executable, *start, str(path), *flags, *trust, "--output_dir", output]
    finished = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-4000:]
    return work / output


@pytest.mark.parametrize("by_remote_code", [False, True], ids=["package", "remote-code"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_runs_as_it_is(script, by_remote_code, work):
    _, case, flags = SCRIPTS[script]
    output = f"out-{Path(script).stem}-{by_remote_code}"
    folder = run(work, script, ["--model_name_or_path", case, *flags], by_remote_code, output)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "hyperset"
    for name in config["auto_map"].values():
        assert (folder / f"{name.split('.')[0]}.py").is_file()
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("script", SEGMENTATION)
def test_segments_over_the_backbone(script, work):
    _, case, flags = SEGMENTATION[script]
    folder = run(work, script, ["--model_name_or_path", case, *flags], False, f"out-{Path(script).stem}")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["backbone_config"]["model_type"] == "hyperset" and config["id2label"]["2"] == "car"
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("script", ["language-modeling/run_mlm.py", "language-modeling/run_clm.py"])
def test_a_new_model_by_its_type(script, work):
    overrides = OVERRIDES + (",attention_energy=causal_softmax" if "clm" in script else "")
    flags = ["--model_type", "hyperset", "--config_overrides", overrides, "--tokenizer_name", SCRIPTS[script][1]]
    folder = run(work, script, [*flags, *SCRIPTS[script][2]], False, f"out-new-{Path(script).stem}")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == 32 and config["intermediate_size"] == 32
