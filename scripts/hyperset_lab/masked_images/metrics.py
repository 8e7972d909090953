# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""How alike images and their reconstructions are: PSNR, SSIM, MS-SSIM, and LPIPS and FID if their weights are there."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch


INSTALL = 'pip install -e ".[perceptual]"'
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


@contextmanager
def in_place_of_download(url: str, path: Path) -> Iterator[None]:
    """Within it, torch finds the file `path` where it would keep what it downloads from `url`."""
    before = os.environ.get("TORCH_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCH_HOME"] = folder
        try:
            place = hub_file(url)
            place.parent.mkdir(parents=True)
            try:
                place.symlink_to(path.resolve())
            except OSError:  # a file system without links
                shutil.copyfile(path, place)
            yield
        finally:
            os.environ.pop("TORCH_HOME")
            if before is not None:
                os.environ["TORCH_HOME"] = before


def load_lpips(net: str, path: str | None = None) -> torch.nn.Module | str:
    """LPIPS of images in [−1, 1], or why there is none. Nothing is downloaded."""
    for package in ("torchmetrics", "torchvision"):
        if find_spec(package) is None:
            return f"{package} is not installed ({INSTALL})"
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    from torchvision.models import get_weight

    url = get_weight(LPIPS_NETS[net]).url
    weights = hub_file(url) if path is None else Path(path)
    if not weights.is_file():
        return f"there are no weights of {net!r} in {weights}: get {url}, and name its place with `--lpips_weights`"
    with nullcontext() if path is None else in_place_of_download(url, weights):
        lpips = LearnedPerceptualImagePatchSimilarity(cast(Any, net), reduction="none")
    return lpips.eval().requires_grad_(False)


def measure_lpips(lpips: Any, images: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
    """LPIPS of each of the images in [0, 1]."""
    scores = lpips(2 * images - 1, 2 * originals - 1)
    lpips.reset()  # it would keep them
    return scores


def load_inception(path: str | None) -> torch.nn.Module | str:
    """FID's Inception, which maps 8-bit images to features of width 2048, or why there is none. Nothing is downloaded."""
    for package in ("torchmetrics", "torch_fidelity"):
        if find_spec(package) is None:
            return f"{package} is not installed ({INSTALL})"
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    from torchmetrics.image.fid import FrechetInceptionDistance

    weights = hub_file(URL_INCEPTION_V3) if path is None else Path(path)
    if not weights.is_file():
        return (
            f"there are no weights of Inception in {weights}: get {URL_INCEPTION_V3}, and name its place with "
            "`--inception_weights`"
        )
    return FrechetInceptionDistance(2048, feature_extractor_weights_path=str(weights)).inception


@dataclass
class PerceptualNetworks:
    """The networks of LPIPS and FID, or why there is none."""

    lpips: torch.nn.Module | str
    inception: torch.nn.Module | str


def load_perceptual(
    lpips_net: str = "alex",
    lpips_weights: str | None = None,
    inception_weights: str | None = None,
    wanted: bool | None = None,
) -> PerceptualNetworks:
    """
    The networks that there are.

    Args:
        lpips_net (`str`): Network of LPIPS: `"alex"`, `"vgg"` or `"squeeze"`.
        lpips_weights, inception_weights (`str`, *optional*): Files of their weights, by default those in torch's cache.
        wanted (`bool`, *optional*): `True`: both are needed. `False`: none is loaded. `None`: only those whose file is named
            are needed.

    Raises:
        `ValueError`: a network that is needed is missing. The message says what for each, and where it was looked for.
    """
    if wanted is False:
        return PerceptualNetworks(*2 * ["`--perceptual_metrics` is false"])
    networks = PerceptualNetworks(load_lpips(lpips_net, lpips_weights), load_inception(inception_weights))
    needed = {"LPIPS": (networks.lpips, lpips_weights), "FID": (networks.inception, inception_weights)}
    missing = [
        f"{name}: {found}" for name, (found, path) in needed.items() if isinstance(found, str) and (wanted or path)
    ]
    if missing:
        raise ValueError(
            f"`--perceptual_metrics` cannot be measured. {'; '.join(missing)}. Or set `--perceptual_metrics false`."
        )
    return networks


class ReconstructionMetrics:
    """
    Measures of reconstructions against their originals, both of shape `(batch_size, 3, height, width)` in [0, 1]. `skipped`
    names the measures that are missing, and why.

    Args:
        size (pair of `int`): Height and width of the images.
        networks ([`PerceptualNetworks`], *optional*): Those of LPIPS and FID; by default those that can be loaded.
    """

    def __init__(
        self,
        size: tuple[int, int],
        networks: PerceptualNetworks | None = None,
        device: torch.device | str = "cpu",
    ):
        self.skipped: dict[str, str] = {}
        self.measures = self.choose(size)
        networks = networks or load_perceptual()
        lpips, inception = networks.lpips, networks.inception
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
    def features(self, images: torch.Tensor, rounded: bool = True) -> torch.Tensor:
        """Inception's features of images in [0, 1], `(batch_size, 2048)`. Their 8 bits are `rounded` or cut off."""
        assert self.inception is not None, "there is no Inception to compute features with"
        images = images.float() * 255
        return self.inception((images.round() if rounded else images).to(torch.uint8))


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
