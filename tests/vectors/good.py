"""The files that a reader must read: `VALID` as encoders write them, `ODD` legal and rare."""

from __future__ import annotations

from reference import Sound

METADATA = (
    (0x01, b"A footstep on gravel" + bytes(12)),
    (0x02, b"<BWFXML><SCENE>1</SCENE></BWFXML>"),
    (0x03, bytes(36)),
    (0x04, bytes(4)),
    (0x05, b'{"title": "Footstep"}'),
)
ALL_METADATA = (
    *METADATA,
    (0x06, b"labl\x0a\0\0\0\1\0\0\0step1\0"),
)
MONO = Sound(103, 48000, 240000)
MONO_441 = Sound(103, 44100, 220500, seed=2)
STEREO = Sound(103, 48000, 96000, channels=2, levels=(190, 195), seed=3)
DUAL = Sound(103, 44100, 88200, channels=2, dual_mono=True, seed=4)
ODD_RATE = Sound(103, 22050, 33075, seed=5)
SILENCE = Sound(103, 48000, 48000, gain=0)
TAGGED = Sound(103, 48000, 48000, metadata=METADATA, seed=6)
LONG = Sound(43, 48000, 48000 * 32, seed=7)


def filled(body_bytes: int) -> Sound:
    """A sound whose file is `body_bytes` long before its checksum, by way of metadata."""
    size = body_bytes
    while True:
        sound = Sound(127, 48000, 48000 * 3, metadata=((0x05, b"x" * size),), seed=8)
        length = len(sound.file) - (2 if len(sound.file) <= 4095 else 4)
        if length == body_bytes:
            return sound
        size -= max(1, length - body_bytes)


VALID = {
    "mono_96bps_48k.spr": (MONO, "5 s at 0.096 kbps: the file that section 12 takes apart"),
    "mono_96bps_44k1.spr": (MONO_441, "5 s at 44.1 kHz are 73 bytes, too"),
    "mono_300bps.spr": (Sound(120, 48000, 240000, seed=9), "1 Hz, 25 codebooks"),
    "mono_1320bps.spr": (Sound(43, 48000, 240000, seed=10), "11 Hz: 56 frames, 840 bytes"),
    "mono_25hz.spr": (Sound(3, 48000, 24000, seed=11), "25 Hz, 10-bit codes, padding bits"),
    "mono_5hz.spr": (Sound(71, 48000, 48000, seed=12), "5 Hz"),
    "mono_96k.spr": (Sound(103, 96000, 300000, seed=13), "the third flagged source rate"),
    "mono_22k05.spr": (ODD_RATE, "a source rate in the extension block"),
    "stereo.spr": (STEREO, "two channels with codes and levels of their own"),
    "stereo_22k05.spr": (
        Sound(103, 22050, 44100, channels=2, levels=(90, 193), seed=14),
        "two records in the extension block",
    ),
    "dual_mono.spr": (DUAL, "two identical channels, coded once"),
    "silence.spr": (SILENCE, "gain 0: no payload"),
    "silence_stereo.spr": (
        Sound(103, 44100, 44100, channels=2, gain=0),
        "neither levels nor codes",
    ),
    "metadata.spr": (TAGGED, "five kinds of metadata"),
    "metadata_all.spr": (
        Sound(103, 48000, 48000, metadata=ALL_METADATA, seed=16),
        "all six kinds of metadata",
    ),
    "crc32.spr": (LONG, "a file above 4 093 bytes has a CRC-32"),
}
VALID_BUNDLES = {
    "library.sprb": (
        {
            "doors/wood/close_01": MONO,
            "doors/wood/close_02": Sound(103, 48000, 120000, seed=15),
            "doors/wood/open_01": MONO_441,
            "steps/gravel": STEREO,
            "steps/gravel_silent": Sound(103, 48000, 96000, channels=2, gain=0),
            "steps/gravel_both": DUAL,
            "wind": LONG,
            "zip": ODD_RATE,
        },
        "six groups, shared name beginnings, a silent clip, CRC-16 and CRC-32",
    ),
    "one.sprb": ({"footstep": TAGGED}, "one clip, with metadata"),
}

ODD = {
    "one_sample.spr": (Sound(96, 48000, 1), "1 sample, 1 code, 4 padding bits"),
    "frame_exact.spr": (Sound(96, 48000, 48000), "100 latent frames: one code frame"),
    "frame_plus_one.spr": (Sound(96, 48000, 48001), "101 latent frames: two code frames"),
    "resampled_exact.spr": (Sound(96, 44100, 44100), "n48 is exactly 48 000"),
    "resampled_up.spr": (Sound(96, 44100, 44101), "n48 = 48 002: rounded up, two code frames"),
    "resampled_latent_up.spr": (Sound(0, 44100, 1765), "T = 5: two frames of 4"),
    "codebooks_32.spr": (Sound(127, 48000, 48000), "the widest frame"),
    "codes_all_ones.spr": (
        Sound(103, 48000, 96000, codes=[[[4095] * 8] * 2]),
        "every code is 4 095",
    ),
    "gain_least.spr": (Sound(103, 48000, 48000, gain=1), "-120 dBFS"),
    "gain_most.spr": (Sound(103, 48000, 48000, gain=255), "+7 dBFS"),
    "stereo_left_silent.spr": (
        Sound(103, 48000, 48000, channels=2, levels=(0, 193)),
        "a level of 0 silences a channel, which has codes all the same",
    ),
    "rate_least.spr": (Sound(103, 1000, 1500), "1 000 Hz"),
    "rate_most.spr": (Sound(103, 768000, 768000), "768 000 Hz"),
    "day_of_silence.spr": (Sound(103, 768000, 768000 * 86400, gain=0), "24 h in 22 bytes"),
    "unknown_ignorable.spr": (
        Sound(103, 48000, 48000, metadata=((0x00, b""), (0x07, b"?"), (0x7F, b"later"))),
        "records of unknown kinds that may be ignored",
    ),
    "tag_like_magic.spr": (Sound(103, 48000, 48000, tag=b"\xf5S"), "a tag may be any two bytes"),
    "crc16_largest.spr": (filled(4093), "4 093 bytes and their CRC-16"),
    "crc32_smallest.spr": (filled(4094), "4 094 bytes and their CRC-32"),
}
ODD_BUNDLES = {
    "empty.sprb": ({}, "no clip at all"),
    "names.sprb": (
        {
            "a": SILENCE,
            "a b": SILENCE,
            "a\nb": SILENCE,
            "a.b": SILENCE,
            "a/b": SILENCE,
            "...": SILENCE,
            "A": SILENCE,
            "ab": SILENCE,
            "türe": SILENCE,
            "tör": SILENCE,
            "tür": SILENCE,
            "扉/🚪": SILENCE,
            "n" * 1024: SILENCE,
        },
        "names are bytes in order; beginnings may be shared inside a character",
    ),
    "names_rare.sprb": (
        {"\ufeffa": SILENCE, "\uffff": SILENCE, "\U0010ffff": SILENCE, "\x7f\x1b\\:": SILENCE},
        "names with a byte order mark, noncharacters and what systems forbid",
    ),
    "metadata_records.sprb": (
        {
            "rate": Sound(103, 22050, 22050, metadata=METADATA[4:], seed=17),
            "dual mono": Sound(
                103, 44100, 44100, channels=2, dual_mono=True, metadata=METADATA[4:], seed=18
            ),
            "rate and levels": Sound(
                103, 22050, 22050, channels=2, levels=(0, 9), metadata=METADATA[4:], seed=19
            ),
        },
        "metadata before records 0x81, 0x82 and 0x83 of the assembled file",
    ),
}
