"""The files that a reader must refuse, with the class of the error and what is wrong.

Unless the fault is damage itself, the checksum is right: the fault has to be found behind it.
"""

from __future__ import annotations

from good import DUAL, LONG, MONO, ODD, ODD_RATE, SILENCE, STEREO
from reference import Sound, bundle, bundle_around, bundle_entry, crc16, crc32, leb, records


def flipped(data: bytes, byte: int, mask: int = 1) -> bytes:
    return data[:byte] + bytes([data[byte] ^ mask]) + data[byte + 1 :]


def faulty() -> dict:
    corrupt, unsupported = "CorruptStream", "UnsupportedStream"
    rate_22k05 = records([(0x81, leb(22050))])
    stereo, odd = STEREO.flags, ODD_RATE.flags
    tlv = records
    return {
        # not a whole file
        "empty.spr": (b"", corrupt, "no bytes"),
        "magic_only.spr": (MONO.file[:3], corrupt, "ends after the magic"),
        "ends_in_header.spr": (MONO.file[:8], corrupt, "ends before the sample count"),
        "no_checksum.spr": (MONO.file[:-2], corrupt, "the checksum is cut off"),
        "truncated.spr": (MONO.file[:-1], corrupt, "one byte short"),
        "extended.spr": (MONO.file + b"\0", corrupt, "one byte too many"),
        "twice.spr": (MONO.file * 2, corrupt, "two files in one"),
        "size_4096.spr": (LONG.file[:4096], corrupt, "no file has 4 096 bytes"),
        # another kind of file
        "text.spr": (b"S-PRESSO codes a sound in 73 bytes.\n", corrupt, "a text"),
        "wave.spr": (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", corrupt, "a WAV file"),
        "bundle.spr": (bundle({"a": MONO}), corrupt, "a bundle"),
        # damage
        "flipped_payload.spr": (flipped(MONO.file, 20), corrupt, "one bit of the payload"),
        "flipped_gain.spr": (flipped(MONO.file, 7, 64), corrupt, "one bit of the gain"),
        "flipped_checksum.spr": (flipped(MONO.file, 72), corrupt, "one bit of the checksum"),
        "checksum_swapped.spr": (
            MONO.file[:-2] + MONO.file[:-3:-1],
            corrupt,
            "the checksum least significant byte first",
        ),
        "crc32_when_short.spr": (
            MONO.file[:-2] + crc32(MONO.file[:-2]),
            corrupt,
            "a CRC-32 on a short file",
        ),
        "crc16_when_long.spr": (
            LONG.file[:-4] + crc16(LONG.file[:-4]),
            corrupt,
            "a CRC-16 on a long file",
        ),
        # versions and profiles of other readers
        "version_0.spr": (MONO.but(version=0), unsupported, "version 0"),
        "version_2.spr": (MONO.but(version=2), unsupported, "version 2"),
        "version_15.spr": (
            flipped(MONO.but(version=15), 30),
            unsupported,
            "version 15, and nothing after it is known, not even the checksum",
        ),
        "profile_128.spr": (MONO.but(profile=leb(128)), unsupported, "a reserved profile"),
        "profile_huge.spr": (MONO.but(profile=leb(2**63 - 1)), unsupported, "a reserved profile"),
        "profile_overlong.spr": (MONO.but(profile=b"\xe7\x00"), corrupt, "103 in two bytes"),
        # sample counts
        "samples_0.spr": (MONO.but(samples=b"\0"), corrupt, "no samples"),
        "samples_overlong.spr": (
            MONO.but(samples=b"\x80\xd3\x8e\0"),
            corrupt,
            "240 000 in 4 bytes",
        ),
        "samples_too_few.spr": (MONO.but(samples=leb(4 * 48000)), corrupt, "one frame too many"),
        "samples_too_many.spr": (MONO.but(samples=leb(240001)), corrupt, "one frame missing"),
        "samples_2_60.spr": (MONO.but(samples=leb(2**60)), corrupt, "760 000 years"),
        "samples_10_bytes.spr": (
            MONO.but(samples=b"\xff" * 9 + b"\1"),
            corrupt,
            "a 64-bit integer",
        ),
        "samples_over_a_day.spr": (
            SILENCE.but(samples=leb(86400 * 48000 + 1)),
            corrupt,
            "24 h and one sample",
        ),
        # payload
        "padding.spr": (
            ODD["one_sample.spr"][0].but(payload=b"\0\1"),
            corrupt,
            "a padding bit is set",
        ),
        "payload_short.spr": (MONO.but(payload=MONO.payload[:-1]), corrupt, "a byte is missing"),
        "payload_long.spr": (MONO.but(payload=MONO.payload + b"\0"), corrupt, "a byte too many"),
        "silence_with_payload.spr": (SILENCE.but(payload=b"\0" * 12), corrupt, "codes of silence"),
        # extension block
        "block_empty.spr": (MONO.with_block(b""), corrupt, "a block of no records"),
        "block_flag_only.spr": (MONO.but(flags=2), corrupt, "payload taken for a block"),
        "block_too_long.spr": (
            MONO.but(flags=2, extension=leb(2**40)),
            corrupt,
            "a block of a terabyte",
        ),
        "block_over_limit.spr": (
            MONO.but(flags=2, extension=leb(2**20 + 1)),
            corrupt,
            "a block one byte over its limit",
        ),
        "record_runs_over.spr": (MONO.with_block(b"\x01\x02x"), corrupt, "a record past its block"),
        "record_without_length.spr": (MONO.with_block(b"\x01"), corrupt, "a record cut short"),
        "record_length_overlong.spr": (
            MONO.with_block(b"\x01\x81\x00x"),
            corrupt,
            "a record length of 1 in two bytes",
        ),
        "record_twice.spr": (MONO.with_block(tlv([(5, b"a"), (5, b"b")])), corrupt, "type 5 twice"),
        "record_order.spr": (MONO.with_block(tlv([(5, b"a"), (1, b"b")])), corrupt, "5 before 1"),
        "record_0x80.spr": (MONO.with_block(tlv([(0x80, b"")])), unsupported, "must be understood"),
        "record_0x84.spr": (
            MONO.with_block(tlv([(0x84, b"?")])),
            unsupported,
            "must be understood",
        ),
        "record_0xff.spr": (
            MONO.with_block(tlv([(0xFF, b"?")])),
            unsupported,
            "must be understood",
        ),
        # source rate
        "rate_missing.spr": (MONO.but(flags=12), corrupt, "no extension block holds the rate"),
        "rate_record_missing.spr": (
            MONO.with_block(tlv([(5, b"a")]), flags=14),
            corrupt,
            "a block without the rate",
        ),
        "rate_twice.spr": (MONO.with_block(rate_22k05), corrupt, "48 000 Hz and 22 050 Hz"),
        "rate_flagged.spr": (
            ODD_RATE.with_block(tlv([(0x81, leb(48000))])),
            corrupt,
            "48 000 Hz the long way",
        ),
        "rate_overlong.spr": (
            ODD_RATE.with_block(tlv([(0x81, b"\xa2\xac\x81\x00")])),
            corrupt,
            "22 050 in four bytes",
        ),
        "rate_trailing.spr": (
            ODD_RATE.with_block(tlv([(0x81, leb(22050) + b"\0")])),
            corrupt,
            "a byte after the rate",
        ),
        "rate_empty.spr": (ODD_RATE.with_block(tlv([(0x81, b"")])), corrupt, "a rate of no bytes"),
        "rate_999.spr": (ODD_RATE.with_block(tlv([(0x81, leb(999))])), corrupt, "below 1 000 Hz"),
        "rate_768001.spr": (
            ODD_RATE.with_block(tlv([(0x81, leb(768001))]), flags=odd),
            corrupt,
            "above 768 000 Hz",
        ),
        # channels
        "dual_mono_of_mono.spr": (MONO.with_block(tlv([(0x82, b"")])), corrupt, "one channel"),
        "dual_mono_value.spr": (DUAL.with_block(tlv([(0x82, b"\0")])), corrupt, "a value"),
        "dual_mono_silent.spr": (
            SILENCE.with_block(tlv([(0x82, b"")]), flags=3),
            corrupt,
            "silence has nothing to code once",
        ),
        "dual_mono_levels.spr": (
            DUAL.with_block(tlv([(0x82, b""), (0x83, b"\1\1")])),
            corrupt,
            "levels of channels that are one",
        ),
        "levels_missing.spr": (
            STEREO.but(flags=1, extension=b""),
            corrupt,
            "stereo without levels",
        ),
        "levels_of_mono.spr": (MONO.with_block(tlv([(0x83, b"\1\1")])), corrupt, "one channel"),
        "levels_of_silence.spr": (
            SILENCE.with_block(tlv([(0x83, b"\1\1")]), flags=3),
            corrupt,
            "silence has no levels",
        ),
        "levels_1_byte.spr": (
            STEREO.with_block(tlv([(0x83, b"\1")]), flags=stereo),
            corrupt,
            "one level for two channels",
        ),
        "levels_0_0.spr": (
            STEREO.with_block(tlv([(0x83, b"\0\0")])),
            corrupt,
            "gain says otherwise",
        ),
    }


def faulty_bundles() -> dict:
    corrupt, unsupported = "CorruptStream", "UnsupportedStream"
    good = bundle({"a": MONO, "b": SILENCE})
    group = bytes([0]) + leb(103) + b"\xab\xcd"
    silent = SILENCE.file[-2:]  # all that a silent clip stores outside the index

    def of_names(*entries: tuple) -> bytes:
        """A bundle of silent clips with these (shared, rest) names."""
        index = leb(1) + group + leb(len(entries))
        index += b"".join(bundle_entry(shared, rest, SILENCE) for shared, rest in entries)
        return bundle_around(index, silent * len(entries))

    def of_groups(*headers: bytes, names: bytes = b"abcdefgh") -> bytes:
        """A bundle with one silent clip in each of these groups; the clips are not at fault."""
        index, bodies = leb(len(headers)), b""
        for header, name in zip(headers, names, strict=False):
            index += header + leb(1) + bundle_entry(0, bytes([name]), SILENCE)
            bodies += SILENCE.but(flags=header[0] & 15)[-2:]
        return bundle_around(index, bodies)

    rest = leb(103) + b"\xab\xcd"
    return {
        "empty_file.sprb": (b"", corrupt, "no bytes"),
        "single.sprb": (MONO.file, corrupt, "a .spr file"),
        "truncated.sprb": (good[:-1], corrupt, "one byte short"),
        "extended.sprb": (good + b"\0", corrupt, "one byte too many"),
        "ends_in_index.sprb": (good[:20], corrupt, "ends inside the index"),
        "version_2.sprb": (bundle({"a": MONO}, version=2), unsupported, "version 2"),
        "flags.sprb": (bundle({"a": MONO}, flags=1), unsupported, "a flag of a later version"),
        "flipped_index.sprb": (
            flipped(good, good.rindex(b"\0\1b") + 2),
            corrupt,
            "one bit of the index: b is called c",
        ),
        "flipped_clip.sprb": (flipped(good, len(good) - 10), corrupt, "one bit of a clip"),
        "clips_swapped.sprb": (
            good[: -len(MONO.payload) - 4] + silent + MONO.payload + MONO.file[-2:],
            corrupt,
            "clips in the wrong order: the index is sound, they are not",
        ),
        "index_2_60.sprb": (
            b"\xf5SB\x10" + leb(2**60) + bytes(40),
            corrupt,
            "an index longer than the file",
        ),
        "groups_2_60.sprb": (bundle_around(leb(2**60), b""), corrupt, "groups that are not there"),
        "clips_2_60.sprb": (
            bundle_around(leb(1) + group + leb(2**60), b""),
            corrupt,
            "more clips than the limit",
        ),
        "clips_missing.sprb": (
            bundle_around(leb(1) + group + leb(2**20), b""),
            corrupt,
            "clips that are not there",
        ),
        "clips_0.sprb": (bundle_around(leb(1) + group + leb(0), b""), corrupt, "an empty group"),
        "index_trailing.sprb": (
            bundle_around(leb(0) + b"\0", b""),
            corrupt,
            "a byte after the end",
        ),
        "samples_2_60.sprb": (
            bundle_around(leb(1) + group + leb(1) + b"\0\1a\1" + leb(2**60), b""),
            corrupt,
            "a clip of 760 000 years",
        ),
        "name_empty.sprb": (of_names((0, b"")), corrupt, "an empty name"),
        "name_absolute.sprb": (of_names((0, b"/etc/passwd")), corrupt, "an absolute path"),
        "name_parent.sprb": (of_names((0, b"a/../../b")), corrupt, "a path that climbs out"),
        "name_dot.sprb": (of_names((0, b"a/./b")), corrupt, "a second name of a/b"),
        "name_double_slash.sprb": (of_names((0, b"a//b")), corrupt, "an empty component"),
        "name_ends_in_slash.sprb": (of_names((0, b"a/")), corrupt, "an empty component"),
        "name_nul.sprb": (of_names((0, b"a\0b")), corrupt, "a zero byte"),
        "name_latin1.sprb": (of_names((0, b"t\xfcr")), corrupt, "not UTF-8"),
        "name_surrogate.sprb": (of_names((0, b"\xed\xa0\x80")), corrupt, "not UTF-8 either"),
        "name_too_long.sprb": (of_names((0, b"n" * 1025)), corrupt, "1 025 bytes"),
        "names_unsorted.sprb": (of_names((0, b"b"), (0, b"a")), corrupt, "b before a"),
        "names_equal.sprb": (of_names((0, b"a"), (1, b"")), corrupt, "a twice"),
        "names_prefix_last.sprb": (of_names((0, b"ab"), (1, b"")), corrupt, "ab before a"),
        "names_share_more.sprb": (of_names((0, b"ab"), (0, b"ac")), corrupt, "a is not shared"),
        "names_share_too_much.sprb": (of_names((0, b"ab"), (3, b"c")), corrupt, "3 of 2 bytes"),
        "names_in_two_groups.sprb": (
            of_groups(b"\0" + rest, b"\4" + rest, names=b"aa"),
            corrupt,
            "a in two groups",
        ),
        "groups_unsorted.sprb": (of_groups(b"\4" + rest, b"\0" + rest), corrupt, "1 before 0"),
        "groups_equal.sprb": (of_groups(b"\0" + rest, b"\0" + rest), corrupt, "a group twice"),
        "group_flags.sprb": (of_groups(b"\x20" + rest), unsupported, "a flag of a later version"),
        "group_profile.sprb": (
            of_groups(b"\0" + leb(128) + b"\xab\xcd"),
            unsupported,
            "a reserved profile",
        ),
        "group_rate.sprb": (of_groups(b"\x0c" + rest + leb(48000)), corrupt, "the long way"),
        "group_dual_mono.sprb": (of_groups(b"\x10" + rest), corrupt, "dual mono of one channel"),
        "metadata_0.sprb": (
            bundle_around(
                leb(1) + b"\2" + rest + leb(1) + bundle_entry(0, b"a", SILENCE) + leb(0), silent
            ),
            corrupt,
            "a clip without metadata among those that have some",
        ),
        "metadata_required.sprb": (
            bundle({"a": Sound(103, 48000, 48000, gain=0, metadata=((0x82, b""),))}),
            corrupt,
            "metadata that must be understood",
        ),
    }
