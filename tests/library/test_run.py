"""Whole runs with a codec that has no networks: every file accounted for, whatever happens."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.audio.files import open_audio
from spresso_cli.audio.sink import AudioFormat
from spresso_cli.audio.suffixes import SOUND_SUFFIXES
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container import spr, tlv
from spresso_cli.container.profile import Profile
from spresso_cli.errors import AudioError, MissingPack, OutputError, SpressoError
from spresso_cli.library.engine import FileResult
from spresso_cli.library.plan import STREAM_SUFFIXES, Job, find, plan
from spresso_cli.library.report import ReportWriter, origins
from spresso_cli.library.resume import StreamParameters
from spresso_cli.library.run import compress_library, decompress_library
from spresso_cli.library.shards import Shard

from .conftest import FakeCodec

LOW = StreamParameters(Profile.of(1, 8), b"\xab\xcd")
HIGH = StreamParameters(Profile.of(1, 25), b"\xab\xcd")


def compress_jobs(folder: Path, **how) -> list[Job]:
    found = find([str(folder)], suffixes=SOUND_SUFFIXES, recursive=True)
    return plan(found, suffix=".spr", **how)


def decompress_jobs(folder: Path, **how) -> list[Job]:
    found = find([str(folder)], suffixes=STREAM_SUFFIXES, recursive=True)
    return plan(found, suffix=how.pop("suffix", ".wav"), **how)


def statuses(results: Sequence[FileResult]) -> list[str]:
    return [result.status for result in results]


@pytest.fixture
def compress(codec, options) -> Callable[..., list[FileResult]]:
    def run(jobs: list[Job], parameters: StreamParameters = LOW, **fields) -> list[FileResult]:
        return list(compress_library(jobs, lambda: codec, parameters, options(**fields)))

    return run


@pytest.fixture
def decompress(codec, options) -> Callable[..., list[FileResult]]:
    def run(
        jobs: list[Job],
        decode: DecodeOptions = DecodeOptions(),  # noqa: B008 - frozen
        format: AudioFormat = AudioFormat(),  # noqa: B008 - frozen
        **fields,
    ) -> list[FileResult]:
        return list(decompress_library(jobs, lambda: codec, decode, format, options(**fields)))

    return run


@pytest.fixture
def library(tmp_path: Path, make_sound) -> Path:
    """Ten sounds of different rates, lengths and channels in a small tree."""
    for number in range(10):
        make_sound(
            tmp_path / f"in/{'ab'[number % 2]}/{number}.{'wav' if number % 3 else 'flac'}",
            samples=1 + 3000 * number,
            channels=1 + number % 2,
            seed=number,
            rate=(48_000, 44_100, 8000)[number % 3],
        )
    return tmp_path / "in"


# The way there and back.


def test_a_library_goes_there_and_back(tmp_path: Path, library, compress, decompress) -> None:
    jobs = compress_jobs(library, output_dir=str(tmp_path / "small"))
    results = compress(jobs)
    assert statuses(results) == ["done"] * 10
    assert [result.job for result in results] == jobs
    for result in results:
        assert result.source_bytes == result.job.source.stat().st_size
        assert result.output_bytes == result.job.output.stat().st_size
        assert result.duration > 0
    back = decompress(decompress_jobs(tmp_path / "small", output_dir=str(tmp_path / "back")))
    assert statuses(back) == ["done"] * 10
    for result in results:
        source = soundfile.info(result.job.source)
        made = soundfile.info(tmp_path / "back" / Path(result.job.relative).with_suffix(".wav"))
        assert (made.frames, made.samplerate) == (source.frames, source.samplerate)
        assert (made.channels, made.subtype) == (source.channels, "PCM_16")


@pytest.mark.parametrize(
    ("format", "subtype"), [("flac", "PCM_24"), ("ogg", None), ("wav", "FLOAT")]
)
def test_other_formats_are_written_in_place(
    library, compress, decompress, format: str, subtype: str | None
) -> None:
    compress(compress_jobs(library))
    kind = AudioFormat.of(format, subtype)
    results = decompress(decompress_jobs(library, suffix=f".take{kind.suffix}"), format=kind)
    assert statuses(results) == ["done"] * 10
    for result in results:
        assert soundfile.info(result.job.output).subtype == kind.subtype
        assert result.output_bytes == result.job.output.stat().st_size


def test_every_decoded_sound_is_closed(library, codec, compress, decompress) -> None:
    compress(compress_jobs(library))
    jobs = decompress_jobs(library)
    jobs[3].output.write_bytes(b"")
    assert statuses(decompress(jobs)).count("failed") >= 1
    codec.closed = 0
    jobs = decompress_jobs(library, seeds=[1])
    decompress(jobs)
    assert codec.closed == 10


def test_takes_of_one_file_differ_and_repeat(
    tmp_path: Path, make_sound, compress, decompress
) -> None:
    make_sound(tmp_path / "a.wav")
    compress(compress_jobs(tmp_path))
    decompress(decompress_jobs(tmp_path, seeds=[1, 2]))
    takes = [(tmp_path / f"a.seed{seed}.wav").read_bytes() for seed in (1, 2)]
    assert takes[0] != takes[1]
    decompress(decompress_jobs(tmp_path, seeds=[1]), force=True)
    assert (tmp_path / "a.seed1.wav").read_bytes() == takes[0]
    decompress(decompress_jobs(tmp_path, output=str(tmp_path / "plain.wav")), DecodeOptions(seed=2))
    assert (tmp_path / "plain.wav").read_bytes() == takes[1]


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
@pytest.mark.parametrize("threads", [1, 4])
def test_results_keep_the_order_of_the_jobs(
    library, codec, compress, batch: int, threads: int
) -> None:
    codec.batch = batch
    jobs = compress_jobs(library)
    for number in (0, 4, 9):  # these fail before the codec sees them
        jobs[number].output.write_bytes(b"mine")
    results = compress(jobs, threads=threads)
    assert [result.job for result in results] == jobs
    assert [n for n, result in enumerate(results) if result.status == "failed"] == [0, 4, 9]


def test_a_sound_too_long_to_be_held_goes_through_all_the_same(
    tmp_path: Path, make_sound, compress, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sound(tmp_path / "a.wav", samples=100_000)
    compress(compress_jobs(tmp_path))
    monkeypatch.setattr("spresso_cli.library.ahead.HELD_BYTES", 1000)
    first = (tmp_path / "a.spr").read_bytes()
    compress(compress_jobs(tmp_path), force=True)
    assert (tmp_path / "a.spr").read_bytes() == first


# stdin and stdout.


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


def test_pipes_carry_what_files_would(tmp_path: Path, make_sound, compress, decompress) -> None:
    path = make_sound(tmp_path / "a.wav")
    compress(compress_jobs(tmp_path))
    data = (tmp_path / "a.spr").read_bytes()
    out = Pipe()
    (result,) = compress(
        [Job(None, None, "-")], stdin=lambda: Pipe(path.read_bytes()), stdout=lambda: out
    )
    assert out.getvalue() == data
    assert (result.source_bytes, result.output_bytes) == (path.stat().st_size, len(data))

    decompress(decompress_jobs(tmp_path, output=str(tmp_path / "b.wav")))
    out = Pipe()
    (result,) = decompress([Job(None, None, "-")], stdin=lambda: Pipe(data), stdout=lambda: out)
    assert out.getvalue() == (tmp_path / "b.wav").read_bytes()
    assert result.output_bytes == len(out.getvalue())


def test_stdout_that_is_a_file_is_appended_to_and_never_sought(
    tmp_path, make_sound, decompress, compress
):
    make_sound(tmp_path / "a.wav")
    compress(compress_jobs(tmp_path))
    with open(tmp_path / "log", "w+b") as out:
        out.write(b"before")
        decompress(
            decompress_jobs(tmp_path, output="-"), format=AudioFormat.of("flac"), stdout=lambda: out
        )
        out.seek(0)
        data = out.read()
    assert data.startswith(b"beforefLaC")
    assert open_audio(data[6:]).samples == 4000


def test_a_reader_that_leaves_is_not_an_output_error(tmp_path: Path, make_sound, compress) -> None:
    class Left(Pipe):
        def write(self, data) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    make_sound(tmp_path / "a.wav")
    with pytest.raises(BrokenPipeError):
        compress(compress_jobs(tmp_path, output="-"), stdout=Left)


def test_a_stdout_that_refuses_does_so_before_any_work(
    tmp_path: Path, make_sound, no_codec, options
) -> None:
    def terminal():
        raise SpressoError("stdout is a terminal")

    make_sound(tmp_path / "a.wav")
    jobs = compress_jobs(tmp_path, output="-")
    with pytest.raises(SpressoError, match="terminal"):
        list(compress_library(jobs, no_codec, LOW, options(stdout=terminal)))


# Errors of one file.


def test_one_bad_file_does_not_stop_the_rest(library, compress) -> None:
    (library / "a/bad1.wav").write_bytes(b"no sound")
    (library / "a/bad2.wav").write_bytes(b"")
    (library / "b/bad3.flac").write_bytes((library / "a/6.flac").read_bytes()[:9000])
    soundfile.write(library / "b/bad4.wav", np.full(10, np.nan), 48_000, subtype="FLOAT")
    soundfile.write(library / "b/bad5.wav", np.zeros((10, 3)), 48_000)
    results = compress(compress_jobs(library))
    failed = {result.job.source.stem: result for result in results if result.status == "failed"}
    assert sorted(failed) == ["bad1", "bad2", "bad3", "bad4", "bad5"]
    assert all(isinstance(result.error, AudioError) for result in failed.values())
    assert "--downmix" in str(failed["bad5"].error)
    assert statuses(results).count("done") == 10
    assert not [path for path in library.rglob("bad*.spr")]


def test_downmix_takes_any_number_of_channels(tmp_path: Path, compress) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones((10, 6)) / 2, 48_000)
    parameters = StreamParameters(LOW.profile, LOW.weights_tag, downmix=True)
    assert statuses(compress(compress_jobs(tmp_path), parameters)) == ["done"]
    assert spr.read((tmp_path / "a.spr").read_bytes()).channels == 1


def test_a_damaged_stream_and_a_missing_pack_fail_alone(
    tmp_path: Path, library, compress, decompress
) -> None:
    small, back = tmp_path / "small", tmp_path / "back"
    compress(compress_jobs(library, output_dir=str(small)))
    streams = sorted(small.rglob("*.spr"))
    data = bytearray(streams[2].read_bytes())
    data[-3] ^= 1
    streams[2].write_bytes(data)
    stream = spr.read(streams[4].read_bytes())
    fields = {name: getattr(stream, name) for name in stream.__dataclass_fields__}
    streams[4].write_bytes(spr.write(type(stream)(**fields | {"weights_tag": b"??"})))
    results = decompress(decompress_jobs(small, output_dir=str(back)))
    failed = [result for result in results if result.status == "failed"]
    assert [result.error.exit_code for result in failed] == [3, 4]
    assert isinstance(failed[1].error, MissingPack)
    assert len(results) == 10


def test_a_source_that_is_missing_fails_alone(library, compress) -> None:
    jobs = compress_jobs(library)
    jobs[5].source.unlink()
    results = compress(jobs)
    assert statuses(results).count("failed") == 1
    assert "No such file" in str(results[5].error)


def test_a_stream_that_cannot_be_read_fails_alone(library, compress, decompress) -> None:
    compress(compress_jobs(library))
    jobs = decompress_jobs(library, seeds=[0])
    jobs[5].source.unlink()
    jobs[5].source.mkdir()
    results = decompress(jobs)
    assert statuses(results) == ["done"] * 5 + ["failed"] + ["done"] * 4
    assert isinstance(results[5].error, AudioError)
    assert ("denied" if os.name == "nt" else "directory") in str(results[5].error)


def test_an_existing_output_is_kept_and_named(library, compress) -> None:
    jobs = compress_jobs(library)
    jobs[5].output.write_bytes(b"mine")
    results = compress(jobs)
    assert isinstance(results[5].error, OutputError)
    assert str(jobs[5].output) in str(results[5].error)
    assert jobs[5].output.read_bytes() == b"mine"
    assert statuses(compress(jobs, force=True)) == ["done"] * 10


def test_a_sound_over_the_limit_fails_alone(tmp_path: Path, library, compress, decompress) -> None:
    small, back = tmp_path / "small", tmp_path / "back"
    compressed = compress(compress_jobs(library, output_dir=str(small)), max_seconds=0.3)
    decompressed = decompress(decompress_jobs(small, output_dir=str(back)), max_seconds=0.1)
    for results in (compressed, decompressed):
        assert 0 < statuses(results).count("failed") < len(results)
        assert all("--max-duration" in str(result.error) for result in results if result.error)


def test_a_folder_that_cannot_be_written_into_is_found_before_the_codec_is_loaded(
    tmp_path: Path, library, no_codec, codec, options
) -> None:
    (tmp_path / "file").touch()
    jobs = compress_jobs(library, output_dir=str(tmp_path / "file/inside"))
    results = list(compress_library(jobs, no_codec, LOW, options()))
    assert statuses(results) == ["failed"] * 10
    assert f"{jobs[0].output} cannot be written: " in str(results[0].error)
    jobs[4:] = compress_jobs(library, output_dir=str(tmp_path / "small"))[4:]
    results = list(compress_library(jobs, lambda: codec, LOW, options()))
    assert statuses(results) == ["failed"] * 4 + ["done"] * 6


def test_of_an_output_that_is_there_it_is_known_whether_it_would_be_made_again(
    tmp_path: Path, make_sound, compress
) -> None:
    make_sound(tmp_path / "a.wav")
    (job,) = compress_jobs(tmp_path)
    compress([job])
    (again,) = compress([job])
    (other,) = compress([job], HIGH)
    newer_source(job)
    (newer,) = compress([job])
    assert statuses([again, other, newer]) == ["failed"] * 3
    assert len({str(result.error) for result in (again, other, newer)}) == 1
    assert [again.kept, other.kept, newer.kept] == [True, False, False]


def test_what_another_run_makes_while_the_codec_is_at_work_is_known_too(
    tmp_path: Path, make_sound, options
) -> None:
    """Two runs at once over one library: each output is made by one and kept by the other."""
    for name in "abc":
        make_sound(tmp_path / f"{name}.wav")
    jobs = compress_jobs(tmp_path)

    class Overtaken(FakeCodec):
        def compress_many(self, items, profile, **how):
            taken = list(items)
            list(compress_library(jobs[:1], FakeCodec, LOW, options()))
            list(compress_library(jobs[1:2], FakeCodec, HIGH, options()))
            yield from super().compress_many(taken, profile, **how)

    same, other, alone = compress_library(jobs, Overtaken, LOW, options())
    assert statuses([same, other, alone]) == ["failed", "failed", "done"]
    assert [same.kept, other.kept, alone.kept] == [True, False, False]
    assert str(same.error) == f"{jobs[0].output} exists already: -f replaces it"


# What ends a run.


def test_a_codec_that_cannot_be_loaded_ends_the_run(library, options) -> None:
    def broken():
        raise MissingPack("no pack is installed")

    with pytest.raises(MissingPack):
        list(compress_library(compress_jobs(library), broken, LOW, options()))


def test_an_interrupted_run_leaves_whole_files_only(library, codec, options) -> None:
    jobs = compress_jobs(library)
    results = compress_library(jobs, lambda: codec, LOW, options())
    for _ in range(3):
        next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    made = [path for path in library.rglob("*") if path.suffix not in (".wav", ".flac", "")]
    assert len(made) == 3
    for path in made:
        spr.read(path.read_bytes())


def test_a_defect_of_the_codec_is_not_a_file_that_failed(library, codec, options) -> None:
    def defect(*_, **__):
        raise ZeroDivisionError
        yield

    codec.compress_many = defect
    with pytest.raises(ZeroDivisionError):
        list(compress_library(compress_jobs(library), lambda: codec, LOW, options()))
    codec.compress_many = lambda *_, **__: iter(())
    with pytest.raises(AssertionError):
        list(compress_library(compress_jobs(library), lambda: codec, LOW, options()))


def test_litter_of_killed_runs_goes_with_the_next(library, compress) -> None:
    (library / "a/.0.spr.00000000-1-ab.spresso-tmp").touch()
    os.utime(library / "a/.0.spr.00000000-1-ab.spresso-tmp", (0, 0))
    compress(compress_jobs(library))
    assert not list(library.rglob("*.spresso-tmp"))


# Resume and dry run.


def test_resume_skips_what_is_done_without_loading_the_codec(
    library, compress, no_codec, options
) -> None:
    compress(compress_jobs(library))
    jobs = compress_jobs(library)
    results = list(compress_library(jobs, no_codec, LOW, options(resume=True)))
    assert statuses(results) == ["skipped"] * 10
    assert all(result.output_bytes and result.source_bytes for result in results)
    assert sum(result.duration for result in results) > 0


def test_resume_does_the_rest(library, compress) -> None:
    jobs = compress_jobs(library)
    compress(jobs)
    whole = [job.output.read_bytes() for job in jobs]
    for job in jobs[3:7]:
        job.output.unlink()
    results = compress(jobs, resume=True)
    assert statuses(results) == ["skipped"] * 3 + ["done"] * 4 + ["skipped"] * 3
    assert [job.output.read_bytes() for job in jobs] == whole


def damage(job: Job) -> None:
    data = bytearray(job.output.read_bytes())
    data[10] ^= 4
    job.output.write_bytes(data)


def newer_source(job: Job) -> None:
    os.utime(job.output, (job.source.stat().st_mtime - 10,) * 2)


def other_source(job: Job) -> None:
    soundfile.write(job.source, np.ones((10, 2)) / 2, 8000, format="WAV")
    os.utime(job.source, (0, 0))


def longer_source(job: Job) -> None:
    """As a file that was moved here from elsewhere: it keeps its age."""
    sound, rate = soundfile.read(job.source)
    soundfile.write(job.source, np.concatenate((sound, sound)), rate, format="WAV")
    os.utime(job.source, (0, 0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (longer_source, "has another length"),
        (damage, "does not verify"),
        (newer_source, "is older than its source"),
        (other_source, "has 1 channels at 48000 Hz"),
    ],
)
def test_resume_never_replaces_unasked_what_it_would_not_write(
    tmp_path: Path, make_sound, compress, change, reason: str
) -> None:
    make_sound(tmp_path / "a.wav")
    (job,) = compress_jobs(tmp_path)
    compress([job])
    change(job)
    before = job.output.read_bytes()
    (result,) = compress([job], resume=True)
    assert result.status == "failed"
    assert f"exists and {reason}" in str(result.error) and "-f replaces it" in str(result.error)
    assert job.output.read_bytes() == before
    assert statuses(compress([job], resume=True, force=True)) == ["done"]
    assert statuses(compress([job], resume=True)) == ["skipped"]


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (StreamParameters(Profile.of(1, 25), LOW.weights_tag), "was made at 0.096 kbps"),
        (StreamParameters(LOW.profile, b"??"), "was made by another pack"),
        (StreamParameters(LOW.profile, LOW.weights_tag, downmix=True), "has 2 channels"),
        (StreamParameters(LOW.profile, LOW.weights_tag, metadata=True), "carries other metadata"),
    ],
)
def test_resume_compares_the_parameters(
    tmp_path: Path, compress, parameters: StreamParameters, reason: str
) -> None:
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 48_000, 2) as sound:
        sound.title = "a title"
        sound.write(np.zeros((100, 2)))
    jobs = compress_jobs(tmp_path)
    compress(jobs)
    (result,) = compress(jobs, parameters, resume=True)
    assert f"exists and {reason}" in str(result.error)


def test_resume_skips_decoded_sounds_that_fit(
    library, compress, decompress, no_codec, options
) -> None:
    compress(compress_jobs(library))
    jobs = decompress_jobs(library, seeds=[0])
    decompress(jobs)
    results = list(
        decompress_library(jobs, no_codec, DecodeOptions(), AudioFormat(), options(resume=True))
    )
    assert statuses(results) == ["skipped"] * 10
    soundfile.write(jobs[0].output, np.zeros(5), 48_000)
    jobs[1].output.write_bytes(b"no sound")
    os.utime(jobs[2].output, (0, 0))
    results = decompress(jobs, resume=True)
    assert statuses(results) == ["failed"] * 3 + ["skipped"] * 7
    assert [str(result.error).split(" exists and ")[1].split(",")[0] for result in results[:3]] == [
        "has another format",
        "is no whole sound file: -f replaces it",
        "is older than its source: -f replaces it",
    ]
    assert statuses(decompress(jobs, resume=True, force=True)) == ["done"] * 3 + ["skipped"] * 7


def test_a_dry_run_says_what_would_happen_and_touches_nothing(
    library, compress, no_codec, options
) -> None:
    jobs = compress_jobs(library)
    compress(jobs[:2])
    jobs[2].output.write_bytes(b"mine")
    jobs[3].source.write_bytes(b"no sound")
    before = {path: path.stat().st_mtime_ns for path in library.rglob("*")}
    results = list(compress_library(jobs, no_codec, LOW, options(resume=True, dry_run=True)))
    assert statuses(results) == ["skipped"] * 2 + ["failed"] * 2 + ["planned"] * 6
    assert {path: path.stat().st_mtime_ns for path in library.rglob("*")} == before


# Shards.


def test_shards_together_write_what_one_run_writes(tmp_path: Path, library, compress) -> None:
    compress(compress_jobs(library, output_dir=str(tmp_path / "one")))
    for index in range(4):
        jobs = compress_jobs(library, output_dir=str(tmp_path / "four"))
        compress(Shard(index, 4).select(jobs))
    one, four = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*.spr")}
        for root in (tmp_path / "one", tmp_path / "four")
    )
    assert one == four and len(one) == 10


# Metadata.


def test_metadata_goes_there_and_back_when_it_is_kept(tmp_path: Path, compress, decompress) -> None:
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 48_000, 1) as sound:
        sound.title = "Tür"
        sound.write(np.zeros(100))
    keep = StreamParameters(LOW.profile, LOW.weights_tag, metadata=True)
    compress(compress_jobs(tmp_path), keep)
    ((kind, _),) = spr.read((tmp_path / "a.spr").read_bytes()).metadata
    assert kind == tlv.TAGS
    assert statuses(compress(compress_jobs(tmp_path), keep, resume=True)) == ["skipped"]
    decompress(decompress_jobs(tmp_path, seeds=[1]))
    with soundfile.SoundFile(tmp_path / "a.seed1.wav") as sound:
        assert sound.title == "Tür"


# Names.


@pytest.mark.parametrize("name", ["two\nlines.wav", "-rf.wav", "a b.wav", "\udcff\udcfe.wav"])
def test_odd_names_go_there_and_back(
    tmp_path: Path, make_sound, compress, decompress, name: str
) -> None:
    try:
        make_sound(tmp_path / name)
    except OSError:
        pytest.skip("this file system wants other names")
    assert statuses(compress(compress_jobs(tmp_path))) == ["done"]
    assert statuses(decompress(decompress_jobs(tmp_path, suffix=".out.wav"))) == ["done"]
    assert f"{name[:-4]}.out.wav" in os.listdir(tmp_path)


def test_resume_reads_encoded_sounds_to_their_end(
    library, compress, no_codec, codec, options
) -> None:
    compress(compress_jobs(library))
    jobs = decompress_jobs(library, seeds=[0])[:2]

    def run(format: str, **more) -> list[FileResult]:
        wanted, how = AudioFormat.of(format), options(**more)
        return list(decompress_library(jobs, lambda: codec, DecodeOptions(), wanted, how))

    run("flac")
    assert statuses(run("flac", resume=True)) == ["skipped"] * 2
    assert "has another format" in str(run("wav", resume=True)[0].error)
    data = jobs[1].output.read_bytes()
    jobs[1].output.write_bytes(data[: len(data) // 2])
    skipped, failed = run("flac", resume=True)
    assert skipped.status == "skipped" and "is no whole sound file" in str(failed.error)


def test_a_mistyped_name_is_said_before_an_output_that_exists(tmp_path: Path, compress) -> None:
    (tmp_path / "nosuch.spr").touch()
    job = Job(tmp_path / "nosuch.wav", tmp_path / "nosuch.spr", "nosuch.wav")
    (result,) = compress([job])
    assert "No such file" in str(result.error)


# Sources that took each other's place.


@pytest.fixture
def pair(tmp_path: Path, compress) -> list[Job]:
    """Two sounds of one length, made long ago, and what they were compressed to a second later."""
    for name, level in (("a", 0.1), ("b", 0.4)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(100, level), 48_000)
    jobs = compress_jobs(tmp_path)
    compress(jobs)
    age(jobs)
    return jobs


def age(jobs: list[Job]) -> None:
    """As in a copy that keeps the times of files: their inodes are new."""
    for number, job in enumerate(jobs):
        os.utime(job.source, (number, number))
        os.utime(job.output, (1000, 1000))


def swap(one: Path, other: Path) -> None:
    """As `mv` does it: each file keeps its age."""
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def test_resume_notices_by_their_levels_that_two_sounds_swapped_places(pair, compress) -> None:
    before = pair[0].output.read_bytes()
    swap(pair[0].source, pair[1].source)
    results = compress(pair, resume=True)
    assert statuses(results) == ["failed"] * 2
    assert "exists and was made of a sound of another level" in str(results[0].error)
    assert pair[0].output.read_bytes() == before
    assert statuses(compress(pair, resume=True, force=True)) == ["done"] * 2


def test_resume_takes_a_copy_of_a_library_for_that_library(
    tmp_path: Path, make_sound, compress
) -> None:
    for channels in (1, 2, 6):
        make_sound(tmp_path / f"{channels}.wav", channels=channels)
    soundfile.write(tmp_path / "3 twins.wav", np.ones((9, 2)) / 2, 48_000)
    soundfile.write(tmp_path / "4 silent.wav", np.zeros((9, 2)), 48_000)
    mixed = StreamParameters(LOW.profile, LOW.weights_tag, downmix=True)
    for parameters, count in ((LOW, 4), (mixed, 5)):
        jobs = compress_jobs(tmp_path)[:count]
        compress(jobs, parameters, force=True)
        age(jobs)
        assert statuses(compress(jobs, parameters, resume=True)) == ["skipped"] * count


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs with a report, of which a later run learns; returns what became of every job."""
    log = tmp_path / "log.jsonl"

    def run(direction: Callable[..., list[FileResult]], jobs: list[Job], **how) -> list[str]:
        results = direction(jobs, origin=origins(log), **how)
        with ReportWriter(log) as report:
            for result in results:
                report.add(result)
        return [str(result.error).split(" exists and ")[-1] for result in results]

    return run


def test_resume_notices_by_a_report_that_any_two_sources_swapped_places(
    tmp_path: Path, pair, compress, decompress, recorded
) -> None:
    for number, job in enumerate(pair):
        soundfile.write(job.source, np.full(100, (-1) ** number / 2), 48_000)
        os.utime(job.source, (number, number))
    back = decompress_jobs(tmp_path, output_dir=str(tmp_path / "back"))
    for direction, jobs in ((compress, pair), (decompress, back)):
        assert recorded(direction, jobs, force=True) == ["None"] * 2
        assert recorded(direction, jobs, resume=True) == ["None"] * 2
        swap(jobs[0].source, jobs[1].source)
        for _ in range(2):
            told = recorded(direction, jobs, resume=True)
            assert told == ["was made of another source: -f replaces it"] * 2
        assert statuses(direction(jobs, resume=True)) == ["skipped"] * 2  # without it, nobody knows
        assert recorded(direction, jobs, resume=True, force=True) == ["None"] * 2
        assert recorded(direction, jobs, resume=True) == ["None"] * 2


def test_short_sounds_have_the_profile_that_fits_them_and_resume_knows_it(
    tmp_path: Path, compress
) -> None:
    for name, samples in (("long", 24_000), ("short", 2400)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(samples, 0.1), 48_000)
    jobs = compress_jobs(tmp_path)
    fitting = replace(LOW, better=((Profile.of(5, 8), b"5h"),))
    assert [result.stream.profile.kbps for result in compress(jobs, fitting)] == [0.096, 0.48]
    (_, short) = compress(jobs, fitting, resume=True)
    assert "made by another pack" in str(short.error)  # the fake codec has one tag for all
    fitting = replace(LOW, better=((Profile.of(5, 8), LOW.weights_tag),))
    assert statuses(compress(jobs, fitting, resume=True)) == ["skipped", "skipped"]
    (_, short) = compress(jobs, resume=True)
    assert "was made at 0.48 kbps" in str(short.error)
