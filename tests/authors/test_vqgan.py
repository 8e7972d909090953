# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The authors' tokenizer: a converted VQGAN gives the codes and images that its layout says (`support/plain_vqgan.py`)."""

import copy
import importlib
import sys
import types

import pytest
import torch
import yaml

from modeling_hyperset.conversion import convert_vqgan
from support.plain_vqgan import PlainVQGAN


pytest.importorskip("diffusers", reason="a VQModel is one of diffusers")

# The levels and the attention of the published one, at another size, and others.
SHAPES = {
    "published": {"ch_mult": [1, 1, 2, 2, 4], "attn_resolutions": [2], "resolution": 32, "num_res_blocks": 1},
    "attention above": {"ch_mult": [1, 2, 1], "attn_resolutions": [16, 8], "resolution": 16, "num_res_blocks": 2},
    "no attention": {"ch_mult": [1, 2], "attn_resolutions": [], "resolution": 16, "num_res_blocks": 3},
    "one level": {"ch_mult": [1], "attn_resolutions": [8], "resolution": 8, "num_res_blocks": 1},
}


def params(**detail):
    detail = SHAPES["attention above"] | detail
    detail |= {"double_z": False, "z_channels": 12, "in_channels": 3, "out_ch": 3, "ch": 32, "dropout": 0.0}
    return {"embed_dim": 8, "n_embed": 16, "ddconfig": detail, "lossconfig": {"target": "of.the.training"}}


@pytest.fixture
def script(monkeypatch):
    return importlib.import_module("convert_vqgan")


class ModelCheckpoint:
    """Stands for Lightning's callback of this name, which old checkpoints name."""


def write(folder, parameters, monkeypatch, seed=0):
    """The checkpoint as Lightning writes it and its config, and the VQGAN that they are."""
    plain = PlainVQGAN(parameters, seed)
    name = "pytorch_lightning.callbacks.model_checkpoint"
    state_dict = {name: tensor.float() for name, tensor in plain.weights.items()}
    plain.weights = {name: tensor.double() for name, tensor in state_dict.items()}
    state_dict |= {"loss.discriminator.main.0.weight": torch.zeros(2, 3, 4, 4), "loss.logvar": torch.zeros(())}
    with monkeypatch.context() as patch:
        for parts in range(1, 4):
            patch.setitem(sys.modules, ".".join(name.split(".")[:parts]), types.ModuleType("stands for Lightning"))
        patch.setattr(sys.modules[name], "ModelCheckpoint", ModelCheckpoint, raising=False)
        patch.setattr(ModelCheckpoint, "__module__", name)
        checkpoint = {"epoch": 3, "callbacks": {ModelCheckpoint: {"best": torch.ones(1)}}, "state_dict": state_dict}
        torch.save(checkpoint, folder / "last.ckpt")
    (folder / "model.yaml").write_text(yaml.safe_dump({"model": {"target": "VQModel", "params": parameters}}))
    return plain


@pytest.mark.parametrize("shape", SHAPES)
def test_codes_and_reconstructions(script, shape, tmp_path, monkeypatch, capsys):
    from hyperset_lab.masked_images.tokenizer import VQTokenizer

    plain = write(tmp_path, params(**SHAPES[shape]), monkeypatch)
    script.main([str(tmp_path / "last.ckpt"), "--output_dir", str(tmp_path / "vqgan")])
    tokenizer = VQTokenizer.from_pretrained(str(tmp_path / "vqgan"))
    assert (tokenizer.factor, tokenizer.num_codes) == (2 ** (plain.levels - 1), 16)
    assert f"16 codes for {tokenizer.factor} × {tokenizer.factor} pixels" in capsys.readouterr().out
    size = SHAPES[shape]["resolution"] // tokenizer.factor * tokenizer.factor
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    codes = tokenizer.encode(images)
    nearest = plain.distances(2 * images.double() - 1).sort(dim=-1).values
    assert (nearest[..., 1] - nearest[..., 0]).min() > 1e-4, "which code is nearest must not depend on rounding"
    assert torch.equal(codes, plain.encode(2 * images.double() - 1)) and len(codes.unique()) > 2
    expected = plain.decode(codes)
    latents = tokenizer.model.quantize.get_codebook_entry(codes.flatten(), (*codes.shape, 8))
    decoded = tokenizer.model.decode(latents, force_not_quantize=True).sample
    torch.testing.assert_close(decoded.double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(tokenizer.decode(codes).double(), ((expected + 1) / 2).clamp(0, 1), rtol=0, atol=1e-5)
    assert expected.std() > 0.1


def test_one_wrong_tensor_is_seen():
    """Every tensor matters to the codes or to the image, so that none can be at a wrong place."""
    parameters = params(ch_mult=[1, 2], attn_resolutions=[2], resolution=4, num_res_blocks=1)
    parameters["ddconfig"]["ch"] = 64  # two channels in each group of a norm, which one alone would lose its bias to
    plain = PlainVQGAN(parameters)
    pixels = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    codes = plain.encode(pixels)
    distances, image = plain.distances(pixels), plain.decode(codes)
    for name in plain.weights:
        changed = copy.copy(plain)
        changed.weights = plain.weights | {name: plain.weights[name].flip(0) + 0.1}
        encodes = name.startswith(("encoder", "quant_conv"))
        moved = changed.distances(pixels) - distances if encodes else changed.decode(codes) - image
        # The bias of a key shifts all scores of a query alike.
        assert moved.abs().max() > 1e-4 or name.endswith(".k.bias"), name


MISTAKES = [
    ({"embed_dim": None}, "`embed_dim` must be a whole number, got None"),
    ({"n_embed": 2.5}, "`n_embed` must be a whole number, got 2.5"),
    ({"n_embed": 17}, "quantize.embedding.weight"),
    ({"remap": "used.npy"}, "`remap` must be null"),
    ({"ddconfig": None}, "`z_channels`.*`resolution`.*`ch_mult` must be a list of whole numbers"),
    ({"ddconfig.double_z": True}, "`double_z` must be False"),
    ({"ddconfig.resamp_with_conv": False}, "`resamp_with_conv` must be True"),
    (
        {"ddconfig.attn_resolutions": [4]},
        r"\[4\] at `resolution` 16 .* levels \[2\] of the encoder.* have it in \[0, 1\]",
    ),
    ({"ddconfig.ch": 48}, "No `VQModel` can be made|shapes contradict"),
    ({"ddconfig.num_res_blocks": 3}, "missing"),
    ({"ddconfig.ch_mult": []}, "`ch_mult` must be a list"),
    ({"ddconfig.ch_mult": [2, 2]}, "`ch_mult` must start with 1"),
    ({"ddconfig.resolution": 18}, "`resolution` must halve 2 times, got 18"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_configs_that_do_not_fit(script, changes, message, tmp_path, monkeypatch):
    good = params()
    write(tmp_path, good, monkeypatch)
    for name, value in changes.items():
        section, _, key = name.rpartition(".")
        (good[section] if section else good)[key] = value
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"model": {"params": good}}))
    with pytest.raises(ValueError, match=message):
        script.main([str(tmp_path / "last.ckpt"), "--output_dir", str(tmp_path / "out")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "model.yaml"]


def test_files_that_are_not_there(script, tmp_path, monkeypatch):
    write(tmp_path, params(), monkeypatch)
    checkpoint, out = str(tmp_path / "last.ckpt"), ["--output_dir", str(tmp_path / "out")]
    (tmp_path / "model.yaml").rename(tmp_path / "other.yaml")
    with pytest.raises(ValueError, match=r"no model\.yaml beside .*last\.ckpt: name the config .* by `--config`"):
        script.main([checkpoint, *out])
    from hyperset_lab.masked_images.tokenizer import VQTokenizer

    with pytest.raises(ValueError, match=r"`--vq_model_name_or_path` must be .*convert_vqgan\.py makes one"):
        VQTokenizer.from_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="`CHECKPOINT` must be a file, or owner/name:path"):
        script.main(["nowhere.ckpt", *out])
    for text, message in [
        ("- 1", "must hold names with values"),
        ("a: [", "is no YAML"),
        ("model: {}", "`model.params`"),
    ]:
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            script.main([checkpoint, "--config", str(tmp_path / "bad.yaml"), *out])
    script.main([checkpoint, "--config", str(tmp_path / "other.yaml"), *out])
    with pytest.raises(ValueError, match="`--output_dir` must be a new or an empty folder"):
        script.main([checkpoint, "--config", str(tmp_path / "other.yaml"), *out])


def test_tensors_without_a_place():
    weights = PlainVQGAN(params()).weights
    config = {"model": {"params": params()}}
    for name in (
        "quantize.embed.weight",
        "encoder.down.7.block.0.conv1.weight",
        "encoder.mid.attn_2.q.weight",
        "colorize",
    ):
        with pytest.raises(ValueError, match=rf"no place for: {name}"):
            convert_vqgan(weights | {name: torch.zeros(1)}, config)
    with pytest.raises(ValueError, match=r"decoder\.norm_out\.bias must be a dense tensor"):
        convert_vqgan(weights | {"decoder.norm_out.bias": torch.zeros(3).to_sparse()}, config)


@pytest.mark.slow
def test_the_script_of_masked_images_takes_it(script, tmp_path, monkeypatch):
    shape = {"ch_mult": [1, 2], "attn_resolutions": [8], "resolution": 16, "num_res_blocks": 1}
    write(tmp_path, params(**shape), monkeypatch)
    script.main([str(tmp_path / "last.ckpt"), "--output_dir", str(tmp_path / "vqgan")])
    recipe = importlib.import_module("support.documents").ROOT / "scripts" / "recipes" / "mim_digits.yaml"
    flags = ["--vq_model_name_or_path", str(tmp_path / "vqgan"), "--codes_dir", str(tmp_path / "codes")]
    flags += ["--output_dir", str(tmp_path / "out"), "--max_steps", "2", "--max_train_samples", "16"]
    flags += ["--max_eval_samples", "8", "--use_cpu", "--disable_tqdm", "true", "--decoding_steps", "2"]
    metrics = importlib.import_module("hyperset_lab.masked_images.task").main([str(recipe), *flags])
    assert "eval_loss" in metrics
