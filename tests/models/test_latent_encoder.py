"""The latent encoder: one vector for each pooling window, at unit RMS where asked for."""

from __future__ import annotations

import pytest
import torch

from spresso_cli.models.latent_encoder import PAPER_DEPTH, LatentEncoder, LatentEncoderConfig


def encoder(**changes: object) -> LatentEncoder:
    torch.manual_seed(0)
    config = {"pool": 9, "depth": 2, "width": 16, "heads": 2, "stride": 3} | changes
    return LatentEncoder(LatentEncoderConfig(**config)).eval().requires_grad_(False)


@pytest.mark.parametrize(("pool", "stride"), [(4, 1), (9, 3), (20, 4), (100, 5)])
def test_every_pooling_window_becomes_one_vector(pool: int, stride: int) -> None:
    z = encoder(pool=pool, stride=stride)(torch.randn(2, 3 * pool, 128))
    assert z.shape == (2, 3, 64)


def test_vectors_have_unit_rms_by_configuration() -> None:
    x = torch.randn(2, 27, 128)
    assert encoder()(x).square().mean(-1).sqrt() == pytest.approx(torch.ones(2, 3), abs=1e-3)
    assert encoder(unit_rms=False)(x).square().mean(-1).sqrt().std() > 0.01


def test_tokens_hold_whole_windows() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        LatentEncoderConfig(pool=9, depth=1, stride=2)


def test_depths_are_the_papers() -> None:
    assert PAPER_DEPTH == {4: 6, 9: 10, 20: 12, 100: 12}
