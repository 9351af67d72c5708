"""Captioned sound effects by synthesis: seeded, batched, as a second corpus without files.

The physics is only approximate (modal synthesis for struck bodies, shaped noise for wind, rain and
fire, harmonic series for engines): what matters is a large variety of envelopes and spectra with
true captions. `plan` decides what every effect is, and `rendered` makes its sound.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spresso_cli.models.audio_ae import SAMPLE_RATE
from spresso_cli.training.corpus import Clip
from spresso_cli.training.synthesis import (
    Voice,
    attack_decay,
    band,
    convolved,
    modes,
    moving_band,
    repeated,
    reverberated,
    scattered,
    tone,
)

_TOGETHER = 32  # effects of one kind and length rendered at a time
SECONDS = (1.0, 2.0, 4.0)

Values = dict[str, float]


@dataclass(frozen=True)
class Effect:
    """One sound to be: its kind, its numbers, its words; everything else follows from `seed`."""

    kind: str
    seed: int
    seconds: float
    values: Mapping[str, float]
    caption: str

    @property
    def clip(self) -> Clip:
        """How it appears in a corpus; the path names no file."""
        path = Path("procedural") / f"{self.kind}-{self.seed:016x}"
        return Clip(path, self.caption, KINDS[self.kind].category)


@dataclass(frozen=True)
class Kind:
    """How effects of one kind are described and made."""

    category: str
    describe: Callable[[random.Random], tuple[str, Values]]
    render: Callable[[Voice], Tensor]
    shortest: float = 1.0  # seconds


def plan(count: int, seed: int) -> list[Effect]:
    """What `count` effects will be, all kinds equally often on average."""
    effects = []
    for index in range(count):
        own = random.Random(seed * 1_000_003 + index)
        name = own.choice(list(KINDS))
        kind = KINDS[name]
        seconds = own.choice([s for s in SECONDS if s >= kind.shortest])
        caption, values = kind.describe(own)
        values["room"] = own.choice((0.0, 0.0, 0.0, 0.6, 2.0))
        caption += {0.0: "", 0.6: " in a room", 2.0: " in a large hall"}[values["room"]]
        effects.append(Effect(name, own.getrandbits(62), seconds, values, caption))
    return effects


def rendered(effects: Sequence[Effect], device: torch.device | str = "cpu") -> list[np.ndarray]:
    """The sounds of effects, int16 `[n]` each at 48 kHz, peak between -14 and -0.5 dBFS."""
    device = torch.device(device)
    groups: dict[tuple[str, float], list[int]] = defaultdict(list)
    for index, effect in enumerate(effects):
        groups[effect.kind, effect.seconds].append(index)
    sounds: list[np.ndarray] = [np.zeros(0, np.int16)] * len(effects)
    for (kind, seconds), members in groups.items():
        for start in range(0, len(members), _TOGETHER):
            some = members[start : start + _TOGETHER]
            voice = _voice([effects[i] for i in some], seconds, device)
            x = reverberated(voice, KINDS[kind].render(voice))
            peak = 10 ** (-(0.5 + 13.5 * voice.uniform(1)) / 20)
            x = x * (peak / x.abs().amax(-1, keepdim=True).clamp(min=1e-6))
            for i, row in zip(some, (x * 32767).round().short().cpu().numpy(), strict=True):
                sounds[i] = row
    return sounds


def _voice(effects: Sequence[Effect], seconds: float, device: torch.device) -> Voice:
    values = {
        name: torch.tensor([[effect.values[name]] for effect in effects], device=device)
        for name in effects[0].values
    }
    generators = [torch.Generator().manual_seed(effect.seed) for effect in effects]
    return Voice(values, generators, round(seconds * SAMPLE_RATE), device)


def _pick(own: random.Random, table: Mapping[str, Values]) -> tuple[str, Values]:
    name = own.choice(list(table))
    return name, dict(table[name])


# Struck bodies: frequency of the lowest mode (Hz), its decay (s), spread of the modes' ratios.
_MATERIALS = {
    "metal": {"hz": 700.0, "decay": 0.6, "spread": 0.9, "click": 0.3},
    "wooden": {"hz": 260.0, "decay": 0.06, "spread": 0.6, "click": 0.6},
    "glass": {"hz": 2200.0, "decay": 0.25, "spread": 0.5, "click": 0.4},
    "plastic": {"hz": 480.0, "decay": 0.04, "spread": 0.7, "click": 0.8},
    "stone": {"hz": 900.0, "decay": 0.03, "spread": 0.8, "click": 1.0},
}


def _describe_impact(own: random.Random) -> tuple[str, Values]:
    material, values = _pick(own, _MATERIALS)
    size, factor = own.choice((("small", 1.8), ("", 1.0), ("large", 0.5)))
    values["hz"] *= factor * own.uniform(0.7, 1.4)
    values["decay"] *= own.uniform(0.6, 1.6) / factor
    return f"{size} {material} impact".strip(), values


def _impact(voice: Voice) -> Tensor:
    time, count = voice.time(), 12
    steps = (0.15 + voice["spread"] * voice.uniform(count)).cumsum(1)
    hz = voice["hz"] * (1 + steps - steps[:, :1])
    decay = voice["decay"] * (voice["hz"] / hz) ** 0.7
    ring = modes(time, hz, decay, 1 / (1 + steps) * (0.3 + voice.uniform(count)))
    click = band(voice.noise(), 500.0, 12_000.0) * attack_decay(time, 0.0005, 0.004)
    return ring / 3 + voice["click"] * click


# Ground: corner frequencies (Hz) and decay (s) of the noise under a shoe, and how much it crunches.
_GROUNDS = {
    "gravel": {"low": 1200.0, "high": 12_000.0, "decay": 0.07, "crunch": 1.0},
    "wood": {"low": 120.0, "high": 1500.0, "decay": 0.03, "crunch": 0.0},
    "grass": {"low": 900.0, "high": 6000.0, "decay": 0.06, "crunch": 0.3},
    "concrete": {"low": 300.0, "high": 5000.0, "decay": 0.02, "crunch": 0.1},
    "snow": {"low": 500.0, "high": 4000.0, "decay": 0.12, "crunch": 0.6},
}


def _describe_steps(own: random.Random) -> tuple[str, Values]:
    ground, values = _pick(own, _GROUNDS)
    pace, rate = own.choice((("slow", 1.3), ("walking", 1.9), ("running", 3.2)))
    values["rate"] = rate * own.uniform(0.9, 1.1)
    return f"{pace} footsteps on {ground}", values


def _steps(voice: Voice) -> Tensor:
    time = voice.time()[: SAMPLE_RATE // 2]
    sole = band(voice.noise(len(time)), voice["low"], voice["high"])
    grains = (voice.uniform(len(time)) < 0.01) * voice.noise(len(time))
    grains = band(grains, 2000.0, 14_000.0) * 5
    heel = modes(time, 90 + 60 * voice.uniform(2), 0.02 + 0 * voice.uniform(2), voice.uniform(2))
    kernel = (sole + voice["crunch"] * grains) * attack_decay(time, 0.006, voice["decay"])
    return convolved(repeated(voice, voice["rate"], 0.15), kernel + 0.8 * heel)


def _describe_rain(own: random.Random) -> tuple[str, Values]:
    words, rate = own.choice((("light rain", 40.0), ("steady rain", 250.0), ("heavy rain", 1500.0)))
    return words, {"rate": rate * own.uniform(0.7, 1.4), "bed": rate / 1500 * own.uniform(0.5, 1)}


def _rain(voice: Voice) -> Tensor:
    drop = band(voice.noise(2400), 2500.0, 12_000.0)
    drop = drop * torch.exp(-voice.time()[:2400] / 0.003)
    bed = band(voice.noise(), 800.0, 9000.0, 1.0)
    return convolved(scattered(voice, voice["rate"], 3.0), drop) + 0.15 * voice["bed"] * bed


def _describe_wind(own: random.Random) -> tuple[str, Values]:
    words, hz = own.choice((("low wind", 200.0), ("gusty wind", 450.0), ("howling wind", 900.0)))
    return words, {"hz": hz * own.uniform(0.8, 1.3), "octaves": 0.6 if "howl" in words else 2.0}


def _wind(voice: Voice) -> Tensor:
    gust = voice.slow(0.8)
    centre = voice["hz"] * 2 ** (1.5 * gust - 0.75)
    return moving_band(voice.noise(), centre, voice["octaves"]) * (0.15 + gust**2)


def _describe_fire(own: random.Random) -> tuple[str, Values]:
    words, rate = own.choice((("small fire crackling", 12.0), ("campfire", 30.0),
                              ("large roaring fire", 70.0)))  # fmt: skip
    return words, {"rate": rate, "roar": rate / 70 * own.uniform(0.6, 1.2)}


def _fire(voice: Voice) -> Tensor:
    crack = band(voice.noise(2400), 1500.0, 14_000.0)
    crack = crack * torch.exp(-voice.time()[:2400] / 0.002)
    roar = band(voice.noise(), 40.0, 350.0, 1.0) * (0.5 + voice.slow(4.0))
    return 2 * convolved(scattered(voice, voice["rate"], 4.0), crack) + 0.4 * voice["roar"] * roar


def _describe_engine(own: random.Random) -> tuple[str, Values]:
    size, hz = own.choice((("truck", 14.0), ("car", 26.0), ("motorbike", 45.0)))
    doing, rise = own.choice((("idling", 0.0), ("revving", 1.3), ("slowing down", -1.0)))
    return f"{size} engine {doing}", {"hz": hz * own.uniform(0.8, 1.25), "rise": rise}


def _engine(voice: Voice) -> Tensor:
    share = torch.linspace(0, 1, voice.samples, device=voice.device)
    hz = voice["hz"] * 2 ** (voice["rise"] * share) * (1 + 0.04 * (voice.slow(6.0) - 0.5))
    phase = torch.cumsum(hz / SAMPLE_RATE, -1)
    level = 0.2 + voice.uniform(24)
    firing = sum(
        level[:, k : k + 1] / (k + 1) ** 0.6 * torch.sin(2 * torch.pi * (k + 1) * phase)
        for k in range(24)
    )
    hiss = band(voice.noise(), 300.0, 4000.0, 1.0) * (0.3 + (phase % 1.0 < 0.4))
    return firing / 4 + 0.3 * hiss


def _describe_whoosh(own: random.Random) -> tuple[str, Values]:
    words, hz = own.choice((("deep whoosh", 300.0), ("whoosh", 900.0), ("fast swish", 2500.0)))
    return words, {"hz": hz * own.uniform(0.8, 1.3), "at": own.uniform(0.25, 0.6),
                   "width": own.uniform(0.06, 0.2)}  # fmt: skip


def _whoosh(voice: Voice) -> Tensor:
    share = torch.linspace(0, 1, voice.samples, device=voice.device)
    bump = torch.exp(-0.5 * ((share - voice["at"]) / voice["width"]) ** 2)
    return moving_band(voice.noise(), voice["hz"] * 2 ** (1.5 * bump), 1.5) * bump


_SIGNALS = {
    "button click": {"notes": 1, "hz": 1800.0, "step": 1.0, "decay": 0.008, "buzz": 0.0},
    "notification chime": {"notes": 2, "hz": 900.0, "step": 1.335, "decay": 0.25, "buzz": 0.0},
    "success jingle": {"notes": 3, "hz": 660.0, "step": 1.26, "decay": 0.18, "buzz": 0.1},
    "error buzz": {"notes": 2, "hz": 180.0, "step": 0.84, "decay": 0.15, "buzz": 1.0},
}


def _describe_signal(own: random.Random) -> tuple[str, Values]:
    words, values = _pick(own, _SIGNALS)
    values["hz"] *= own.uniform(0.7, 1.4)
    return f"interface {words}", values


def _signal(voice: Voice) -> Tensor:
    time, total = voice.time(), torch.zeros(len(voice.generators), voice.samples)
    total = total.to(voice.device)
    for note in range(3):
        local = (time - 0.02 - 0.12 * note).clamp(min=0)
        hz = voice["hz"] * voice["step"] ** note
        sine = torch.sin(2 * torch.pi * hz * local)
        sound = sine + voice["buzz"] * (torch.sign(sine) - sine) * 0.6
        total += (note < voice["notes"]) * sound * attack_decay(local, 0.001, voice["decay"])
    return total


def _describe_bell(own: random.Random) -> tuple[str, Values]:
    words, hz, decay = own.choice((("small bell", 1400.0, 0.8), ("hand bell", 800.0, 1.2),
                                   ("church bell", 220.0, 3.0)))  # fmt: skip
    return words, {"hz": hz * own.uniform(0.8, 1.25), "decay": decay}


def _bell(voice: Voice) -> Tensor:
    # Partials of a church bell: hum, prime, tierce, quint, nominal and above.
    ratio = torch.tensor([0.5, 1.0, 1.19, 1.5, 2.0, 2.52, 3.01, 4.1], device=voice.device)
    hz = voice["hz"] * ratio * (1 + 0.01 * (voice.uniform(8) - 0.5))
    decay = voice["decay"] / ratio**0.8
    return modes(voice.time(), hz, decay, (0.4 + voice.uniform(8)) / ratio**0.5)


def _describe_insects(own: random.Random) -> tuple[str, Values]:
    words, rate, duty = own.choice((("cricket chirping", 2.2, 0.35), ("cicadas buzzing", 0.5, 1.0),
                                    ("insects at night", 4.5, 0.6)))  # fmt: skip
    return words, {"hz": own.uniform(3000, 6500), "rate": rate * own.uniform(0.8, 1.2),
                   "duty": duty, "pulse": own.uniform(25, 90)}  # fmt: skip


def _insects(voice: Voice) -> Tensor:
    time = voice.time()
    carrier = tone(voice["hz"] * (1 + 0.02 * (voice.slow(3.0) - 0.5)))
    pulses = 0.5 - 0.5 * torch.cos(2 * torch.pi * voice["pulse"] * time)
    chirps = (time * voice["rate"] % 1.0 < voice["duty"]).float()
    meadow = band(voice.noise(), 3000.0, 9000.0)
    return carrier * pulses * chirps + 0.03 * meadow


def _describe_explosion(own: random.Random) -> tuple[str, Values]:
    words, high = own.choice((("close explosion", 9000.0), ("explosion", 3500.0),
                              ("distant explosion rumble", 500.0)))  # fmt: skip
    return words, {"high": high * own.uniform(0.7, 1.3), "decay": own.uniform(0.25, 0.8)}


def _explosion(voice: Voice) -> Tensor:
    time = voice.time()
    blast = band(voice.noise(), 30.0, voice["high"], 1.0)
    blast = blast * attack_decay(time, 0.003, 0.25 * voice["decay"])
    rumble = band(voice.noise(), 25.0, 180.0) * attack_decay(time, 0.03, voice["decay"])
    debris = band(scattered(voice, 120 * voice["decay"], 3.0), 800.0, voice["high"])
    return blast + 2 * rumble * (0.5 + voice.slow(8.0)) + 3 * debris * torch.exp(-time)


KINDS: dict[str, Kind] = {
    "impact": Kind("foley", _describe_impact, _impact),
    "footsteps": Kind("foley", _describe_steps, _steps, shortest=2.0),
    "rain": Kind("ambience", _describe_rain, _rain, shortest=2.0),
    "wind": Kind("ambience", _describe_wind, _wind, shortest=2.0),
    "fire": Kind("ambience", _describe_fire, _fire, shortest=2.0),
    "engine": Kind("mechanical", _describe_engine, _engine),
    "whoosh": Kind("foley", _describe_whoosh, _whoosh),
    "interface": Kind("ui", _describe_signal, _signal),
    "bell": Kind("foley", _describe_bell, _bell, shortest=2.0),
    "insects": Kind("animal", _describe_insects, _insects, shortest=2.0),
    "explosion": Kind("weapon", _describe_explosion, _explosion, shortest=2.0),
}
