"""Which file names are sounds: what a folder is searched for. A file that is named may have any."""

SOUND_SUFFIXES = frozenset(
    [
        ".wav",
        ".wave",
        ".bwf",
        ".rf64",
        ".w64",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".caf",
        ".au",
        ".snd",
        ".voc",
        ".sds",
        ".paf",
        ".avr",
        ".iff",
        ".8svx",
        ".svx",
        ".16sv",
        ".sf",
        ".nist",
        ".sph",
        ".pvf",
        ".xi",
        ".wve",
        ".sd2",
    ]
)


def is_companion(name: str) -> bool:
    """Whether a file is what macOS writes beside another on foreign disks: `._door.wav`.

    There is no sound in it, whatever its suffix.
    """
    return name.startswith("._")
