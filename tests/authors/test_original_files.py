# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Where the authors' files lie: on the Hub (a stand-in on loopback), beside each other, and in pickles that name classes."""

import argparse
import collections
import importlib
import json
import pathlib
import sys
import types
from pathlib import Path
from typing import Optional

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file

from modeling_hyperset import HyperSETForImageClassification
from modeling_hyperset.conversion import load_original_state_dict
from support.hub_repository import File, Repository
from support.hub_stand_in import TOKEN, HubStandIn
from support.plain_vqgan import PlainVQGAN


GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden"
CONFIG = {"task_name": "ic", "model": {"type": "hyper-set", "n_recur": 5, "patch": 8}, "training": {"epochs": 1}}
VQGAN = {"embed_dim": 4, "n_embed": 8, "ddconfig": {"z_channels": 4, "resolution": 8, "in_channels": 3, "out_ch": 3}}
VQGAN["ddconfig"] |= {"ch": 32, "ch_mult": [1], "num_res_blocks": 1, "attn_resolutions": [8], "double_z": False}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in of the Hub with the authors' two repositories, for `huggingface_hub` in this process."""
    with HubStandIn() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        put(hub, "Yunzhe/Hyper-SET", "old", {"ic/old.pth": (GOLDEN / "ic_hyperset" / "checkpoint.pth").read_bytes()})
        files = {
            f"{name}/checkpoint/best.pth": (GOLDEN / name / "checkpoint.pth").read_bytes() for name in ("ic_hyperset",)
        }
        files |= {"ic_hyperset/.hydra/config.yaml": yaml.safe_dump(CONFIG).encode(), "README.md": b"# Hyper-SET"}
        files |= {"sudoku/Sudoku.pth": (GOLDEN / "sudoku_hyperset" / "checkpoint.pth").read_bytes()}
        put(hub, "Yunzhe/Hyper-SET", "new", files)
        torch.save({"state_dict": PlainVQGAN(VQGAN).weights}, tmp_path / "last.ckpt")
        files = {"VQGAN/last.ckpt": (tmp_path / "last.ckpt").read_bytes()}
        files |= {"VQGAN/model.yaml": yaml.safe_dump({"model": {"params": VQGAN}}).encode()}
        put(hub, "llvictorll/Maskgit-pytorch", "tokenizer", files)
        yield hub
        assert hub.unknown == []


def put(hub, name, message, files):
    """Commit files to a repository of the stand-in, weights by LFS."""
    repository = hub.repositories.setdefault(name, Repository(private=False))
    made = {path: File(content, large=path.endswith(".pth")) for path, content in files.items()}
    hub.uploads |= {file.sha256: file.content for file in made.values() if file.large}
    return repository.add(message, made)


@pytest.fixture
def script():
    return importlib.import_module("convert_original_checkpoint")


def test_weights_and_config_of_the_hub(hub, script, tmp_path, capsys):
    out = ["--output_dir", str(tmp_path / "out")]
    script.main(["Yunzhe/Hyper-SET:ic_hyperset/checkpoint/best.pth", *out])
    assert "Options of Yunzhe/Hyper-SET:ic_hyperset/.hydra/config.yaml are read" in capsys.readouterr().out
    recorded = load_file(GOLDEN / "ic_hyperset" / "expected.safetensors")
    model = HyperSETForImageClassification.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        torch.testing.assert_close(
            model(recorded["input.pixel_values"]).logits, recorded["output.logits"], rtol=0, atol=1e-4
        )
    card = (tmp_path / "out" / "README.md").read_text()
    newest = hub.repositories["Yunzhe/Hyper-SET"].commits[-1].oid
    assert (
        f"commit {newest} of Yunzhe/Hyper-SET" in card and "Yunzhe/Hyper-SET:ic_hyperset/checkpoint/best.pth" in card
    )
    words = [
        "task=sudoku",
        "model.type=hyper-set",
        "model.n_recur=5",
        "model.adaptive_mode=gd_with_learnable_step_size",
    ]
    script.main(["Yunzhe/Hyper-SET:sudoku/Sudoku.pth", *words, "--output_dir", str(tmp_path / "sudoku")])
    oldest = hub.repositories["Yunzhe/Hyper-SET"].commits[0].oid
    words = ["task=ic", "model.type=hyper-set", "model.n_recur=5", "model.patch=8"]
    old = ["Yunzhe/Hyper-SET:ic/old.pth", "--revision", oldest, *words]
    script.main([*old, "--output_dir", str(tmp_path / "old")])
    assert json.loads((tmp_path / "old" / "config.json").read_text())["num_iterations"] == 5


def test_what_the_hub_does_not_give(hub, script, tmp_path, monkeypatch):
    out = ["--output_dir", str(tmp_path / "out")]
    cases = {
        (
            "Yunzhe/Hyper-SET:sudoku/Other.pth",
        ): r"no file 'sudoku/Other\.pth'\. Its .* are ic_hyperset/checkpoint/best\.pth, ",
        ("Yunzhe/None:a.pth",): "there is no repository Yunzhe/None, or you may not read it",
        ("Yunzhe/Hyper-SET:sudoku/Sudoku.pth", "--revision", "v2"): "Yunzhe/Hyper-SET has no revision 'v2'",
        ("Yunzhe/Hyper-SET",): "`CHECKPOINT` must be a file, or owner/name:path",
        ("Yunzhe/Hyper-SET:sudoku/Sudoku.pth",): r"'task': .*'model_type': .*'n_recur': .*'adaptive_mode': one of",
    }
    for given, message in cases.items():
        with pytest.raises(ValueError, match=message):
            script.main([*given, *out])
        assert not (tmp_path / "out").exists()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"cannot be reached\. Download the file and pass its path"):
        script.main(["Yunzhe/Hyper-SET:sudoku/Sudoku.pth", *out])


def test_the_tokenizer_of_the_hub(hub, tmp_path):
    pytest.importorskip("diffusers", reason="a VQModel is one of diffusers")
    convert = importlib.import_module("convert_vqgan")
    convert.main(["llvictorll/Maskgit-pytorch:VQGAN/last.ckpt", "--output_dir", str(tmp_path / "vqgan")])
    assert json.loads((tmp_path / "vqgan" / "config.json").read_text())["num_vq_embeddings"] == 8


class AttributeDict(dict):
    """Stands for Lightning's dictionary of this name."""


def test_what_trainers_keep_beside_weights_is_left_out(tmp_path, monkeypatch):
    name = "pytorch_lightning.utilities.parsing"
    with monkeypatch.context() as patch:
        for parts in range(1, 4):
            patch.setitem(sys.modules, ".".join(name.split(".")[:parts]), types.ModuleType("stands for Lightning"))
        patch.setattr(AttributeDict, "__module__", name)
        patch.setattr(sys.modules[name], "AttributeDict", AttributeDict, raising=False)
        settings = AttributeDict(lr=1e-3)
        settings.more = 1
        beside = {"hyper_parameters": settings, "arguments": argparse.Namespace(a=pathlib.PurePosixPath("x"))}
        beside |= {"scores": collections.defaultdict(list, a=[np.float64(1)]), "curve": np.ones(3), AttributeDict: 1}
        beside |= {"kind": Optional[int]}  # noqa: UP045
        torch.save({**beside, "state_dict": {"model.weight": torch.ones(2)}}, tmp_path / "file.ckpt")
    before = set(torch.serialization.get_safe_globals())
    assert list(load_original_state_dict(tmp_path / "file.ckpt")) == ["weight"]
    assert set(torch.serialization.get_safe_globals()) == before


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_files_that_need_code_are_refused_with_the_way_out(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1)}, "callback": Payload(str(tmp_path / "touched"))}, tmp_path / "file")
    with pytest.raises(
        ValueError, match=r"weights_only=True: it needs io\.open, which could run code.*weights_only=False"
    ) as error:
        load_original_state_dict(tmp_path / "file")
    assert not (tmp_path / "touched").exists()
    way_out = str(error.value).split('python -c "')[1].split('"')[0].replace("FILE", str(tmp_path / "file"))
    exec(way_out.replace("weights.ckpt", str(tmp_path / "weights.ckpt")))  # the way out leads out
    assert list(load_original_state_dict(tmp_path / "weights.ckpt")) == ["a"]
