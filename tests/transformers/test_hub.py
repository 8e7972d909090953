# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Pushing to the Hub and loading from it: `huggingface_hub` itself, in processes of its own, against a stand-in."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load as load_safetensors

from support.hub_stand_in import TOKEN, HubStandIn


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "fixtures" / "golden" / "ic_hyperset"
TINY = '{"hidden_size": 16, "num_attention_heads": 2, "num_iterations": 2, "image_size": 8, "patch_size": 4}'
TRAIN = ["scripts/run_image_classification.py", "scripts/recipes/digits.yaml", "--config_overrides", TINY, "--use_cpu"]
TRAIN += ["--num_train_epochs", "1", "--max_train_samples", "64", "--max_eval_samples", "40", "--push_to_hub"]

# With the package: a model and its processor pushed by hand, a checkpoint of the authors' program, and a training.
PUSH = """
import os, sys, torch
import convert_original_checkpoint
from hyperset_lab.images import task as run_image_classification
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from transformers import ViTImageProcessorPil
from modeling_hyperset import HyperSETConfig, HyperSETForImageClassification

checkpoint, options, folder, *train = sys.argv[1:]
convert = [checkpoint, "--options", options, "--output_dir", f"{folder}/converted", "--push_to_hub", "org/converted"]
refused = [*train, "--output_dir", f"{folder}/refused", "--hub_model_id", "org/refused"]
token = os.environ.pop("HF_TOKEN")
train_main, convert_main = run_image_classification.main, convert_original_checkpoint.main
calls = [(train_main, refused, "hf_wrong"), (convert_main, convert, "hf_wrong"), (train_main, refused, "")]
for main, arguments, wrong in calls:
    os.environ["HF_TOKEN"] = wrong
    try:
        main(arguments)
        sys.exit("a wrong token was taken")
    except ValueError as error:
        assert "needs a login" in str(error) and ("Invalid user token" if wrong else "found") in str(error), error
    assert not os.path.exists(f"{folder}/refused/model.safetensors") and not os.path.exists(f"{folder}/converted")
os.environ["HF_TOKEN"] = token

torch.manual_seed(1)
config = HyperSETConfig(image_size=8, patch_size=4, hidden_size=16, num_attention_heads=2, num_iterations=3, num_labels=5)
model = HyperSETForImageClassification(config).eval()
try:
    model.push_to_hub("org/by-hand", token="hf_wrong")
    sys.exit("a wrong token was taken")
except HfHubHTTPError as error:
    assert error.response.status_code == 401 and "Invalid credentials" in str(error), error
model.push_to_hub("org/by-hand", private=True)
ViTImageProcessorPil(size={"height": 8, "width": 8}).push_to_hub("org/by-hand")
torch.save(model(torch.ones(1, 3, 8, 8)).logits, f"{folder}/by-hand.pt")

convert_main(convert)
os.environ["HF_TOKEN"] = ""
train += ["--output_dir", f"{folder}/trained", "--hub_model_id", "org/trained", "--hub_token", token]
train_main([*train, "--hub_private_repo", "true", "--save_strategy", "epoch"])
os.environ["HF_TOKEN"] = token
try:
    card = b"---\\nlicense: apache\\n---\\n"
    HfApi().upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id="org/converted")
    sys.exit("a wrong card was taken")
except ValueError as error:
    assert "license" in str(error), error
files = HfApi().list_repo_files("org/converted")
assert HfApi().whoami()["name"] == "someone" and "model.safetensors" in files
"""

# In an empty home: `from_pretrained` downloads and computes the same.
LOAD = """
import re, sys, torch
from huggingface_hub import ModelCard
from transformers import AutoBackbone, AutoModelForImageClassification
from transformers.models.auto.image_processing_auto import AutoImageProcessor

how, folder = sys.argv[1:]
if how == "with the package":
    import modeling_hyperset
    options, module = {}, "modeling_hyperset."
else:
    try:
        import modeling_hyperset
        sys.exit("the package is installed here")
    except ImportError:
        options, module = {"trust_remote_code": True}, "transformers_modules."
for name, size in (("by-hand", 8), ("trained", 8)):
    model = AutoModelForImageClassification.from_pretrained(f"org/{name}", **options)
    assert type(model).__module__.startswith(module), type(model).__module__
    processor = AutoImageProcessor.from_pretrained(f"org/{name}")
    images = torch.ones(1, 3, size, size)
    assert dict(processor.size) == {"height": size, "width": size}, processor.size
    # Where weights lie in memory decides how kernels round.
    torch.testing.assert_close(model(images).logits, torch.load(f"{folder}/{name}.pt"), rtol=0, atol=1e-6)
backbone = AutoBackbone.from_pretrained("org/by-hand", out_features=["stem", "stage2"], **options)
assert type(backbone).__name__ == "HyperSETBackbone" and type(backbone).__module__.startswith(module)
assert [tuple(feature_map.shape) for feature_map in backbone(torch.ones(1, 3, 8, 8)).feature_maps] == [(1, 16, 2, 2)] * 2
(code,) = re.findall(r"```python\\n(.*?)```", ModelCard.load("org/trained").text, flags=re.DOTALL)
exec(code)  # as the card says
assert model(images).logits.shape == (1, 10)
"""


def run(
    hub: HubStandIn, home: Path, command: list, token: str | None = TOKEN, path: Path | str = ROOT, cwd: Path = ROOT
):
    environment = hub.environment(home, token) | {"PYTHONPATH": str(path)}
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def hub():
    with HubStandIn() as hub:
        yield hub


@pytest.fixture(scope="module")
def pushed(hub, tmp_path_factory) -> Path:
    """A folder with what was pushed to the stand-in: by hand, converted, and by the training script, and the logits of two."""
    folder = tmp_path_factory.mktemp("pushed")
    command = ["-c", PUSH, GOLDEN / "checkpoint.pth", GOLDEN / "knobs.json", folder, *TRAIN[1:]]
    finished = run(hub, folder / "home", command, path=f"{ROOT}:{ROOT / 'scripts'}")
    assert finished.returncode == 0, finished.stderr
    from modeling_hyperset import HyperSETForImageClassification

    model = HyperSETForImageClassification.from_pretrained(folder / "trained")
    torch.save(model(torch.ones(1, 3, 8, 8)).logits, folder / "trained.pt")
    return folder


def code_files(files) -> set[str]:
    return {path for path in files if path.endswith(".py")}


def test_everything_is_uploaded(hub, pushed):
    code = code_files(path.name for path in (ROOT / "modeling_hyperset").glob("*_hyperset.py"))
    for name in ("by-hand", "converted", "trained"):
        files = hub.files(f"org/{name}")
        assert {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"} <= files.keys(), name
        assert code_files(files) == code, name
        assert "AutoModelForImageClassification" in json.loads(files["config.json"])["auto_map"]
        # Weights lie in LFS, all else in git.
        large = {path for path, file in hub.repositories[f"org/{name}"].commits[-1].files.items() if file.large}
        assert "model.safetensors" in large and not {"README.md", *code} & large
    assert load_safetensors(hub.files("org/trained")["model.safetensors"])
    assert hub.files("org/converted")["model.safetensors"] == (pushed / "converted" / "model.safetensors").read_bytes()
    assert hub.repositories["org/by-hand"].private and hub.repositories["org/trained"].private
    assert not hub.repositories["org/converted"].private
    assert hub.repositories.keys() == {"org/by-hand", "org/converted", "org/trained"}  # none of a refused token
    assert hub.unknown == []


def test_no_token_and_nothing_unfinished_is_uploaded(hub, pushed):
    """Not in the pickled arguments, not in the command that the card states, at no commit."""
    for repository in hub.repositories.values():
        for commit in repository.commits:
            for path, file in commit.files.items():
                assert TOKEN.encode() not in file.content, path
                assert not path.startswith(("_", "checkpoint-", ".unfinished")), path
    assert "--hub_token …" in hub.files("org/trained")["README.md"].decode().replace("'", "")
    titles = [commit.message for commit in hub.repositories["org/trained"].commits]
    assert titles[0] == "initial commit" and titles[-1] == "End of training" and "Model save" not in titles


def test_what_is_pushed_while_training_loads_too(hub, pushed):
    """A config that names code, with that code beside it: if the run ended here, this would be all there is."""
    commits = [commit for commit in hub.repositories["org/trained"].commits if "in progress" in commit.message]
    assert commits
    for commit in commits:
        assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= commit.files.keys()
        assert code_files(commit.files) == code_files(hub.files("org/trained"))


def test_card_of_a_training_run(hub, pushed):
    """States what was measured, at the trained depth and at twice it, to the digit, and the command."""
    text = hub.files("org/trained")["README.md"].decode()
    assert text == (pushed / "trained" / "README.md").read_text()
    card, metrics = ModelCard(text), json.loads((pushed / "trained" / "eval_results.json").read_text())
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "apache-2.0",
        "transformers",
        "image-classification",
    )
    assert data.model_name == "trained" and data.metrics == ["accuracy"] and "hyperset" in data.tags
    found = {
        (result.metric_type, result.metric_args["num_iterations"]): result.metric_value for result in data.eval_results
    }
    assert found == {
        ("loss", 2): metrics["eval_loss"],
        ("accuracy", 2): metrics["eval_accuracy"],
        ("loss", 1): metrics["eval_1_iterations_loss"],
        ("accuracy", 1): metrics["eval_1_iterations_accuracy"],
        ("loss", 4): metrics["eval_4_iterations_loss"],
        ("accuracy", 4): metrics["eval_4_iterations_accuracy"],
    }
    for depth, prefix in (("2 (as trained)", "eval"), ("4", "eval_4_iterations")):
        row = f"| {depth} | {metrics[f'{prefix}_loss']:.4f} | {metrics[f'{prefix}_accuracy']:.4f} |"
        assert row in text
    assert "trained from scratch on the digits dataset (trained on 64 samples, evaluated on 40 samples)" in text
    assert "python scripts/run_image_classification.py scripts/recipes/digits.yaml --config_overrides" in text
    assert "- seed: 0" in text and "lr_scheduler_type: cosine_with_min_lr" in text
    assert 'AutoModelForImageClassification.from_pretrained("org/trained", trust_remote_code=True)' in text


@pytest.mark.parametrize("how", ["with the package", "without it"])
def test_from_pretrained_downloads_and_computes_the_same(hub, pushed, how, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    # An import of this name finds a module that refuses, wherever the package is installed.
    (hidden / "modeling_hyperset.py").write_text("raise ImportError('hidden for this test')\n")
    path = ROOT if how == "with the package" else hidden
    finished = run(hub, tmp_path / "home", ["-c", LOAD, how, pushed], path=path, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    for name in ("by-hand", "trained"):
        (weights,) = (tmp_path / "home" / "hub" / f"models--org--{name}" / "snapshots").glob("*/model.safetensors")
        assert weights.read_bytes() == hub.files(f"org/{name}")["model.safetensors"]
    assert hub.unknown == []


def test_a_push_that_fails_loses_nothing(tmp_path):
    """The token is taken back while training runs: everything is on disk, nothing on the Hub, and the error says what to do."""
    with HubStandIn() as hub:
        hub.expires_after = "POST /api/repos/create"
        command = [*TRAIN, "--output_dir", tmp_path / "out", "--hub_model_id", "org/late"]
        finished = run(hub, tmp_path / "home", command)
        assert finished.returncode != 0 and "401" in finished.stderr, finished.stderr
        assert f"The model is saved in '{tmp_path / 'out'}'" in finished.stderr
        assert list(hub.files("org/late")) == [".gitattributes"]
        saved = {path.name for path in (tmp_path / "out").iterdir()}
        assert {"model.safetensors", "modeling_hyperset.py", "README.md", "eval_results.json"} <= saved
        # What the error says to do does it.
        hub.expires_after, hub.expired = None, False
        (advice,) = [line for line in finished.stderr.splitlines() if line.startswith("To push it later: ")]
        words = shlex.split(advice.removeprefix("To push it later: "))
        assert words[0] == "hf"
        command = ["-c", "from huggingface_hub.cli.hf import main; main()", *words[1:]]
        finished = run(hub, tmp_path / "home", command)
        assert finished.returncode == 0, finished.stderr
        weights = (tmp_path / "out" / "model.safetensors").read_bytes()
        assert hub.files("org/late")["model.safetensors"] == weights and hub.unknown == []
