# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Combinations of the authors' options beyond the recorded cases. What converts must compute what `support/plain_reference.py`
does. Weights are random and everything is in float64.
"""

import pytest
import torch

from modeling_hyperset.conversion import convert_original_checkpoint
from modeling_hyperset.conversion.options import PHI_NAMES, UPDATE_RULE_NAMES
from support import plain_reference


D, HEADS, TIME = 24, 3, 16
P = D // HEADS
PHIS = [phi for phi in PHI_NAMES if phi != "swish"]  # which is another name of SiLU


def weights(shapes, seed=0):
    """A state dict of random tensors; gains of norms lie near one."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    return {
        name: (1 + 0.1 * t if name.endswith(("weight", "gamma")) and t.ndim == 1 else t * 0.3)
        for name, t in tensors.items()
    }


def linear(name, rows, columns):
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm(name, width=D):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def crate(name, output):
    shapes = {**norm(f"{name}.attn.norm"), **norm(f"{name}.ff.norm")}
    shapes |= {f"{name}.attn.fn.qkv.weight": (D, D), f"{name}.ff.fn.weight": (D, D)}
    return shapes | (linear(f"{name}.attn.fn.to_out.0", D, D) if output else {})


def energy_transformer(norm_name, block):
    shapes = {f"{norm_name}.gamma": (1,), f"{norm_name}.bias": (D,), f"{block}.hn.proj.weight": (4 * D, D)}
    return shapes | {f"{block}.attn.wq": (HEADS, P, D), f"{block}.attn.wk": (HEADS, P, D)}


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def compare(shapes, options, inputs, reference, twice=True):
    state_dict = weights(shapes)
    model = convert_original_checkpoint(state_dict, options)
    name = "pixel_values" if options["task"] == "image-classification" else "input_ids"
    for times in (1, 2) if twice else (1,):
        expected = reference(state_dict, options | {"n_recur": times * options["n_recur"]}, inputs).detach()
        with torch.no_grad():
            logits = model(**{name: inputs}, num_iterations=times * options["n_recur"]).logits
        torch.testing.assert_close(logits, expected, rtol=1e-7, atol=1e-7)
        assert expected.std() > 0.01


SUDOKU = {"task": "sudoku", "n_recur": 3, "n_embd": D, "n_head": HEADS, "time_emb": TIME, "multiplier": 2}
SUDOKU |= {"input_cond": True, "pos_emb": "learnable", "adaptive_mode": "gd_with_learnable_step_size"}
SUDOKU_CASES = {
    **{
        f"{rule}-{layers}": {"adaptive_mode": rule, "n_layer": layers}
        for rule in UPDATE_RULE_NAMES
        for layers in (1, 2)
    },
    "current": {"input_cond": False, "n_layer": 2},
    **{
        f"{kind}-{n}": {"model_type": kind, "n_layer": n}
        for kind in ("transformer", "transformer_shared")
        for n in (1, 2)
    },
    **{f"{kind}-{n}": {"model_type": kind, "n_layer": n} for kind in ("crate", "et") for n in (1, 2)},
    **{
        f"{kind}-sincos": {"model_type": kind, "pos_emb": "sincos"}
        for kind in ("hyper-set", "transformer", "crate", "et")
    },
    "et-multiplier": {"model_type": "et", "multiplier": 7},
}


def sudoku_layer(kind, name, hidden):
    if kind == "hyper-set":
        shapes = {
            f"{name}.attn.qkv.weight": (D, D),
            f"{name}.attn.ln1.weight": (P,),
            f"{name}.attn.mask": (1, 1, 81, 81),
        }
        return shapes | {f"{name}.mlp.weight": (hidden, D), f"{name}.ln2.weight": (hidden,)}
    if kind == "crate":
        return crate(name, output=True)
    if kind == "et":
        return energy_transformer(f"{name}.norm", f"{name}.block")
    roles = ("qkv", "proj") if kind == "transformer_shared" else ("query", "key", "value", "proj")
    shapes = {f"{name}.attn.{role}.weight": (D, D) for role in roles} | {f"{name}.ln{i}.weight": (D,) for i in (1, 2)}
    shapes |= {f"{name}.mlp.0.weight": (hidden, D), f"{name}.mlp.2.weight": (D, hidden)}
    return shapes | {f"{name}.attn.mask": (1, 1, 81, 81)}


@pytest.mark.parametrize("case", SUDOKU_CASES)
def test_sudoku(case):
    options = {"model_type": "hyper-set", "n_layer": 1} | SUDOKU | SUDOKU_CASES[case]
    shapes = {"tok_emb.weight": (10, D), "ln_f.weight": (D,), "head.weight": (9, D)}
    if options["pos_emb"] == "learnable":
        shapes["pos_emb"] = (1, 81, D)
    for index in range(options["n_layer"]):
        shapes |= sudoku_layer(options["model_type"], f"blocks.{index}", options["multiplier"] * D)
    if options["model_type"] == "hyper-set":
        shapes |= linear("time_mlp.0.1", D, TIME) | linear("time_mlp.0.3", D, D) | linear("time_mlp.1.1", 2 * D, D)
    ids = torch.randint(0, 10, (2, 81), generator=torch.Generator().manual_seed(1))
    compare(shapes, options, ids, plain_reference.sudoku)


MIM = {"task": "masked-image-modeling", "model": "hyper-set", "n_layer": 1, "n_recur": 3, "n_embd": D, "head": HEADS}
MIM |= {"img_size": 128, "codebook_size": 20, "multiplier": 2, "phi_func": None}
MIM |= {"adaptive_mode": "gd_with_learnable_step_size"}
MIM_CASES = {
    **{rule: {"adaptive_mode": rule} for rule in UPDATE_RULE_NAMES},
    **{f"phi-{phi}": {"phi_func": phi} for phi in PHIS},
    **{f"phi-{rule}": {"phi_func": "sigmoid", "adaptive_mode": rule} for rule in UPDATE_RULE_NAMES},
    "one-layer-whatever-is-said": {"n_layer": 3},
    **{f"transformer-{n}": {"model": "transformer", "n_layer": n, "adaptive_mode": None} for n in (1, 2)},
}


@pytest.mark.parametrize("case", MIM_CASES)
def test_masked_images(case):
    options = MIM | MIM_CASES[case]
    shapes = {"tok_emb.weight": (21, D), "lm_head.0.weight": (D,), **linear("lm_head.1", 20, D)}
    if options["model"] == "hyper-set":
        shapes |= {"transformer.qkv.weight": (D, D), "transformer.ln1.weight": (P,)}
        shapes |= {"transformer.mlp.weight": (2 * D, D), "transformer.ln2.weight": (2 * D,)}
        shapes |= {"transformer.time_mlp.1.0.weight": (D,), **linear("transformer.time_mlp.1.2", 2 * D, D)}
    else:
        for index in range(options["n_layer"]):
            name = f"transformer.layers.{index}"
            shapes |= {f"{name}.0.fn.{role}.weight": (D, D) for role in ("query", "key", "value", "proj")}
            shapes |= {f"{name}.{i}.norm.weight": (D,) for i in (0, 1)}
            shapes |= {f"{name}.1.fn.net.0.weight": (2 * D, D), f"{name}.1.fn.net.2.weight": (D, 2 * D)}
    codes = torch.randint(0, 21, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    compare(shapes, options, codes, plain_reference.masked_image)


IMAGE = {
    "task": "image-classification",
    "n_layer": 1,
    "n_recur": 3,
    "n_embd": D,
    "head": HEADS,
    "img_size": 8,
    "patch": 4,
}
ALTERNATIVES = {
    "attention": ("HyperSETAlternativeAttention", ("bisoftmax", "sigma", *(phi for phi in PHIS if phi != "relu"))),
    "ff": ("HyperSETAlternativeFeedforward", ("softmax", *PHIS)),
}
IMAGE_CASES = {
    **{
        f"{kind}-{n}": {"class": kind, "n_layer": n}
        for kind in ("HyperSET", "HyperSETBasic", "ViT", "ViTSharedQKV", "CRATE", "CRATET", "ET")
        for n in (1, 2)
    },
    **{f"{kind}-x0": {"class": kind, "input_cond": True} for kind in ("HyperSET", "HyperSETBasic")},
    **{f"{kind}-mean": {"class": kind, "cls": False} for kind in ("HyperSET", "ViT", "ET")},
    **{f"fixed-{n}": {"class": "HyperSETFixedStepSize", "stepsize": 0.3, "n_layer": n} for n in (1, 2)},
    **{f"lora-{n}": {"class": "HyperSETLoRA", "r": 2, "alpha": 3, "n_layer": n} for n in (1, 2)},
    **{
        f"{name}-{value}": {"class": kind, name: value, "n_layer": 2}
        for name, (kind, values) in ALTERNATIVES.items()
        for value in values
    },
}


def image_layer(kind, name, hidden):
    if kind.startswith("CRATE"):
        return crate(name, output=kind == "CRATE")
    if kind == "ET":
        return energy_transformer(f"{name}.0", f"{name}.1")
    if kind.startswith("ViT"):
        roles = ("qkv", "o") if kind == "ViTSharedQKV" else ("q", "k", "v", "o")
        shapes = {f"{name}.msa.{role}.weight": (D, D) for role in roles} | norm(f"{name}.la1") | norm(f"{name}.la2")
        return shapes | {f"{name}.mlp.0.weight": (hidden, D), f"{name}.mlp.3.weight": (D, hidden)}
    shapes = {f"{name}.attn.qkv.weight": (D, D), **{f"{name}.attn.ln1_{role}.weight": (P,) for role in (1, 2, 3)}}
    shapes |= {f"{name}.mlp.weight": (hidden, D), f"{name}.ln2.weight": (hidden,)}
    if kind.startswith("HyperSETAlternative"):
        shapes |= {f"{name}.ln_inp.weight": (D,), f"{name}.time_mlp_inner.0.weight": (D,)}
        shapes |= linear(f"{name}.time_mlp_inner.2", 2 * D, D)
    return shapes


@pytest.mark.parametrize("case", IMAGE_CASES)
def test_images(case):
    options = IMAGE | IMAGE_CASES[case]
    kind, hidden = options["class"], D if options["class"] == "HyperSETLoRA" else 40
    shapes = {**norm("fc.0"), **linear("fc.1", 5, D)}
    shapes |= {"cls_token": (1, 1, D)} if options.pop("cls", True) else {}
    for index in range(options["n_layer"]):
        shapes |= image_layer(kind, f"enc.{index}", hidden)
    if kind.startswith("HyperSET"):
        shapes |= norm("emb.0", 12) | linear("emb.1", D, 12) | norm("emb.2")
        time = "time_mlp" if kind.startswith("HyperSETAlternative") else "time_mlp.0"
        if kind != "HyperSETFixedStepSize":
            shapes |= linear(f"{time}.1", D, TIME) | linear(f"{time}.5", D, D)
            shapes |= {f"{time}.{i}.weight": (D,) for i in (2, 4, 6)}
        if kind in ("HyperSET", "HyperSETBasic", "HyperSETLoRA"):
            shapes["ln_inp.weight"] = (D,)
            basic = kind == "HyperSETBasic"
            shapes |= {"time_mlp.1.0.weight": (D,)} if basic else {}
            shapes |= linear("time_mlp.1.2" if basic else "time_mlp.1.1", 2 * D, D)
    else:
        shapes |= linear("emb", D, 12)
    if kind == "HyperSETLoRA":
        for t in range(3):
            for part, rows in (("attention", D), ("ff", hidden)):
                shapes |= {f"deltaW_{part}_A.{t}": (2, D), f"deltaW_{part}_B.{t}": (rows, 2)}
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    compare(shapes, options, pixels, plain_reference.image, twice=kind != "HyperSETLoRA")
