"""Windows on a field of noise, and stretches of very long sounds (format_spec.md, 7.1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spresso_cli import Codec
from spresso_cli.audio.windows import window_weights
from spresso_cli.codec import decoder as module
from spresso_cli.codec.decoder import LatentDecoder, Piece, Solver, joined
from spresso_cli.diffusion.noise import latent_noise
from spresso_cli.models.dit import DiTConfig

SOLVER = Solver("ipndm3", 1)


@pytest.fixture
def decoder(tiny_path: Path) -> LatentDecoder:
    codec = Codec.load(tiny_path, device="cpu")
    return LatentDecoder(codec._networks.decoder(codec.pack, codec.pack.families[1]))


class Watched:
    """A transformer that keeps what it is shown and predicts how often it has been asked."""

    def __init__(self, config: DiTConfig) -> None:
        self.config = config
        self.shown: list[tuple[torch.Tensor, torch.Tensor]] = []  # input and tokens of a window

    def __call__(self, y: torch.Tensor, c_noise: torch.Tensor, text, down) -> torch.Tensor:
        asked = len(self.shown)
        self.shown += zip(y, down.tokens, strict=True)
        return torch.full_like(y, asked)


def test_every_window_sees_its_part_of_the_noise_and_its_own_codes(decoder: LatentDecoder) -> None:
    """Where windows overlap, what is predicted in them is averaged by their weights."""
    watched = Watched(decoder.models.dit.config)
    models = replace(decoder.models, dit=watched)
    codes = np.random.default_rng(0).integers(0, 4096, (12, 8)).astype(np.uint16)
    (latents,) = LatentDecoder(models).sample([Piece(codes, seed=3)], SOLVER)
    noise = torch.from_numpy(latent_noise(3, 0, 1200))
    sigma = models.sigma_max

    tokens = models.adapter.tokens(decoder.z(codes, 0, 12)[None])[0]
    windows = decoder.plan.decoder_windows(12)
    assert len(windows) > 2
    asked = torch.zeros(1200, 1)
    for number, weights in enumerate(window_weights(windows, 100, 1200)):
        begin, stop = windows[number]
        y, own = watched.shown[number]
        asked[begin * 100 : stop * 100] += number * torch.from_numpy(weights)[:, None]
        seen = noise[begin * 100 : stop * 100] * sigma / (sigma**2 + 1) ** 0.5
        torch.testing.assert_close(y, seen)
        assert torch.equal(own, tokens[begin:stop])
    assert len(watched.shown) == len(windows)
    root = (sigma**2 + 1) ** 0.5
    torch.testing.assert_close(latents, noise * sigma / root**2 + asked * sigma / root)


def test_of_what_two_stretches_share_only_the_middle_third_is_faded() -> None:
    one, other = torch.zeros(2, 40, 3), torch.ones(2, 35, 3)
    out = torch.cat(list(joined([one, other], [(0, 40), (30, 65)])), 1)
    share = (3 * torch.arange(10) / 9 - 1).clamp(0, 1)
    expected = torch.cat((torch.zeros(30), share, torch.ones(25)))
    torch.testing.assert_close(out, expected[None, :, None].expand(2, 65, 3))


def test_a_long_sound_is_its_stretches_one_behind_the_other(
    decoder: LatentDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spresso_cli.audio.windows.STRETCH_WINDOWS", 3)
    channels = np.random.default_rng(0).integers(0, 4096, (2, 24, 8)).astype(np.uint16)
    ranges = [(0, 13), (10, 23), (20, 24)]  # code frames of a second
    expected = torch.zeros(2, 2400, 128)
    for channel, codes in enumerate(channels):
        for begin, stop in ranges:
            (piece,) = decoder.sample([Piece(codes, 7, begin, stop)], SOLVER)
            share = torch.ones(len(piece), 1)
            if begin:
                share[:300] = (3 * torch.arange(300) / 299 - 1).clamp(0, 1)[:, None]
            place = expected[channel, begin * 100 : stop * 100]
            place += share * (piece - place)
    whole = torch.cat(list(decoder.whole(channels, 7, SOLVER)), 1)
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=1e-4)


def test_the_noise_of_a_stretch_is_that_of_its_place_in_the_sound(
    decoder: LatentDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def recorded(seed: int, start: int, frames: int) -> np.ndarray:
        drawn.append((seed, start, frames))
        return latent_noise(seed, start, frames)

    monkeypatch.setattr(module, "latent_noise", recorded)
    codes = np.zeros((12, 8), np.uint16)
    decoder.sample([Piece(codes, 1), Piece(codes, 2, start=3, stop=5)], SOLVER)
    assert drawn == [(1, 0, 1200), (2, 300, 200)]
