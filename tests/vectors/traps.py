"""More files that a reader must refuse: two faults in one, and what careless readers let pass.

Of two faults the one that is met first decides the class (section 9). Each of these files is read,
or gets the other class, by a reader that looks in another order or compares less than it has to.
"""

from __future__ import annotations

from good import DUAL, MONO, ODD_RATE, SILENCE, STEREO
from reference import Sound, bundle, bundle_around, bundle_entry, crc32, leb, records

REST = leb(103) + b"\xab\xcd"  # of a group's header, behind its flags
PLAIN = b"\0" + REST
STORED = SILENCE.file[-2:]  # all that a silent clip stores outside the index


def traps() -> dict:
    corrupt, unsupported = "CorruptStream", "UnsupportedStream"
    rate, unknown = (0x81, leb(22050)), records([(0x84, b"")])
    return {
        "version_2_only.spr": (b"\xf5SP\x20", unsupported, "version 2, and nothing else"),
        "profile_128_only.spr": (
            MONO.but(profile=leb(128), samples=b"\x80\0", payload=b""),
            unsupported,
            "a reserved profile, and what follows makes no sense",
        ),
        "samples_cut.spr": (
            MONO.but(samples=b"\x80", payload=b""),
            corrupt,
            "the checksum is where the sample count goes on",
        ),
        "block_missing.spr": (SILENCE.but(flags=2), corrupt, "a flag and no block"),
        "record_0x84_runs_over.spr": (
            MONO.with_block(b"\x84\x02?"),
            corrupt,
            "unknown, and past its block",
        ),
        "record_0x84_cut.spr": (MONO.with_block(b"\x84"), corrupt, "unknown, and cut short"),
        "record_0x84_overlong.spr": (
            MONO.with_block(b"\x84\x81\x00?"),
            corrupt,
            "unknown, and its length of 1 in two bytes",
        ),
        "record_0x80_last.spr": (
            ODD_RATE.with_block(records([rate, (0x80, b"")])),
            corrupt,
            "unknown, and out of order",
        ),
        "record_0x84_twice.spr": (
            MONO.with_block(unknown * 2),
            unsupported,
            "unknown before it is there again",
        ),
        "record_0x84_rate.spr": (
            ODD_RATE.with_block(records([(0x81, b"\xa2\xac\x81\x00")]) + unknown),
            unsupported,
            "unknown; 22 050 in four bytes is a value",
        ),
        "record_0x84_samples.spr": (
            MONO.but(flags=2, samples=b"\0", extension=leb(len(unknown)) + unknown),
            unsupported,
            "unknown; no samples are a value",
        ),
    }


def bundle_traps() -> dict:
    corrupt, unsupported = "CorruptStream", "UnsupportedStream"
    later = b"\x80" + REST  # a group with a reserved flag

    def of_index(*parts: bytes, stored: bytes = b"") -> bytes:
        return bundle_around(b"".join(parts), stored)

    def of_names(*entries: tuple) -> bytes:
        """A bundle of silent clips with these (shared, rest) names."""
        clips = b"".join(bundle_entry(shared, rest, SILENCE) for shared, rest in entries)
        return of_index(leb(1), PLAIN, leb(len(entries)), clips, stored=STORED * len(entries))

    def of_groups(*groups: tuple) -> bytes:
        """A bundle of groups of one silent clip each: their headers with its shared and rest."""
        index, stored = leb(len(groups)), b""
        for header, shared, rest in groups:
            index += header + leb(1) + bundle_entry(shared, rest, SILENCE)
            stored += SILENCE.but(flags=header[0] & 15)[-2:]
        return bundle_around(index, stored)

    def of_metadata(sound: Sound, group: int, metadata: bytes) -> bytes:
        """A bundle of one clip with these bytes for its metadata, and a checksum to match."""
        block = metadata + records(sound.required)
        flags, rate = sound.flags | 2, sound.rate_hz
        header = bytes([group]) + REST + (leb(rate) if rate == 22050 else b"")
        entry = bundle_entry(0, b"a", sound) + leb(len(metadata))
        crc = sound.with_block(block, flags)[-2:]
        return of_index(leb(1), header, leb(1), entry, stored=metadata + sound.payload + crc)

    def cut(header: bytes, *entry: bytes) -> bytes:
        """A bundle whose index ends inside its only clip."""
        return of_index(leb(1), header, leb(1) if entry else b"", *entry)

    quiet = Sound(103, 48000, 48000, channels=2, levels=(0, 0))
    tail = crc32(b"\xf5SB\x10\0")
    return {
        "index_0.sprb": (b"\xf5SB\x10\0" + tail, corrupt, "an index of no bytes"),
        "index_overlong.sprb": (
            b"\xf5SB\x10\x81\0\0" + crc32(b"\xf5SB\x10\x81\0\0"),
            corrupt,
            "an index length of 1 in two bytes",
        ),
        "index_cut_tag.sprb": (cut(PLAIN[:3]), corrupt, "an index cut inside a tag"),
        "index_cut_name.sprb": (cut(PLAIN, b"\0\2a"), corrupt, "an index cut inside a name"),
        "index_cut_gain.sprb": (cut(PLAIN, b"\0\1a"), corrupt, "an index cut before a gain"),
        "index_cut_levels.sprb": (
            cut(b"\1" + REST, b"\0\1a\1\1\1"),
            corrupt,
            "an index cut inside levels",
        ),
        "levels_0_0.sprb": (bundle({"a": quiet}), corrupt, "the gain says otherwise"),
        "dual_mono_silent.sprb": (
            of_groups((b"\x11" + REST, 0, b"a")),
            corrupt,
            "silence has nothing to code once",
        ),
        "name_overlong.sprb": (of_names((0, b"a\xc0\xafb")), corrupt, "a slash in two bytes"),
        "name_above.sprb": (
            of_names((0, b"\xf4\x90\x80\x80")),
            corrupt,
            "a character above U+10FFFF",
        ),
        "names_unsorted_later.sprb": (
            of_names((0, b"ab"), (1, b"a")),
            corrupt,
            "ab before aa: the second byte decides",
        ),
        "names_equal_later.sprb": (of_names((0, b"ab"), (1, b"b")), corrupt, "ab twice"),
        "names_prefix_later.sprb": (
            of_names((0, b"ab"), (0, b"a")),
            corrupt,
            "ab before a, and nothing shared",
        ),
        "names_first_shares.sprb": (
            of_groups((PLAIN, 0, b"ab"), (b"\4" + REST, 1, b"c")),
            corrupt,
            "the first name of a group shares nothing",
        ),
        "names_then_flags.sprb": (
            of_groups((PLAIN, 0, b".."), (later, 0, b"b")),
            corrupt,
            "a bad name comes before a flag of a later version",
        ),
        "names_after_flags.sprb": (
            of_groups((PLAIN, 0, b"a"), (b"\4" + REST, 0, b"a"), (later, 0, b"b")),
            unsupported,
            "a flag of a later version comes before a name in two groups",
        ),
        "group_profile_unsorted.sprb": (
            of_groups((b"\4" + REST, 0, b"a"), (b"\0" + leb(128) + b"\xab\xcd", 0, b"b")),
            unsupported,
            "a reserved profile comes before the order of groups",
        ),
        "group_profile_overlong.sprb": (
            of_groups((b"\0\xe7\0\xab\xcd", 0, b"a")),
            corrupt,
            "103 in two bytes",
        ),
        "group_flags_cut.sprb": (
            cut(b"\x20"),
            unsupported,
            "a flag of a later version, and the index ends",
        ),
        "group_rate_999.sprb": (
            of_groups((b"\x0c" + REST + leb(999), 0, b"a")),
            corrupt,
            "below 1 000 Hz",
        ),
        "metadata_0x84.sprb": (
            of_metadata(SILENCE, 2, records([(0x84, b"")])),
            unsupported,
            "metadata that must be understood and is unknown",
        ),
        "metadata_cut.sprb": (of_metadata(SILENCE, 2, b"\5"), corrupt, "a record cut short"),
        "metadata_takes_rate.sprb": (
            of_metadata(ODD_RATE, 14, b"\5\5"),
            corrupt,
            "a record that takes the source rate behind it for its value",
        ),
        "metadata_takes_levels.sprb": (
            of_metadata(STEREO, 3, b"\5\4"),
            corrupt,
            "a record that takes the levels behind it for its value",
        ),
        "metadata_takes_dual_mono.sprb": (
            of_metadata(DUAL, 0x17, b"\5\2"),
            corrupt,
            "a record that takes dual mono behind it for its value",
        ),
    }
