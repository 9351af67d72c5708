"""The codec on the tiny pack: exact lengths, levels, seeds, channels, independence of batching."""

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spresso_cli.audio.files import ArraySource
from spresso_cli.codec import codec as codec_module
from spresso_cli.codec import performance
from spresso_cli.codec.codec import Codec
from spresso_cli.codec.device import ROUND
from spresso_cli.codec.packs import OperatingPoint
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container import spr
from spresso_cli.container.profile import Profile
from spresso_cli.errors import AudioError, MissingPack, SpressoError, UnsupportedStream, UsageError
from spresso_cli.models.qinco2 import QINCo2
from tests.conftest import changeable_copy


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@pytest.mark.parametrize("rate", [48_000, 44_100])
def test_five_seconds_at_96_bits_a_second_are_73_bytes(codec, sound, rate):
    assert len(codec.compress(sound(5 * rate), rate, kbps=0.096)) == 73


@pytest.mark.parametrize(
    ("samples", "rate"),
    [(1, 48_000), (479, 48_000), (481, 48_000), (7_001, 8_000), (30_011, 22_050), (9_000, 192_000)],
)
def test_exactly_the_source_samples_come_back(codec, sound, samples, rate):
    data = codec.compress(sound(samples), rate, kbps=1.32)
    take, back = codec.decompress(data)
    assert take.shape == (samples, 1) and back == rate and take.dtype == np.float32


def test_the_level_comes_back_within_half_a_decibel(codec, sound):
    for scale in (1.0, 0.003):
        x = sound(60_000) * scale
        take, _ = codec.decompress(codec.compress(x, 48_000, kbps=1.32))
        assert np.isfinite(take).all() and np.abs(take).max() <= 1.0
        assert abs(20 * np.log10(rms(take) / rms(x))) < 0.5


def test_one_seed_is_one_performance_and_another_seed_another(codec, sound):
    data = codec.compress(sound(48_000), 48_000)
    first, again = (codec.decompress(data, seed=3)[0] for _ in range(2))
    other = codec.decompress(data, seed=4)[0]
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_compressing_is_repeatable_across_loads(codec, tiny_path, sound):
    x = sound(100_000)
    assert codec.compress(x, 48_000) == Codec.load(tiny_path, "cpu").compress(x, 48_000)


def test_equal_channels_are_coded_once_and_come_back_equal(codec, sound):
    mono = sound(48_000)
    stereo = np.repeat(mono, 2, axis=1)
    one, two = codec.compress(mono, 48_000), codec.compress(stereo, 48_000)
    assert len(two) <= len(one) + 3
    take, _ = codec.decompress(two)
    assert take.shape == (48_000, 2) and np.array_equal(take[:, 0], take[:, 1])


def test_each_stereo_channel_keeps_its_level(codec, sound):
    x = sound(48_000, channels=2) * [1.0, 0.05]
    take, _ = codec.decompress(codec.compress(x, 48_000))
    for channel in range(2):
        assert abs(20 * np.log10(rms(take[:, channel]) / rms(x[:, channel]))) < 0.5


def test_a_silent_channel_stays_silent(codec, sound):
    x = sound(48_000, channels=2) * [1.0, 0.0]
    take, _ = codec.decompress(codec.compress(x, 48_000))
    assert rms(take[:, 0]) > 0 and not take[:, 1].any()


def test_silence_costs_a_header_and_comes_back_as_zeros(codec):
    data = codec.compress(np.zeros(48_000, np.float32), 48_000)
    assert len(data) <= 13
    assert not codec.decompress(data)[0].any()


def test_silence_is_decoded_whatever_weights_its_file_names(codec):
    """There is nothing in it for weights to decode (format_spec.md, 4.6)."""
    data = codec.compress(np.zeros(480, np.float32), 48_000)
    deep = Profile.of(1, 25)  # more codebooks than the pack has
    strange = replace(spr.read(data), weights_tag=b"\xab\xcd", profile=deep)
    assert deep.codebooks > codec.pack.families[1].max_codebooks
    take, rate = codec.decompress(spr.write(strange))
    assert take.shape == (480, 1) and rate == 48_000 and not take.any()
    with pytest.raises(UsageError, match="steps"):
        codec.decompress(spr.write(strange), steps=0)


def test_a_sound_that_runs_away_is_refused_and_the_others_come_back(codec, sound, monkeypatch):
    """As under much guidance in many steps."""
    real = performance.sound_of

    def runs_away(latents, audio_ae, seed):
        for piece in real(latents, audio_ae, seed):
            yield piece * float("inf") if seed == 1 else piece

    monkeypatch.setattr(codec_module, "sound_of", runs_away)
    stream = spr.read(codec.compress(sound(4800), 48_000))
    jobs = [(seed, stream, DecodeOptions(seed)) for seed in range(3)]
    done = dict(codec.decompress_many(jobs))
    assert isinstance(done[1], UsageError) and "--guidance" in str(done[1])
    assert all(np.concatenate(list(done[seed].blocks())).any() for seed in (0, 2))


def test_silence_keeps_its_place_among_sounds(codec, sound):
    silent, loud = (
        spr.read(codec.compress(x, 48_000)) for x in (np.zeros(4800, np.float32), sound(4800))
    )
    jobs = [(i, s, DecodeOptions()) for i, s in enumerate((loud, silent, loud, silent, silent))]
    done = dict(codec.decompress_many(jobs))
    assert list(done) == [0, 1, 2, 3, 4]
    heard = [bool(np.concatenate(list(result.blocks())).any()) for result in done.values()]
    assert heard == [True, False, True, False, False]


def test_silence_among_sounds_does_not_part_their_batch(codec, sound, monkeypatch):
    monkeypatch.setitem(ROUND, "cpu", 64)
    sampled = []
    monkeypatch.setattr(
        codec, "_sampled", lambda jobs, *rest: sampled.append(len(jobs)) or iter(jobs)
    )
    silent, loud = (
        spr.read(codec.compress(x, 48_000)) for x in (np.zeros(4800, np.float32), sound(4800))
    )
    jobs = [(i, silent if i % 3 == 0 else loud, DecodeOptions()) for i in range(9)]
    assert [key for key, _ in codec._decompressed(jobs, None)] == list(range(9))
    assert sampled == [6]


def test_more_than_two_channels_need_a_downmix(codec, sound):
    with pytest.raises(AudioError, match="--downmix"):
        codec.compress(sound(4800, channels=3), 48_000)
    take, _ = codec.decompress(codec.compress(sound(4800, channels=3), 48_000, downmix=True))
    assert take.shape == (4800, 1)


def test_empty_and_infinite_sounds_are_refused(codec):
    with pytest.raises(AudioError):
        codec.compress(np.zeros(0, np.float32), 48_000)
    with pytest.raises(AudioError):
        codec.compress(np.array([0.0, np.inf]), 48_000)


def test_results_do_not_depend_on_what_is_compressed_together(codec, sound):
    profile = Profile.of(11, 12)
    sounds = [sound(n, seed=n) for n in (30_000, 300_000, 1_000)]
    alone = [codec.compress(x, 48_000, kbps=1.32) for x in sounds]
    items = [(i, ArraySource(x, 48_000)) for i, x in enumerate(sounds)]
    together = [spr.write(s) for _, s in codec.compress_many(items, profile)]
    backwards = [spr.write(s) for _, s in codec.compress_many(items[::-1], profile)]
    assert together == alone and backwards == alone[::-1]


def test_best_fit_codes_every_sound_as_what_fits_it_would_alone(codec, sound):
    fitted, longer = (OperatingPoint(11, 8, rank=1), OperatingPoint(1, 8, rank=2))
    codec = Codec(replace(codec.pack, points=(fitted, longer)), codec.device, explicit=True)
    sounds = [sound(n, seed=n) for n in (4000, 100_000, 3000)]  # 90 ms are 4320 samples
    items = [(i, ArraySource(x, 48_000)) for i, x in enumerate(sounds)]
    results = codec.compress_many(items, longer.profile, better=(fitted.profile,))
    together = [spr.write(stream) for _, stream in results]
    rates = (0.88, 0.096, 0.88)
    assert together == [codec.compress(x, 48_000, r) for x, r in zip(sounds, rates, strict=True)]
    assert together == [codec.compress(x, 48_000, 0.096, best_fit=True) for x in sounds]


def test_best_fit_leaves_a_sound_that_cannot_be_read_to_its_error(codec, sound):
    class Broken(ArraySource):
        @property
        def samples(self) -> int:
            raise AudioError("ends in the middle")

        def blocks(self, size: int = 1):
            raise AudioError("ends in the middle")

    items = [("bad", Broken(sound(100), 48_000)), ("good", ArraySource(sound(100), 48_000))]
    results = dict(
        codec.compress_many(
            items, Profile.of(1, 8), better=codec.pack.better_than(Profile.of(1, 8))
        )
    )
    assert str(results["bad"]) == "ends in the middle"
    assert results["good"].samples == 100


def test_a_short_sound_searches_for_little_more_than_its_own_codes(codec, sound, monkeypatch):
    searched = []
    search = QINCo2.search

    def counted(self, x, *arguments):
        searched.append(len(x))
        return search(self, x, *arguments)

    monkeypatch.setattr(QINCo2, "search", counted)
    codec.compress(sound(96_000), 48_000)  # two codes at 1 Hz
    assert sum(searched) <= 4


def test_results_do_not_depend_on_what_is_decompressed_together(codec, sound):
    streams = [spr.read(codec.compress(sound(n, seed=n), 48_000)) for n in (30_000, 280_000)]
    alone = [codec.decompress(stream, seed=1)[0] for stream in streams]
    jobs = [(i, stream, DecodeOptions(seed=1)) for i, stream in enumerate(streams)]
    for (_, decoded), expected in zip(codec.decompress_many(jobs), alone, strict=True):
        assert np.array_equal(np.concatenate(list(decoded.blocks(1000))), expected)
        decoded.close()


def test_one_bad_sound_does_not_stop_the_rest(codec, sound):
    items = [
        ("bad", ArraySource(sound(100, channels=5), 48_000)),
        ("good", ArraySource(sound(100), 48_000)),
    ]
    results = dict(codec.compress_many(items, Profile.of(1, 8)))
    assert isinstance(results["bad"], SpressoError) and not isinstance(
        results["good"], SpressoError
    )


class Vanishing(ArraySource):
    """A sound that can be read once; the second time it is gone after its first windows."""

    read = 0

    def blocks(self):
        self.read += 1
        for number, block in enumerate(super().blocks()):
            if self.read > 1 and number == 8:
                raise AudioError("it is gone")
            yield block


@pytest.mark.parametrize("together", [1, 64])
def test_a_sound_that_fails_between_its_windows_fails_alone(codec, sound, monkeypatch, together):
    """Whether its windows have been run by then or wait for others."""
    monkeypatch.setitem(ROUND, "cpu", together)
    x = sound(48_000)
    items = [
        ("good", ArraySource(x, 48_000)),
        ("gone", Vanishing(sound(20 * 48_000), 48_000)),
        ("too", ArraySource(x, 48_000)),
    ]
    results = dict(codec.compress_many(items, Profile.of(1, 8)))
    assert list(results) == ["good", "gone", "too"]
    assert str(results["gone"]) == "it is gone"
    assert results["good"] == results["too"] == spr.read(codec.compress(x, 48_000, kbps=0.096))


def test_the_start_of_a_long_sound_does_not_know_its_end(codec, sound):
    """Codes of the first window are the same whatever follows beyond its context."""
    long = sound(20 * 48_000)
    changed = long.copy()
    changed[12 * 48_000 :] *= 0.5  # same peak: it lies in the first half
    long[0] = changed[0] = 0.9
    first, second = (
        spr.read(codec.compress(x, 48_000, kbps=0.096)).codes()[0] for x in (long, changed)
    )
    assert np.array_equal(first[:4], second[:4])
    assert len(first) == 20


def test_a_file_of_other_weights_is_refused_by_name(codec, sound):
    stream = spr.read(codec.compress(sound(4800), 48_000))
    fields = {name: getattr(stream, name) for name in stream.__dataclass_fields__}
    other = type(stream)(**{**fields, "weights_tag": b"\x00\x00"})
    with pytest.raises(MissingPack, match="0000"):
        codec.decompress(other)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": 10_000},
        {"sampler": "euler"},
        {"seed": -1},
        {"guidance": float("nan")},
        {"guidance": float("inf")},
    ],
)
def test_impossible_decoding_options_are_usage_errors(codec, sound, options):
    data = codec.compress(sound(4800), 48_000)
    with pytest.raises(UsageError):
        codec.decompress(data, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sr": "48000"}, "sr '48000': use a whole number"),
        ({"sr": 44100.5}, "sr 44100.5: use a whole number"),
        ({"kbps": "0.096"}, "kbps '0.096': use a number"),
        ({"kbps": float("nan")}, "kbps nan: use a number"),
        ({"codebooks": 2.5}, "codebooks 2.5: use a whole number"),
    ],
)
def test_arguments_of_compress_are_refused_by_name(codec, sound, arguments, message):
    with pytest.raises(UsageError, match=message):
        codec.compress(sound(2400), **{"sr": 48_000} | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 3.5}, "seed 3.5: use a whole number"),
        ({"seed": None}, "seed None: use a whole number"),
        ({"steps": "3"}, "steps '3': use a whole number"),
        ({"variety": "1"}, "variety '1': use a number"),
        ({"max_seconds": float("nan")}, "max_seconds nan: use a number"),
        ({"prompt": ["rain"]}, r"prompt \['rain'\]: use a text"),
        ({"data": "door.spr"}, "str is no sound: pass the bytes"),
    ],
)
def test_arguments_of_decompress_are_refused_by_name(codec, sound, arguments, message):
    given = {"data": codec.compress(sound(2400), 48_000)} | arguments
    with pytest.raises(UsageError, match=message):
        codec.decompress(**given)


def test_whole_numbers_and_bytes_may_be_of_any_type(codec, sound):
    data = codec.compress(sound(2400), np.float64(48_000.0), frame_rate=np.int32(11))
    plain, _ = codec.decompress(data, seed=2)
    for same in (bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(codec.decompress(same, seed=np.uint8(2))[0], plain)


def test_channels_before_samples_are_told_from_many_channels(codec, sound):
    with pytest.raises(AudioError, match=r"shape \[2, 2400\]: pass \[n, channels\]"):
        codec.compress(sound(2400, 2).T, 48_000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_codes_after_its_parent_has(codec, sound):
    """Threads of the parent are not there, and torch must not wait for them."""
    data, context = codec.compress(sound(48_000), 48_000), multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=lambda: there.send(codec.compress(sound(48_000), 48_000)))
    child.start()
    try:
        assert here.poll(timeout=60)
        assert here.recv() == data
    finally:
        child.kill()
        child.join()


def test_a_day_of_silence_in_22_bytes_is_refused_unless_asked_for(codec):
    silence = Path(__file__).parents[1] / "vectors" / "odd" / "day_of_silence.spr"
    with pytest.raises(UnsupportedStream, match="86400 s long and the limit is 3600 s"):
        codec.decompress(silence.read_bytes())
    second = codec.compress(np.zeros(48_000, np.float32), 48_000)
    with pytest.raises(UnsupportedStream, match="the limit is 0 s"):
        codec.decompress(second, max_seconds=0)
    assert len(codec.decompress(second, max_seconds=None)[0]) == 48_000


def test_guidance_prompt_and_every_sampler_change_the_performance(codec, sound):
    data = codec.compress(sound(48_000), 48_000)
    plain = codec.decompress(data, steps=3)[0]
    for options in ({"guidance": 2.0}, {"sampler": "ipndm3"}, {"sampler": "dpmpp3m"}):
        take = codec.decompress(data, steps=3, **options)[0]
        assert take.shape == plain.shape and not np.array_equal(take, plain)


def test_guidance_is_the_packs_unless_asked_for(tiny_path, tmp_path, sound):
    folder = changeable_copy(tiny_path, tmp_path / "pack")
    described = (folder / "pack.json").read_text()
    (folder / "pack.json").write_text(described.replace('"guidance": 1.0', '"guidance": 2.0'))
    codec = Codec.load(folder, device="cpu")
    data = codec.compress(sound(24_000), 48_000)
    default, same, none = (codec.decompress(data, guidance=w)[0] for w in (None, 2.0, 1.0))
    assert np.array_equal(default, same)
    assert not np.array_equal(default, none)


def test_cuda_where_there_is_none_is_a_usage_error(tiny_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UsageError, match="--device cpu"):
        Codec.load(tiny_path, device="cuda")
