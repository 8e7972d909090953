# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
A VQGAN written down from the layout of its tensors in docs/guides/checkpoints.md alone, for comparison. It makes random weights
in that layout, and encodes and decodes with them.
"""

import torch
from torch.nn import functional as F


class PlainVQGAN:
    """
    Args:
        params: `model.params` of a model.yaml.
        seed: Of the random weights.
    """

    def __init__(self, params, seed=0):
        self.codes, self.code_width = params["n_embed"], params["embed_dim"]
        detail = params["ddconfig"]
        self.blocks, self.levels = detail["num_res_blocks"], len(detail["ch_mult"])
        self.widths = [detail["ch"] * factor for factor in detail["ch_mult"]]
        self.attends = [detail["resolution"] // 2**level in detail["attn_resolutions"] for level in range(self.levels)]
        self.generator = torch.Generator().manual_seed(seed)
        self.weights = {}
        self.make_encoder(detail["in_channels"], detail["ch"], detail["z_channels"])
        self.make_decoder(detail["out_ch"], detail["z_channels"])
        self.conv("quant_conv", detail["z_channels"], self.code_width, 1)
        self.conv("post_quant_conv", self.code_width, detail["z_channels"], 1)
        self.weights["quantize.embedding.weight"] = self.random(self.codes, self.code_width)

    def random(self, *shape, scale=1.0):
        return scale * torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def conv(self, name, inputs, outputs, size):
        self.weights[f"{name}.weight"] = self.random(outputs, inputs, size, size, scale=(inputs * size**2) ** -0.5)
        self.weights[f"{name}.bias"] = self.random(outputs, scale=0.1)

    def norm(self, name, width):
        self.weights[f"{name}.weight"] = 1 + self.random(width, scale=0.1)
        self.weights[f"{name}.bias"] = self.random(width, scale=0.1)

    def residual(self, name, inputs, outputs):
        self.norm(f"{name}.norm1", inputs)
        self.conv(f"{name}.conv1", inputs, outputs, 3)
        self.norm(f"{name}.norm2", outputs)
        self.conv(f"{name}.conv2", outputs, outputs, 3)
        if inputs != outputs:
            self.conv(f"{name}.nin_shortcut", inputs, outputs, 1)

    def attention(self, name, width):
        self.norm(f"{name}.norm", width)
        for role in ("q", "k", "v", "proj_out"):
            self.conv(f"{name}.{role}", width, width, 1)

    def middle(self, name):
        self.residual(f"{name}.block_1", self.widths[-1], self.widths[-1])
        self.attention(f"{name}.attn_1", self.widths[-1])
        self.residual(f"{name}.block_2", self.widths[-1], self.widths[-1])

    def make_encoder(self, inputs, width, latents):
        self.conv("encoder.conv_in", inputs, width, 3)
        for level, out in enumerate(self.widths):
            for block in range(self.blocks):
                self.residual(f"encoder.down.{level}.block.{block}", width, out)
                width = out
                if self.attends[level]:
                    self.attention(f"encoder.down.{level}.attn.{block}", width)
            if level < self.levels - 1:
                self.conv(f"encoder.down.{level}.downsample.conv", width, width, 3)
        self.middle("encoder.mid")
        self.norm("encoder.norm_out", width)
        self.conv("encoder.conv_out", width, latents, 3)

    def make_decoder(self, outputs, latents):
        width = self.widths[-1]
        self.conv("decoder.conv_in", latents, width, 3)
        self.middle("decoder.mid")
        for level in reversed(range(self.levels)):
            for block in range(self.blocks + 1):
                self.residual(f"decoder.up.{level}.block.{block}", width, self.widths[level])
                width = self.widths[level]
                if self.attends[level]:
                    self.attention(f"decoder.up.{level}.attn.{block}", width)
            if level > 0:
                self.conv(f"decoder.up.{level}.upsample.conv", width, width, 3)
        self.norm("decoder.norm_out", width)
        self.conv("decoder.conv_out", width, outputs, 3)

    def run_conv(self, x, name, **options):
        return F.conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], **options)

    def run_norm(self, x, name):
        return F.group_norm(x, 32, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps=1e-6)

    def run_residual(self, x, name):
        y = self.run_conv(F.silu(self.run_norm(x, f"{name}.norm1")), f"{name}.conv1", padding=1)
        y = self.run_conv(F.silu(self.run_norm(y, f"{name}.norm2")), f"{name}.conv2", padding=1)
        return y + (self.run_conv(x, f"{name}.nin_shortcut") if f"{name}.nin_shortcut.weight" in self.weights else x)

    def run_attention(self, x, name):
        y = self.run_norm(x, f"{name}.norm")
        q, k, v = (self.run_conv(y, f"{name}.{role}").flatten(2) for role in "qkv")  # (B, C, pixels)
        shares = (q.transpose(1, 2) @ k / q.shape[1] ** 0.5).softmax(dim=-1)
        return x + self.run_conv((v @ shares.transpose(1, 2)).view_as(x), f"{name}.proj_out")

    def run_middle(self, x, name):
        x = self.run_attention(self.run_residual(x, f"{name}.block_1"), f"{name}.attn_1")
        return self.run_residual(x, f"{name}.block_2")

    def run_level(self, x, name, blocks, attends):
        for block in range(blocks):
            x = self.run_residual(x, f"{name}.block.{block}")
            if attends:
                x = self.run_attention(x, f"{name}.attn.{block}")
        return x

    def distances(self, pixels):
        """`(B, 3, H, W)` in [−1, 1] → squared distances of every place to every code, `(B, H / f, W / f, codes)`."""
        x = self.run_conv(pixels, "encoder.conv_in", padding=1)
        for level in range(self.levels):
            x = self.run_level(x, f"encoder.down.{level}", self.blocks, self.attends[level])
            if level < self.levels - 1:  # padded on the right and below alone
                x = self.run_conv(F.pad(x, (0, 1, 0, 1)), f"encoder.down.{level}.downsample.conv", stride=2)
        x = F.silu(self.run_norm(self.run_middle(x, "encoder.mid"), "encoder.norm_out"))
        x = self.run_conv(self.run_conv(x, "encoder.conv_out", padding=1), "quant_conv")
        return (x.permute(0, 2, 3, 1).unsqueeze(-2) - self.weights["quantize.embedding.weight"]).square().sum(dim=-1)

    def encode(self, pixels):
        return self.distances(pixels).argmin(dim=-1)

    def decode(self, codes):
        """`(B, rows, columns)` → images in [−1, 1] or a little beyond."""
        x = self.weights["quantize.embedding.weight"][codes].permute(0, 3, 1, 2)
        x = self.run_conv(self.run_conv(x, "post_quant_conv"), "decoder.conv_in", padding=1)
        x = self.run_middle(x, "decoder.mid")
        for level in reversed(range(self.levels)):
            x = self.run_level(x, f"decoder.up.{level}", self.blocks + 1, self.attends[level])
            if level > 0:
                x = self.run_conv(
                    x.repeat_interleave(2, 2).repeat_interleave(2, 3), f"decoder.up.{level}.upsample.conv", padding=1
                )
        return self.run_conv(F.silu(self.run_norm(x, "decoder.norm_out")), "decoder.conv_out", padding=1)
