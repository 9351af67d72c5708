"""What counts of an envelope: loud blocks and bands, which z then says better."""

import pytest
import torch
from torch import Tensor

from spresso_cli.models.audibility import LEAST, LOUD, SOFT, TETHER, Audibility
from spresso_cli.models.envelope import EnvelopeConfig

ENVELOPE = EnvelopeConfig(pool=4, channels=6)


@pytest.fixture
def audibility() -> Audibility:
    torch.manual_seed(0)
    return Audibility(ENVELOPE, torch.randn(6, ENVELOPE.inputs), torch.randn(ENVELOPE.inputs))


@pytest.fixture
def mel() -> Tensor:
    """Five windows: noise about a level that is loud in the lower bands and faint in the others."""
    torch.manual_seed(1)
    level = torch.cat((torch.full((32,), LOUD + 1), torch.full((32,), SOFT - 1)))
    return (level + 0.9 * torch.rand(1, 5 * ENVELOPE.pool, 64)).clone()


def missed(audibility: Audibility, z: Tensor, mel: Tensor) -> tuple[float, float]:
    """Mean squared errors of the loud bands and of the faint ones."""
    error = ENVELOPE.windows(mel) - (z @ audibility.read_out + audibility.mean)
    square = error.square().unflatten(2, (-1, 64))
    return float(square[..., :32].mean()), float(square[..., 32:].mean())


def test_what_is_loud_counts_in_full_and_what_is_faint_a_little(
    audibility: Audibility, mel: Tensor
) -> None:
    weights = audibility.weights(mel).unflatten(2, (-1, 64))
    assert (weights[..., :32] == 1).all()
    torch.testing.assert_close(weights[..., 32:], torch.full_like(weights[..., 32:], LEAST))


def test_what_lies_between_counts_by_its_decibels(audibility: Audibility) -> None:
    weights = audibility.weights(torch.full((1, ENVELOPE.pool, 64), (LOUD + SOFT) / 2))
    torch.testing.assert_close(weights, torch.full_like(weights, (1 + LEAST) / 2))


def test_what_fine_bands_add_counts_in_full() -> None:
    fine = EnvelopeConfig(pool=4, channels=2, fine=8)
    read_out = torch.zeros(2, fine.inputs)
    read_out[0, : fine.coarse] = read_out[1, fine.coarse :] = 1.0
    weights = torch.full((1, fine.coarse), LEAST)
    metric = Audibility(fine, read_out, torch.zeros(fine.inputs)).metric(weights)[0]
    counted = (metric @ metric.T).diagonal() / read_out.sum(1)  # of an error in each number of z
    torch.testing.assert_close(counted, torch.tensor([LEAST, 1.0]) + TETHER)


def test_z_says_better_what_is_loud_and_worse_what_is_faint(
    audibility: Audibility, mel: Tensor
) -> None:
    windows = ENVELOPE.windows(mel)
    # As near as can be, all bands alike.
    z = (windows - audibility.mean) @ torch.linalg.pinv(audibility.read_out)
    loud, faint = missed(audibility, z, mel)
    heard = missed(audibility, audibility.nearest(z, mel, audibility.weights(mel)), mel)
    assert heard[0] < loud and heard[1] > faint


def test_where_all_is_loud_the_nearest_z_stays(audibility: Audibility, mel: Tensor) -> None:
    mel = mel + 10
    z = (ENVELOPE.windows(mel) - audibility.mean) @ torch.linalg.pinv(audibility.read_out)
    nearest = audibility.nearest(z, mel, audibility.weights(mel))
    torch.testing.assert_close(nearest, z, rtol=1e-3, atol=1e-3)


def test_the_metric_measures_errors_of_the_envelope_as_weighted(
    audibility: Audibility, mel: Tensor
) -> None:
    weights = audibility.weights(mel)[0]
    error = torch.randn(5, 6)
    counted = ((error @ audibility.read_out).square() * weights).sum(1)
    measured = (error[:, None] @ audibility.metric(weights))[:, 0].square().sum(1)
    assert (measured > counted).all()  # by what ties z to the encoder's
    torch.testing.assert_close(measured, counted, rtol=0.2, atol=0.0)


def test_what_lies_behind_the_end_of_a_sound_counts_for_nothing(
    audibility: Audibility, mel: Tensor
) -> None:
    z = torch.zeros(1, 5, 6)
    whole, cut = (audibility.heard(z, mel, torch.tensor([frames]))[1] for frames in (20, 10))
    torch.testing.assert_close(whole, audibility.weights(mel))
    blocks = cut.unflatten(2, (-1, 64)).flatten(1, 2)  # of one frame each
    assert (blocks[:, 10:] == 0).all()
    assert torch.equal(blocks[:, :10], whole.unflatten(2, (-1, 64)).flatten(1, 2)[:, :10])


def test_where_blocks_are_long_half_of_one_behind_the_end_matters() -> None:
    """An envelope is linear between the middles of blocks."""
    config = EnvelopeConfig(pool=100, channels=6)  # blocks of four frames
    audibility = Audibility(config, torch.randn(6, config.inputs), torch.zeros(config.inputs))
    loud = torch.full((1, 100, 64), LOUD + 1)
    _, weights = audibility.heard(torch.zeros(1, 1, 6), loud, torch.tensor([40]))
    first_band = weights[0, 0].unflatten(0, (-1, 64))[:, 0]
    assert first_band.tolist() == [1.0] * 10 + [0.5] + [0.0] * 14


def test_the_z_of_a_sound_that_ends_says_it_better_up_to_there(
    audibility: Audibility, mel: Tensor
) -> None:
    mel[:, 2:4] = SOFT - 1  # the first window's second half is what fills it up
    z = ENVELOPE.windows(mel) @ torch.linalg.pinv(audibility.read_out)

    def missed(frames: int) -> float:
        said, _ = audibility.heard(z, mel, torch.tensor([frames]))
        error = ENVELOPE.windows(mel) - (said @ audibility.read_out + audibility.mean)
        return float(error[0, 0].unflatten(0, (-1, 64))[:2].square().mean())

    assert missed(2) < missed(20)
