# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Measures of reconstructed images against their definitions, and what happens where weights are missing or at hand."""

import importlib

import numpy as np
import pytest
import torch


pytest.importorskip("torchmetrics", reason="measuring reconstructions needs torchmetrics")


@pytest.fixture(scope="module")
def measures():
    return importlib.import_module("hyperset_lab.masked_images.metrics")


def test_measures_of_single_images(measures):
    metrics = measures.ReconstructionMetrics((176, 200))
    images = torch.rand(3, 3, 176, 200)
    noisy = (images + torch.tensor([0.01, 0.1, 0.3]).view(-1, 1, 1, 1) * torch.randn_like(images)).clamp(0, 1)
    values = metrics.per_image(noisy, images)
    assert metrics.names[:3] == ["psnr", "ssim", "ms_ssim"]
    error = (noisy - images).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(values["psnr"], -10 * error.log10())
    for name in ("psnr", "ssim", "ms_ssim"):
        assert values[name].shape == (3,) and (values[name].diff() < 0).all()
        alone = metrics.per_image(noisy[1:2], images[1:2])[name]
        torch.testing.assert_close(alone, values[name][1:2])
    torch.testing.assert_close(metrics.per_image(images, images)["ssim"], torch.ones(3))


@pytest.mark.parametrize(("side", "names"), [(8, ["psnr"]), (11, ["psnr", "ssim"]), (175, ["psnr", "ssim"])])
def test_small_images_are_not_measured_by_what_needs_larger_ones(measures, side, names):
    metrics = measures.ReconstructionMetrics((side, 200))
    images = torch.rand(2, 3, side, 200)
    assert [name for name in metrics.names if name != "lpips" and name != "fid"] == names
    assert all(value.isfinite().all() for value in metrics.per_image(images.flip(0), images).values())
    assert f"176 × 176 pixels, got {side} × 200" in metrics.skipped["ms_ssim"]


def test_missing_weights_are_named_and_nothing_is_downloaded(measures, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *a, **k: pytest.fail("downloads"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    skipped = measures.ReconstructionMetrics((16, 16), inception_weights=str(tmp_path / "none.pth")).skipped
    for name, package in (("lpips", "torchvision"), ("fid", "torch_fidelity")):
        installed = importlib.util.find_spec(package) is not None
        assert (str(tmp_path) if installed else f"{package} is not installed") in skipped[name]


def test_networks_that_are_at_hand_are_used(measures, monkeypatch):
    """With networks in place of the pretrained ones, which tests do not have."""

    class Distance(torch.nn.Module):
        def forward(self, images, originals):
            assert images.min() < -0.9 and images.max() > 0.9
            return (images - originals).abs().mean(dim=(1, 2, 3))

        def reset(self):
            pass

    class Features(torch.nn.Module):
        def forward(self, images):
            assert images.dtype == torch.uint8
            return images.float().mean(dim=(2, 3))

    monkeypatch.setattr(measures, "load_lpips", lambda net: Distance())
    monkeypatch.setattr(measures, "load_inception", lambda path: Features())
    metrics = measures.ReconstructionMetrics((16, 16))
    assert metrics.names == ["psnr", "ssim", "lpips", "fid"] and metrics.skipped.keys() == {"ms_ssim"}
    images, originals = torch.rand(2, 4, 3, 16, 16)
    torch.testing.assert_close(
        metrics.per_image(images, originals)["lpips"], 2 * (images - originals).abs().mean(dim=(1, 2, 3))
    )
    torch.testing.assert_close(metrics.features(images), 255 * images.mean(dim=(2, 3)), atol=0.5, rtol=0)


def test_fid_is_the_distance_of_two_gaussians(measures):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, 5))
    real, made = rng.normal(size=(300, 5)) @ mixing, rng.normal(size=(200, 5)) + 1.0
    distance = measures.FeatureDistance(5)
    for start in range(0, 300, 100):
        distance.update(torch.from_numpy(real[start : start + 100]), real=True)
    for start in range(0, 200, 50):
        distance.update(torch.from_numpy(made[start : start + 50]), real=False)
    covariances = np.cov(real.T), np.cov(made.T)
    # Tr (Σ₁ Σ₂)^½ from the eigenvalues
    root = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real).sum()
    expected = np.square(real.mean(0) - made.mean(0)).sum() + sum(map(np.trace, covariances)) - 2 * root
    assert distance.compute() == pytest.approx(expected, rel=1e-5)
