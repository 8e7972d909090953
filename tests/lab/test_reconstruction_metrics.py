# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Measures of reconstructed images against their definitions, and what happens where weights are missing or at hand."""

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch


pytest.importorskip("torchmetrics", reason="measuring reconstructions needs torchmetrics")


@pytest.fixture(scope="module")
def measures():
    return importlib.import_module("hyperset_lab.masked_images.metrics")


@pytest.fixture(scope="module")
def program():
    return importlib.import_module("hyperset_lab.masked_images.program")


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
    skipped = measures.ReconstructionMetrics((16, 16)).skipped
    for name, package in (("lpips", "torchvision"), ("fid", "torch_fidelity")):
        installed = importlib.util.find_spec(package) is not None
        assert (str(tmp_path) if installed else f"{package} is not installed") in skipped[name]


def test_what_is_wanted_and_missing_is_an_error_that_names_its_place(measures, monkeypatch, tmp_path):
    monkeypatch.setattr(measures, "load_lpips", lambda net, path: f"there are no weights in {path}")
    monkeypatch.setattr(measures, "load_inception", lambda path: torch.nn.Identity())
    for flags in ({"wanted": True}, {"lpips_weights": "alex.pth"}):
        with pytest.raises(ValueError, match=r"perceptual_metrics.*LPIPS: there are no weights in (None|alex.pth)"):
            measures.load_perceptual(**flags)
    assert measures.load_perceptual().lpips == "there are no weights in None"
    assert isinstance(measures.load_perceptual(lpips_weights="alex.pth", wanted=False).inception, str)


def test_weights_of_lpips_are_those_of_the_file(measures, monkeypatch, tmp_path):
    """torchvision's loader finds the named file in the place of its download. (The tests have no torchvision.)"""
    url = "https://example.invalid/models/alexnet-1234.pth"
    torch.save({"here": torch.ones(1)}, tmp_path / "my-alex.pth")

    class LPIPS(torch.nn.Module):
        def __init__(self, net, reduction):
            super().__init__()
            self.loaded = torch.hub.load_state_dict_from_url(url, progress=False)

    fakes = {"torchvision": {}, "torchvision.models": {"get_weight": lambda name: SimpleNamespace(url=url)}}
    fakes["torchmetrics.image.lpip"] = {"LearnedPerceptualImagePatchSimilarity": LPIPS}
    for name, attributes in fakes.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**attributes))
    monkeypatch.setattr(measures, "find_spec", lambda package: True)
    before = torch.hub.get_dir()
    lpips = measures.load_lpips("alex", str(tmp_path / "my-alex.pth"))
    assert lpips.loaded.keys() == {"here"} and torch.hub.get_dir() == before
    assert url in measures.load_lpips("alex", str(tmp_path / "none.pth"))


# The authors' program


def test_bernoulli_masks_differ_in_their_share(program):
    shares = [program.bernoulli_cells(256, 0.4, np.random.default_rng(seed)).mean() for seed in range(400)]
    assert np.mean(shares) == pytest.approx(0.4, abs=0.005) and np.std(shares) == pytest.approx(0.031, abs=0.005)
    assert not program.bernoulli_cells(256, 0.0, np.random.default_rng(0)).any()


def test_the_schedule_of_the_program_counts_the_whole_grid(program):
    """24 steps of 256 cells, as torch rounds them there; 102 masked codes are filled in before the last steps."""
    weights = torch.arccos(torch.linspace(1, 0, 24))
    counts = (weights / weights.sum() * 256).round().clamp(min=1)
    counts[-1] += 256 - counts.sum()
    assert program.grid_schedule(256, 256, 24) == counts.int().tolist()
    some = program.grid_schedule(102, 256, 24)
    done = some.index(0)
    assert sum(some) == 102 and some[: done - 1] == counts.int().tolist()[: done - 1] and not any(some[done:])
    for num_masked, num_cells, num_steps in ((0, 9, 3), (64, 64, 24), (9, 9, 40), (5, 9, 1)):
        counts = program.grid_schedule(num_masked, num_cells, num_steps)
        assert sum(counts) == num_masked and len(counts) == num_steps and min(counts) >= 0


def test_images_are_stretched_by_channel(program):
    images = torch.tensor([0.2, 0.5]).view(2, 1, 1, 1) + 0.1 * torch.rand(2, 3, 8, 8)
    made = program.stretched(images)
    for extreme, value in ((made.amin(dim=(2, 3)), 0.0), (made.amax(dim=(2, 3)), 1.0)):
        torch.testing.assert_close(extreme, torch.full((2, 3), value), atol=1e-5, rtol=0)
    assert program.stretched(torch.zeros(1, 3, 4, 4)).abs().max() == 0  # one colour


def test_psnr_of_the_program_pools_a_hundred_images(measures, program):
    images, made = torch.rand(2, 150, 3, 4, 4)
    single = measures.ReconstructionMetrics((4, 4), measures.load_perceptual(wanted=False)).per_image(made, images)
    expected = [-10 * (images[part] - made[part]).square().mean().log10() for part in (slice(0, 100), slice(100, 150))]
    wanted = (100 * expected[0] + 50 * expected[1]) / 150
    assert program.pooled_psnr(single["psnr"]) == pytest.approx(float(wanted), rel=1e-6)
    assert program.pooled_psnr(single["psnr"]) < float(single["psnr"].mean())


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

    monkeypatch.setattr(measures, "load_lpips", lambda net, path: Distance())
    monkeypatch.setattr(measures, "load_inception", lambda path: Features())
    metrics = measures.ReconstructionMetrics((16, 16))
    assert metrics.names == ["psnr", "ssim", "lpips", "fid"] and metrics.skipped.keys() == {"ms_ssim"}
    images, originals = torch.rand(2, 4, 3, 16, 16)
    torch.testing.assert_close(
        metrics.per_image(images, originals)["lpips"], 2 * (images - originals).abs().mean(dim=(1, 2, 3))
    )
    torch.testing.assert_close(metrics.features(images), 255 * images.mean(dim=(2, 3)), atol=0.5, rtol=0)
    assert (metrics.features(images, rounded=False) <= metrics.features(images)).all()


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
