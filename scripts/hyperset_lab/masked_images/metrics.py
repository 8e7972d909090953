# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""How alike images and their reconstructions are: PSNR, SSIM, MS-SSIM, and LPIPS and FID if their weights are there."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch


LPIPS_NETS = {
    "alex": "AlexNet_Weights.IMAGENET1K_V1",
    "vgg": "VGG16_Weights.IMAGENET1K_V1",
    "squeeze": "SqueezeNet1_1_Weights.IMAGENET1K_V1",
}


def import_image_metrics():
    """torchmetrics' image functions, which only measuring images needs."""
    try:
        from torchmetrics.functional import image
    except ImportError as error:
        raise ImportError('Reconstructed images are measured with torchmetrics: pip install -e ".[mim]".') from error
    return image


def hub_file(url: str) -> Path:
    """Where torch keeps what it downloads from `url`."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def load_lpips(net: str) -> torch.nn.Module | str:
    """LPIPS of images in [−1, 1], or why there is none. Nothing is downloaded."""
    for package in ("torchmetrics", "torchvision"):
        if find_spec(package) is None:
            return f"{package} is not installed"
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    from torchvision.models import get_weight

    weights = hub_file(get_weight(LPIPS_NETS[net]).url)
    if not weights.is_file():
        return f"torch has no weights of {net!r} in {weights}"
    return LearnedPerceptualImagePatchSimilarity(cast(Any, net), reduction="none").eval().requires_grad_(False)


def measure_lpips(lpips: Any, images: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
    """LPIPS of each of the images in [0, 1]."""
    scores = lpips(2 * images - 1, 2 * originals - 1)
    lpips.reset()  # it would keep them
    return scores


def load_inception(path: str | None) -> torch.nn.Module | str:
    """FID's Inception, which maps 8-bit images to features of width 2048, or why there is none. Nothing is downloaded."""
    for package in ("torchmetrics", "torch_fidelity"):
        if find_spec(package) is None:
            return f"{package} is not installed"
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    from torchmetrics.image.fid import FrechetInceptionDistance

    weights = hub_file(URL_INCEPTION_V3) if path is None else Path(path)
    if not weights.is_file():
        return f"there are no weights of Inception in {weights}"
    return FrechetInceptionDistance(2048, feature_extractor_weights_path=str(weights)).inception


class ReconstructionMetrics:
    """
    Measures of reconstructions against their originals, both of shape `(batch_size, 3, height, width)` in [0, 1]. `skipped`
    names the measures that are missing, and why.

    Args:
        size (pair of `int`): Height and width of the images.
        lpips_net (`str`): Network of LPIPS: `"alex"`, `"vgg"` or `"squeeze"`.
        inception_weights (`str`, *optional*): File of torch-fidelity with the weights of FID's Inception; by default that in
            torch's cache.
    """

    def __init__(
        self,
        size: tuple[int, int],
        lpips_net: str = "alex",
        inception_weights: str | None = None,
        device: torch.device | str = "cpu",
    ):
        self.skipped: dict[str, str] = {}
        self.measures = self.choose(size)
        lpips, inception = load_lpips(lpips_net), load_inception(inception_weights)
        self.inception: torch.nn.Module | None = None
        if isinstance(lpips, str):
            self.skipped["lpips"] = lpips
        else:
            self.measures["lpips"] = partial(measure_lpips, lpips.to(device))
        if isinstance(inception, str):
            self.skipped["fid"] = inception
        else:
            self.inception = inception.to(device)

    def choose(self, size: tuple[int, int]) -> dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
        """The measures of single images for which `size` is large enough: `(images, originals)` → `(batch_size,)`."""
        window = 11  # SSIM's Gaussian window is 11 pixels wide
        least = {"psnr": 1, "ssim": window, "ms_ssim": 16 * window}
        try:
            image = import_image_metrics()
        except ImportError as error:
            self.skipped |= dict.fromkeys(least, str(error).rstrip("."))
            return {}
        functions: dict[str, Callable[..., torch.Tensor]] = {
            "psnr": partial(image.peak_signal_noise_ratio, dim=(1, 2, 3)),
            "ssim": image.structural_similarity_index_measure,
            "ms_ssim": image.multiscale_structural_similarity_index_measure,
        }
        for name, side in least.items():
            if min(size) < side:
                self.skipped[name] = f"it needs images of at least {side} × {side} pixels, got {size[0]} × {size[1]}"
                functions.pop(name)
        return {name: partial(one, data_range=1.0, reduction="none") for name, one in functions.items()}

    @property
    def names(self) -> list[str]:
        """The measures that there are."""
        return [*self.measures, *(["fid"] if self.inception is not None else [])]

    @torch.no_grad()
    def per_image(self, images: torch.Tensor, originals: torch.Tensor) -> dict[str, torch.Tensor]:
        """PSNR in dB (with peak 1), SSIM, MS-SSIM and LPIPS of every image, `(batch_size,)` each, if they can be measured."""
        images, originals = images.float(), originals.float()
        return {name: measure(images, originals).reshape(len(images)) for name, measure in self.measures.items()}

    @torch.no_grad()
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Inception's features of images in [0, 1], `(batch_size, 2048)`."""
        assert self.inception is not None, "there is no Inception to compute features with"
        return self.inception((images.float() * 255).round().to(torch.uint8))


class FeatureDistance:
    """FID from features, a batch at a time, of originals and of reconstructions."""

    def __init__(self, width: int):
        from torchmetrics.image.fid import FrechetInceptionDistance

        keep: Any = torch.nn.Identity()
        keep.num_features = width
        # The features have been gathered from all processes already.
        self.metric = FrechetInceptionDistance(keep, sync_on_compute=False)

    def update(self, features: torch.Tensor, real: bool) -> None:
        """Add features of shape `(batch_size, width)`."""
        self.metric.to(features.device).update(features, real=real)

    def compute(self) -> float:
        return float(self.metric.compute())
