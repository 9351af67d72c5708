"""Least squares from z to the envelope of its window."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spresso_cli.models.latent_encoder import LatentEncoderConfig
from spresso_cli.models.qinco2 import QINCo2, QINCo2Config
from spresso_cli.models.sequence_quantizer import SequenceQuantizer
from spresso_cli.training import quantizer, read_out
from spresso_cli.training.latents import LatentPool
from spresso_cli.training.quantizer import QuantizerTraining

POOL = 4


class Averaging(nn.Module):
    """An encoder whose z is the mean of the first three latents, and a channel of zeros."""

    config = LatentEncoderConfig(POOL, 1, width=8, heads=1, channels=4, unit_rms=False)

    def forward(self, x: Tensor, mel: Tensor) -> Tensor:
        z = x[..., :3].unflatten(1, (-1, POOL)).mean(2)
        return torch.cat((z, torch.zeros_like(z[..., :1])), -1)


@pytest.fixture(scope="module")
def pool() -> LatentPool:
    """Log-mels are a linear function of the first three latents, which change every 4 frames, and
    a little noise."""
    generator = torch.Generator().manual_seed(0)
    count = 1000
    latents = torch.randn(count, 128, generator=generator).repeat_interleave(POOL, 0)
    ways = torch.randn(3, 64, generator=generator)
    mel = latents[:, :3] @ ways - 2 + 0.05 * torch.randn(len(latents), 64, generator=generator)
    offsets = torch.tensor([0, len(latents)])
    return LatentPool(latents, mel, offsets, torch.tensor([0]), torch.zeros(128))


def test_the_read_out_finds_what_z_says_of_the_envelope(
    pool: LatentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = pool.crops  # at whole windows, as the latents change
    aligned = LatentPool(pool.latents, pool.mel, pool.offsets, pool.clip, pool.silence)

    def at_windows(count: int, frames: int, generator: torch.Generator):
        starts = torch.randint(0, 900, (count,), generator=generator) * POOL
        places = starts[:, None] + torch.arange(frames)
        return crops(count, frames, generator)._replace(
            latents=pool.latents[places], mel=pool.mel[places]
        )

    monkeypatch.setattr(aligned, "crops", at_windows)
    envelope = read_out.fit(aligned, Averaging(), windows=3000, frames=40)
    some = at_windows(16, 40, torch.Generator().manual_seed(9))
    z = Averaging()(some.latents, some.mel)
    said = envelope.config.frames(z @ envelope.read_out + envelope.mean)
    error = (said - some.mel).std()
    assert error == pytest.approx(0.05, rel=0.1)
    assert envelope.read_out[3].abs().max() < 1e-3
    assert envelope.spread.shape == (0, 4)


def test_the_read_out_finds_what_z_says_of_levels() -> None:
    """The last two latents follow the mean of the first, from frame to frame by themselves."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(4000, 1, 128, generator=generator)
    latents = means.expand(-1, POOL, -1).clone()
    latents[..., 126:] = means[..., :2] * torch.arange(1.0, POOL + 1)[:, None] - 1
    latents = latents.flatten(0, 1)
    pool = LatentPool(
        latents,
        torch.zeros(len(latents), 64),
        torch.arange(0, len(latents) + 1, POOL),
        torch.zeros(4000, dtype=torch.int64),
        torch.zeros(128),
        levels=torch.tensor(2),
    )
    envelope = read_out.fit(pool, Averaging(), windows=3000, frames=POOL)
    assert envelope.config.levels == 2
    some = latents.view(-1, POOL, 128)[:50]
    told = Averaging()(some, None) @ envelope.level_read_out + envelope.level_mean
    torch.testing.assert_close(told[:, 0], some[..., 126:].flatten(1), atol=0.02, rtol=0.01)


def test_what_codes_leave_open_is_the_error_of_each_channel() -> None:
    torch.manual_seed(0)
    model = QINCo2(QINCo2Config(dim=4, codebook_bits=6, codebooks=3, embed=8, hidden=8, blocks=1))
    z = torch.randn(500, 4) * torch.tensor([4.0, 2.0, 1.0, 0.0])
    quantizer.initialise(model, z, QuantizerTraining(initial_iterations=4))
    model.requires_grad_(False)
    left = read_out.left_open(SequenceQuantizer(model), z[None])
    assert left.shape == (3, 4)
    assert (left[1:] < left[:-1])[:, :2].all()  # more codebooks leave less open
    error = model.decode(model.encode(z)) - z
    torch.testing.assert_close(left[-1], error.square().mean(0).sqrt())


def test_how_strongly_a_sound_fluctuates_is_learnt_from_z() -> None:
    """Twice as strongly where the first latent is greater by 1."""
    generator = torch.Generator().manual_seed(0)
    lively = torch.randn(1500, 1, generator=generator).repeat_interleave(40, 0)
    mel = 0.2 * 2**lively * torch.randn(len(lively), 64, generator=generator)
    latents = torch.cat((lively, torch.zeros(len(lively), 127)), 1)
    offsets = torch.arange(0, len(lively) + 1, 40)
    pool = LatentPool(latents, mel, offsets, torch.arange(1500), torch.zeros(128))
    encoder = Averaging()
    envelope = read_out.fit(pool, encoder, windows=500, frames=40, fluctuation=16)
    first = read_out.learn_fluctuation(envelope, pool, encoder, 2000, 40, steps=1)
    last = read_out.learn_fluctuation(envelope, pool, encoder, 2000, 40, steps=300)
    assert last < first - 0.1
    calm, wild = envelope.strength(torch.tensor([[[-1.0, 0, 0, 0], [1.0, 0, 0, 0]]]))[0].exp()
    # Of a window of four frames, the mean is held: a quarter of the variance.
    torch.testing.assert_close(calm.mean(), torch.tensor(0.1 * 0.75**0.5), rtol=0.2, atol=0)
    torch.testing.assert_close(wild.mean(), torch.tensor(0.4 * 0.75**0.5), rtol=0.2, atol=0)
