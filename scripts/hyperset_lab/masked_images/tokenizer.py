# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Images as VQ codes, by any `VQModel` of diffusers; computed once and kept."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, config
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from modeling_hyperset.files import write_whole


def import_vq_model() -> Any:
    """diffusers' `VQModel`, which only the scripts about VQ codes need."""
    try:
        from diffusers import VQModel
    except ImportError as error:
        raise ImportError('VQ codes need diffusers: pip install -e ".[mim]".') from error
    return VQModel


class VQTokenizer:
    """
    Images in [0, 1] ↔ grids of codes.

    Args:
        model (`diffusers.VQModel`): The VQ model; one that is not of RGB images is a `ValueError`.
        zero_to_one (`bool`): Whether the model takes and gives pixels in [0, 1] (aMUSEd) rather than in [−1, 1] (VQGAN).
    """

    def __init__(self, model, zero_to_one: bool = False):
        if (model.config.in_channels, model.config.out_channels) != (3, 3):
            raise ValueError(
                "The VQ model must take and give 3 channels, got "
                f"in_channels={model.config.in_channels} and out_channels={model.config.out_channels}."
            )
        self.model, self.zero_to_one = model.eval().requires_grad_(False), zero_to_one

    @classmethod
    def from_pretrained(cls, name_or_path: str, zero_to_one: bool = False, **options: Any) -> "VQTokenizer":
        """Load a VQ model that diffusers saved: a folder, or a name on the Hub. If there is none, it is a `ValueError`."""
        try:
            model = import_vq_model().from_pretrained(name_or_path, **options)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"`--vq_model_name_or_path` must be a folder or a name on the Hub of a `VQModel` of diffusers, got "
                f"{name_or_path!r}. scripts/convert_vqgan.py makes one of a VQGAN of taming-transformers. {error}"
            ) from error
        return cls(model, zero_to_one)

    @property
    def factor(self) -> int:
        """Pixels per code in height and width."""
        return 2 ** (len(self.model.config.block_out_channels) - 1)

    @property
    def num_codes(self) -> int:
        """Size of the codebook."""
        return self.model.config.num_vq_embeddings

    def to(self, device: torch.device | str) -> "VQTokenizer":
        self.model.to(device)
        return self

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """`(batch_size, 3, height, width)` in [0, 1] → codes `(batch_size, height / factor, width / factor)`."""
        latents = self.model.encode(images if self.zero_to_one else 2 * images - 1).latents
        _, _, (_, _, codes) = self.model.quantize(latents)
        return codes.reshape(latents.shape[0], *latents.shape[2:])

    @torch.no_grad()
    def decode(self, codes: torch.Tensor, clamp: bool = True) -> torch.Tensor:
        """
        Codes `(batch_size, rows, columns)` → images `(batch_size, 3, rows · factor, columns · factor)` in [0, 1]. Without
        `clamp` some pixels may lie outside.
        """
        quantizer = self.model.quantize
        shape = (*codes.shape, quantizer.vq_embed_dim)
        if self.model.config.lookup_from_codebook:
            latents = codes.flatten()  # the model looks them up itself
        else:
            latents = quantizer.get_codebook_entry(codes.flatten(), shape)
        images = self.model.decode(latents, force_not_quantize=True, shape=shape).sample
        images = images if self.zero_to_one else (images + 1) / 2
        return images.clamp(0, 1) if clamp else images

    def fingerprint(self) -> str:
        """A hash of what decides on the codes of an image: the weights, the config and the range of the pixels."""
        settings = {name: value for name, value in self.model.config.items() if not name.startswith("_")}
        digest = hashlib.sha256(json.dumps([settings, self.zero_to_one], sort_keys=True, default=str).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def cached_codes(
    tokenizer: VQTokenizer,
    data: Dataset,
    transform: Callable[[dict], dict],
    settings: Any,
    folder: str | None,
    batch_size: int,
    num_workers: int = 0,
) -> tuple[torch.Tensor, bool]:
    """
    The codes of all images of `data`, of shape `(len(data), rows, columns)`, and whether they were in the cache. If not, they
    are computed and put there. A hash of the tokenizer's weights, the data set's fingerprint and `settings` finds them again.

    Args:
        tokenizer: The tokenizer, on the device to compute on.
        data: A data set with a column `image`.
        transform: Turns a batch of `data` into `pixel_values` in [0, 1] of shape `(3, height, width)` each.
        settings: Anything else that decides on the codes, as JSON: how images are resized.
        folder: The cache; if `None`, a folder beside what `datasets` keeps.
    """
    key = json.dumps([tokenizer.fingerprint(), data._fingerprint, settings], sort_keys=True)
    cache = Path(config.HF_DATASETS_CACHE) / "vq_codes" if folder is None else Path(folder)
    path = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    if path.exists():
        try:
            with safe_open(path, framework="pt") as file:
                return file.get_tensor("codes"), True
        except (SafetensorError, OSError) as error:
            raise ValueError(f"The cached codes {path} cannot be read, remove that file: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    loader = DataLoader(data.with_transform(transform), batch_size=batch_size, num_workers=num_workers)
    device = tokenizer.model.device
    encoded = [tokenizer.encode(batch["pixel_values"].to(device)).cpu() for batch in loader]
    codes = torch.cat(encoded).to(torch.int16 if tokenizer.num_codes < 2**15 else torch.int32)
    write_whole(path, lambda temporary: save_file({"codes": codes}, temporary))
    return codes, False
