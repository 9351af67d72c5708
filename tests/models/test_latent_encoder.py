"""The latent encoder: one vector for each pooling window, at unit RMS where asked for."""

from __future__ import annotations

import pytest
import torch

from spresso_cli.models.latent_encoder import LatentEncoder, LatentEncoderConfig


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


def test_window_positions_let_z_tell_an_early_event_from_a_late_one() -> None:
    def difference(network: LatentEncoder) -> float:
        # The same event in an otherwise silent sound, in another place of the middle window.
        early, late = torch.zeros(2, 1, 60, 128)
        early[:, 24:28], late[:, 32:36] = 3.0, 3.0
        return float((network(early) - network(late))[0, 1].norm())

    # Without attention, so that nothing but its place can tell where a token lies.
    assert difference(encoder(pool=20, stride=4, depth=0, unit_rms=False)) < 1e-6
    aware = encoder(pool=20, stride=4, depth=0, unit_rms=False, window_positions=True)
    assert difference(aware) > 1e-3


def test_log_input_makes_a_quiet_sound_as_visible_as_a_loud_one() -> None:
    def spread(network: LatentEncoder) -> float:
        quiet = 0.03 * torch.randn(1, 54, 128, generator=torch.Generator().manual_seed(1))
        return float((network(quiet) - network(quiet / 2)).norm() / network(quiet).norm())

    assert spread(encoder(log_input=True, unit_rms=False)) > 0.1
    assert spread(encoder(unit_rms=False)) < 0.1


def test_a_bypass_describes_the_envelope_before_anything_is_trained() -> None:
    network = encoder(pool=20, stride=4, unit_rms=False, bypass="envelope")
    mel = torch.randn(2, 60, 64)
    x0 = torch.randn(2, 60, 128)
    windows = mel.unflatten(1, (3, 20)).flatten(2)  # [2, 3, 1280]
    mean, components = torch.randn(1280), torch.randn(1280, 64)
    network.fill_bypass(mean, components)
    torch.testing.assert_close(network(x0, mel), (windows - mean) @ components)
    # What the network learns comes on top.
    network.out.bias.fill_(0.5)
    torch.testing.assert_close(network(x0, mel), (windows - mean) @ components + 0.5)
    with pytest.raises(ValueError, match="needs the log-mels"):
        network(x0)


def test_there_is_no_other_bypass() -> None:
    with pytest.raises(ValueError, match="use none or envelope"):
        LatentEncoderConfig(pool=9, depth=1, bypass="mdct")


def test_tokens_hold_whole_windows() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        LatentEncoderConfig(pool=9, depth=1, stride=2)
