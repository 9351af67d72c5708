"""Synthetic effects: seeded, captioned, audible, and each kind a sound of its own."""

from __future__ import annotations

import numpy as np
import pytest

from spresso_cli.training.procedural import KINDS, Effect, plan, rendered


def of_kind(kind: str, count: int) -> list[Effect]:
    return [e for e in plan(400, seed=1) if e.kind == kind and e.seconds <= 2][:count]


def centroid(sound: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(sound.astype(float))) ** 2
    return float((np.fft.rfftfreq(len(sound), 1 / 48_000) * power).sum() / power.sum())


def test_a_seed_names_the_same_effects_for_ever() -> None:
    assert plan(20, seed=5) == plan(20, seed=5)
    assert plan(20, seed=5) != plan(20, seed=6)
    assert plan(30, seed=5)[:20] == plan(20, seed=5)


def test_all_kinds_occur_with_true_captions() -> None:
    effects = plan(400, seed=1)
    assert {effect.kind for effect in effects} == set(KINDS)
    assert len({effect.caption for effect in effects}) > 100
    halls = [e for e in effects if e.caption.endswith("in a large hall")]
    assert halls
    assert all(e.values["room"] == 2.0 for e in halls)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_renders_finite_sound_at_a_known_level(kind: str) -> None:
    effect = of_kind(kind, 1)[0]
    (sound,) = rendered([effect])
    assert sound.dtype == np.int16
    assert len(sound) == effect.seconds * 48_000
    peak_db = 20 * np.log10(np.abs(sound.astype(float)).max() / 32767)
    assert -14.1 < peak_db < -0.4
    assert effect.clip.category


def test_a_sound_does_not_depend_on_which_others_are_rendered() -> None:
    effects = of_kind("footsteps", 2) + of_kind("rain", 1)
    together, alone = rendered(effects), rendered(effects[1:2])
    # An FFT of several rows may round differently from one of a single row.
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1


def test_words_and_spectra_agree() -> None:
    effects = plan(400, seed=1)
    deep = next(e for e in effects if e.caption == "deep whoosh")
    fast = next(e for e in effects if e.caption == "fast swish")
    low, high = rendered([deep, fast])
    assert centroid(low) * 2 < centroid(high)
