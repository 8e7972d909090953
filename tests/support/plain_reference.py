# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
The authors' models written once more, as plainly as the facts about them read, on state dicts in the authors' layout. What is
recorded of their program cannot hold every combination of options; this can. It takes float64 tensors.
"""

import math

import torch
from torch.nn import functional as F


PHI = {
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "silu": F.silu,
    "gelu": F.gelu,
    "elu": F.elu,
    "elup1": lambda x: F.elu(x) + 1,
}


def derivative(phi, x):
    """Φ′ by autograd."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(PHI[phi](x).sum(), x)[0]


def rms(x, gain=None):
    return F.rms_norm(x, x.shape[-1:], gain)


def layer_norm(x, weights, name):
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def time_code(t, width):
    half = width // 2
    angles = t * torch.exp(-math.log(10000.0) / (half - 1) * torch.arange(half, dtype=torch.float64))
    return torch.cat((angles.sin(), angles.cos()))


def positions_2d(side, width):
    """Column index first, each half [sin, cos]."""
    quarter = width // 4
    angles = torch.arange(side, dtype=torch.float64)[:, None] / 10000 ** (
        torch.arange(quarter, dtype=torch.float64) / quarter
    )
    code = torch.cat((angles.sin(), angles.cos()), dim=-1)
    return torch.stack([torch.cat((code[c], code[r])) for r in range(side) for c in range(side)])


def split(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join(x):
    return x.transpose(1, 2).flatten(2)


def attend(q, k, v):
    return join((q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v)


class Rule:
    """An update rule of one of the two directions, for one layer."""

    def __init__(self, name):
        self.name, self.b, self.v, self.t = name, 0.0, 0.0, 0

    def __call__(self, g):
        self.t += 1
        if self.name == "gd_with_learnable_step_size":
            return g
        if self.name == "gd_momentum_with_learnable_step_size":
            self.b = 0.9 * self.b + g
            return self.b
        if self.name == "adam_with_fix_step_size":
            self.b, self.v = 0.9 * self.b + 0.1 * g, 0.96 * self.v + 0.04 * g**2
            return self.b / (1 - 0.9**self.t) / ((self.v / (1 - 0.96**self.t)).sqrt() + 1e-6)
        self.v = 0.8 * self.v + 0.2 * g**2
        g = g / (self.v.sqrt() + 1e-6)
        if self.name == "rmsprop_with_fix_step_size":
            return g
        assert self.name == "rmsprop_momentum_with_fix_step_size"
        self.b = 0.9 * self.b + g
        return self.b


def bi_softmax(q, k, v):
    s = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return (s.softmax(-1) + s.softmax(-2)) @ v


def sigmoid_attention(q, k, v):
    s = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).sigmoid()
    return (s * (1 - s)) @ v


def linear_attention(phi, scale=None):
    def attention(q, k, v):
        by = q.shape[-1] ** -0.5 if scale is None else scale
        return PHI[phi](v) @ (PHI[phi](q).transpose(-1, -2) @ PHI[phi](k) * by) * derivative(phi, q)

    return attention


def gated(phi):
    return lambda h: PHI[phi](h).sum(-1, keepdim=True) * derivative(phi, h)


def hyperset_layer(x, w, gains, d, ln2, heads, steps, rule, iterations, attention=bi_softmax, act=torch.relu):
    """All iterations of one layer. `steps(t, x)` gives α and γ; `w` and `d` are weights, or functions of t that give them."""
    moves = Rule(rule), Rule(rule)
    for t in range(1, iterations + 1):
        w_t, d_t = (weight(t) if callable(weight) else weight for weight in (w, d))
        alpha, gamma = steps(t, x)
        z = split(x @ w_t.T, heads)
        q, k, v = (rms(z, gain) for gain in gains)
        x = x - alpha * moves[0](join(attention(q, k, v)) @ w_t)
        x = x + gamma * moves[1](act(rms(x @ d_t.T, ln2)) @ d_t)
    return x


def transformer_layer(x, norms, q, k, v, o, up, down, heads, norm, iterations):
    for _ in range(iterations):
        y = norm(x, norms[0])
        x = x + attend(*(split(y @ matrix.T, heads) for matrix in (q, k, v))) @ o.T
        x = x + torch.relu(norm(x, norms[1]) @ up.T) @ down.T
    return x


def crate_layer(x, s, name, heads, iterations):
    u, c = s[f"{name}.attn.fn.qkv.weight"], s[f"{name}.ff.fn.weight"]
    for _ in range(iterations):
        z = split(layer_norm(x, s, f"{name}.attn.norm") @ u.T, heads)
        z = attend(z, z, z)
        if f"{name}.attn.fn.to_out.0.weight" in s:
            z = F.linear(z, s[f"{name}.attn.fn.to_out.0.weight"], s[f"{name}.attn.fn.to_out.0.bias"])
        else:
            z = z @ u.T
        y = layer_norm(x + z, s, f"{name}.ff.norm")
        x = torch.relu(y + 0.1 * (y @ c - y @ c.T @ c) - 0.1 * 0.1)
    return x


def energy_transformer_layer(x, gamma, bias, xi, wq, wk, iterations):
    """Descent on the energy by autograd. `wq` and `wk` are (heads, p, d)."""
    root = wq.shape[1] ** 0.5
    for _ in range(iterations):
        g = (gamma * F.layer_norm(x, x.shape[-1:]) + bias).detach().requires_grad_()
        q, k = (torch.einsum("bnd,hpd->bhnp", g, matrix) for matrix in (wq, wk))
        energy = -root * torch.logsumexp(q @ k.transpose(-1, -2) / root, dim=-1).sum()
        energy = energy - 0.5 * torch.relu(g @ xi.T).square().sum()
        x = x - torch.autograd.grad(energy, g)[0]
    return x.detach()


def sudoku(s, options, ids):
    """Logits of a Sudoku solver."""
    width, heads, iterations = options["n_embd"], options["n_head"], options["n_recur"]
    x = s["tok_emb.weight"][ids] + (s["pos_emb"][0] if "pos_emb" in s else positions_2d(9, width))
    x0 = x

    def steps(t, x):
        code = time_code(t, options["time_emb"])
        e = F.linear(code, s["time_mlp.0.1.weight"], s["time_mlp.0.1.bias"])
        e = F.linear(F.gelu(e), s["time_mlp.0.3.weight"], s["time_mlp.0.3.bias"])
        e = e + (x0 if options["input_cond"] else x)
        return F.linear(F.gelu(e), s["time_mlp.1.1.weight"], s["time_mlp.1.1.bias"]).chunk(2, dim=-1)

    for index in range(options["n_layer"]):
        name, kind = f"blocks.{index}", options["model_type"]
        if kind == "hyper-set":
            gains = [s[f"{name}.attn.ln1.weight"]] * 3
            matrices = s[f"{name}.attn.qkv.weight"], gains, s[f"{name}.mlp.weight"], s[f"{name}.ln2.weight"]
            x = hyperset_layer(x, *matrices, heads, steps, options["adaptive_mode"], iterations)
        elif kind.startswith("transformer"):
            roles = ("qkv",) * 3 if kind == "transformer_shared" else ("query", "key", "value")
            matrices = [s[f"{name}.attn.{role}.weight"] for role in (*roles, "proj")]
            matrices += [s[f"{name}.mlp.0.weight"], s[f"{name}.mlp.2.weight"]]
            norms = [s[f"{name}.ln{i}.weight"] for i in (1, 2)]
            x = transformer_layer(x, norms, *matrices, heads, rms, iterations)
        elif kind == "crate":
            x = crate_layer(x, s, name, heads, iterations)
        else:
            parts = ("norm.gamma", "norm.bias", "block.hn.proj.weight", "block.attn.wq", "block.attn.wk")
            x = energy_transformer_layer(x, *(s[f"{name}.{part}"] for part in parts), iterations)
    return rms(x, s["ln_f.weight"]) @ s["head.weight"].T


def masked_image(s, options, codes):
    """Logits of a model of VQ codes."""
    width, heads, iterations = options["n_embd"], options["head"], options["n_recur"]
    tokens = codes.flatten(1)
    side = math.isqrt(tokens.shape[1])
    x = s["tok_emb.weight"][tokens] + positions_2d(side, width)
    x0 = x

    def steps(t, x):
        if options["adaptive_mode"].endswith("fix_step_size"):
            return 0.5, 0.1
        e = rms(time_code(t, width) + x0, s["transformer.time_mlp.1.0.weight"])
        e = F.linear(F.gelu(e), s["transformer.time_mlp.1.2.weight"], s["transformer.time_mlp.1.2.bias"])
        return e.chunk(2, dim=-1)

    if options["model"] == "hyper-set":
        gains = [s["transformer.ln1.weight"]] * 3
        matrices = s["transformer.qkv.weight"], gains, s["transformer.mlp.weight"], s["transformer.ln2.weight"]
        phi, variant = options["phi_func"], {}
        if phi:
            variant = {"attention": linear_attention(phi, scale=tokens.shape[1] ** -0.5), "act": gated(phi)}
        x = hyperset_layer(x, *matrices, heads, steps, options["adaptive_mode"], iterations, **variant)
    else:
        for index in range(options["n_layer"]):
            name = f"transformer.layers.{index}"
            matrices = [s[f"{name}.0.fn.{role}.weight"] for role in ("query", "key", "value", "proj")]
            matrices += [s[f"{name}.1.fn.net.{i}.weight"] for i in (0, 2)]
            norms = [s[f"{name}.{i}.norm.weight"] for i in (0, 1)]
            x = transformer_layer(x, norms, *matrices, heads, rms, iterations)
    return F.linear(rms(x, s["lm_head.0.weight"]), s["lm_head.1.weight"], s["lm_head.1.bias"])


def image(s, options, pixels):
    """Logits of an image classifier."""
    width, heads, iterations = options["n_embd"], options["head"], options["n_recur"]
    kind, size = options["class"], pixels.shape[-1] // options["patch"]
    patches = pixels.unfold(2, size, size).unfold(3, size, size)  # (B, 3, rows, columns, size, size)
    patches = patches.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    if "emb.weight" in s:
        x = F.linear(patches, s["emb.weight"], s["emb.bias"])
    else:
        x = F.linear(layer_norm(patches, s, "emb.0"), s["emb.1.weight"], s["emb.1.bias"])
        x = layer_norm(x, s, "emb.2")
    if "cls_token" in s:
        x = torch.cat((s["cls_token"].expand(len(x), -1, -1), x), dim=1)
    angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None]
    angles = angles / 10000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    x = x + torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)
    x0 = x

    def steps_of(name, alternative):
        def steps(t, x):
            if kind == "HyperSETFixedStepSize":
                return options["stepsize"], options["stepsize"]
            time, prefix = ("time_mlp", f"{name}.") if alternative else ("time_mlp.0", "")
            e = time_code(t, s[f"{time}.1.weight"].shape[1])
            e = rms(F.linear(e, s[f"{time}.1.weight"], s[f"{time}.1.bias"]), s[f"{time}.2.weight"])
            e = F.linear(rms(F.gelu(e), s[f"{time}.4.weight"]), s[f"{time}.5.weight"], s[f"{time}.5.bias"])
            e = rms(e, s[f"{time}.6.weight"]) + rms(
                x0 if options.get("input_cond") else x, s[f"{prefix}ln_inp.weight"]
            )
            if alternative or kind == "HyperSETBasic":
                last = f"{name}.time_mlp_inner" if alternative else "time_mlp.1"
                e, last = rms(e, s[f"{last}.0.weight"]), f"{last}.2"
            else:
                last = "time_mlp.1.1"
            return F.linear(F.gelu(e), s[f"{last}.weight"], s[f"{last}.bias"]).chunk(2, dim=-1)

        return steps

    for index in range(options["n_layer"]):
        name = f"enc.{index}"
        if kind.startswith("HyperSET"):
            alternative = kind.startswith("HyperSETAlternative")
            attention, act = bi_softmax, F.gelu
            if "attention" in options:
                phi = options["attention"]
                attention = {"bisoftmax": bi_softmax, "sigma": sigmoid_attention}.get(phi) or linear_attention(phi)
            if "ff" in options:
                act = {"softmax": lambda h: h.softmax(-1), "relu": torch.relu}.get(options["ff"]) or gated(
                    options["ff"]
                )
            gains = [s[f"{name}.attn.ln1_{role}.weight"] for role in (1, 2, 3)]

            def adapted(weight, part):
                if kind != "HyperSETLoRA":
                    return weight
                scale = options["alpha"] / options["r"]
                return lambda t: weight + scale * s[f"deltaW_{part}_B.{t - 1}"] @ s[f"deltaW_{part}_A.{t - 1}"]

            w, d = adapted(s[f"{name}.attn.qkv.weight"], "attention"), adapted(s[f"{name}.mlp.weight"], "ff")
            steps, rule = steps_of(name, alternative), "gd_with_learnable_step_size"
            x = hyperset_layer(x, w, gains, d, s[f"{name}.ln2.weight"], heads, steps, rule, iterations, attention, act)
        elif kind.startswith("ViT"):
            roles = ("qkv",) * 3 if kind == "ViTSharedQKV" else ("q", "k", "v")
            matrices = [s[f"{name}.msa.{role}.weight"] for role in (*roles, "o")]
            matrices += [s[f"{name}.mlp.{i}.weight"] for i in (0, 3)]

            def norm(x, name):
                return layer_norm(x, s, name)

            x = transformer_layer(x, [f"{name}.la1", f"{name}.la2"], *matrices, heads, norm, iterations)
        elif kind.startswith("CRATE"):
            x = crate_layer(x, s, name, heads, iterations)
        else:
            parts = ("0.gamma", "0.bias", "1.hn.proj.weight", "1.attn.wq", "1.attn.wk")
            x = energy_transformer_layer(x, *(s[f"{name}.{part}"] for part in parts), iterations)
    x = x[:, 0] if "cls_token" in s else x.mean(dim=1)
    return F.linear(layer_norm(x, s, "fc.0"), s["fc.1.weight"], s["fc.1.bias"])
