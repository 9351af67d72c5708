"""Decoded sounds are held to the envelope of their codes, in whatever pieces they stream by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spresso_cli.audio.files import ArraySource
from spresso_cli.codec import envelope as streaming
from spresso_cli.codec.continuous import ContinuousCodec
from spresso_cli.codec.envelope import held_to_envelope, varied
from spresso_cli.codec.protocol import VARIETY, DecodeOptions
from spresso_cli.errors import UsageError
from spresso_cli.models.envelope import EnvelopeConfig, EnvelopeFilter
from spresso_cli.models.whitening import Whitening, WhiteningConfig


@pytest.mark.parametrize(("pool", "fine"), [(4, 96), (9, 0), (9, 96), (100, 0)])
@pytest.mark.parametrize("block", [4_321, 60_000, 10**7])
def test_a_stream_is_filtered_as_the_whole_sound_is(
    monkeypatch: pytest.MonkeyPatch, pool: int, fine: int, block: int
) -> None:
    monkeypatch.setattr(streaming, "CHUNK_FRAMES", 200)
    generator = torch.Generator().manual_seed(0)
    envelope = EnvelopeFilter(EnvelopeConfig(pool, 3, fine=fine))
    read_out = torch.randn(envelope.read_out.shape, generator=generator)
    envelope.fill(read_out, envelope.mean)
    windows = max(600 // pool, 13)
    sound = 0.1 * torch.randn(2, windows * pool * 480, generator=generator)
    z = 0.3 * torch.randn(2, windows, 3, generator=generator)
    blocks = list(
        held_to_envelope(sound.split(block, 1), lambda begin, stop: z[:, begin:stop], envelope)
    )
    assert sum(part.shape[1] for part in blocks) == sound.shape[1]
    torch.testing.assert_close(torch.cat(blocks, 1), envelope(sound, z), rtol=0, atol=1e-5)


def test_the_envelope_can_be_left_out_where_the_pack_has_one(codec, sound) -> None:
    """The tiny pack has one at 1 Hz and none at 11 Hz."""
    x = sound(100_000, channels=2)
    for kbps, matters in ((0.096, True), (1.32, False)):
        data = codec.compress(x, 48_000, kbps=kbps)
        held, left = (codec.decompress(data, envelope=chosen)[0] for chosen in (True, False))
        assert held.shape == left.shape
        assert np.array_equal(held, left) != matters


def test_a_seed_fills_in_what_the_codes_leave_open_as_far_as_asked(codec, sound, tmp_path) -> None:
    data = codec.compress(sound(200_000), 48_000, kbps=0.096)

    def take(**options: float) -> np.ndarray:
        return codec.decompress(data, **options)[0]

    still, moved, far = (take(variety=v).astype(np.float64) for v in (0.0, VARIETY, 1.0))
    assert np.array_equal(take(), moved.astype(np.float32))  # the default
    assert 0 < np.abs(moved - still).mean() < np.abs(far - still).mean()
    assert np.array_equal(take(envelope=False), take(envelope=False, variety=1.0))
    with pytest.raises(UsageError, match=r"variety 1.5: use 0 to 1"):
        take(variety=1.5)


@pytest.mark.parametrize("taps", [None, torch.tensor([[0.8, 0.4, 0.1]]).expand(4, -1)])
@pytest.mark.parametrize("step", [3, 10])
def test_variation_does_not_depend_on_the_excerpts_it_is_asked_for(
    step: int, taps: torch.Tensor | None
) -> None:
    z = torch.randn(2, 10, 4)
    spread = torch.tensor([0.0, 0.1, 1.0, 2.0])
    whole = varied(lambda begin, stop: z[:, begin:stop], spread, seed=3, taps=taps)
    cuts = [whole(begin, min(10, begin + step)) for begin in range(0, 10, step)]
    moved = torch.cat(cuts, 1) - z
    torch.testing.assert_close(moved, whole(0, 10) - z)
    assert not moved[..., 0].any() and torch.equal(moved[0] > 0, moved[1] > 0)
    other = varied(lambda begin, stop: z[:, begin:stop], spread, seed=4)
    assert not torch.equal(other(0, 10), whole(0, 10))


def test_variation_hangs_together_as_the_errors_of_the_codes_do() -> None:
    """Filters around the quantiser spread an error over its neighbours; its strength is as told."""
    whitening = Whitening(WhiteningConfig(channels=2, codebooks=1, reach=2))
    whitening.behind[0] = torch.tensor([[2.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    spread, nothing = torch.tensor([0.5, 0.5]), torch.zeros(1, 4000, 2)
    noise = varied(
        lambda begin, stop: nothing[:, begin:stop], spread, seed=1, taps=whitening.colour(1)
    )(0, 4000)[0]
    torch.testing.assert_close(noise[8:].std(0), spread, rtol=0.05, atol=0)
    together = (noise[8:-1] * noise[9:]).mean(0) / spread**2
    torch.testing.assert_close(together, torch.tensor([2 / 3, 0.0]), rtol=0, atol=0.05)


def test_continuous_latents_are_held_to_the_envelope_too(tiny_path, sound) -> None:
    codec = ContinuousCodec.load(tiny_path, device="cpu")
    latents = codec.encode(ArraySource(sound(100_000), 48_000), 1)
    takes = []
    for chosen in (True, False):
        take = codec.decode(latents, DecodeOptions(envelope=chosen))
        takes.append(np.concatenate(list(take.blocks())))
    assert takes[0].shape == takes[1].shape == (100_000, 1)
    assert not np.array_equal(*takes)
