"""Every vector of format_spec.md, section 14, read as its manifest says."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from spresso_cli import errors
from spresso_cli.container import spr
from spresso_cli.container.bundle import Bundle, write_bundle

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))


def vectors(kind: str, suffix: str) -> list:
    return [
        pytest.param(entry, id=entry["file"])
        for entry in MANIFEST
        if kind in entry and entry["file"].endswith(suffix)
    ]


def data_of(entry: dict) -> bytes:
    return (FOLDER / entry["file"]).read_bytes()


@pytest.mark.parametrize("entry", vectors("stream", ".spr"))
def test_a_good_file_says_what_its_manifest_says(entry: dict) -> None:
    stream = spr.read(data_of(entry))
    codes = stream.codes()
    said = {
        "profile": stream.profile.id,
        "weights_tag": stream.weights_tag.hex(),
        "gain": stream.gain,
        "source_rate": stream.source_rate,
        "samples": stream.samples,
        "channels": stream.channels,
        "dual_mono": stream.dual_mono,
        "levels": list(stream.levels) if stream.levels else None,
        "metadata": [[kind, value.hex()] for kind, value in stream.metadata],
        "coded_channels": stream.coded_channels,
        "frames": stream.frames,
        "codebooks": stream.profile.codebooks,
        "payload_bits": stream.payload_bits,
        "codes_sha256": hashlib.sha256(codes.astype("<u2").tobytes()).hexdigest(),
    }
    if "codes" in entry["stream"]:
        said["codes"] = codes.tolist()
    assert said == entry["stream"]


@pytest.mark.parametrize("entry", vectors("stream", ".spr"))
def test_a_good_file_is_the_only_way_to_write_its_stream(entry: dict) -> None:
    data = data_of(entry)
    stream = spr.read(data)
    assert spr.write(stream) == data
    assert spr.file_bytes(stream) == len(data)
    assert spr.load(io.BytesIO(data), max_seconds=None) == stream


@pytest.mark.parametrize("entry", vectors("clips", ".sprb"))
def test_a_good_bundle_gives_back_its_files_and_is_the_only_one_of_them(entry: dict) -> None:
    data = data_of(entry)
    bundle = Bundle.open(io.BytesIO(data))
    streams = {name: bundle.read(name) for name in bundle.names}
    files = {
        name: hashlib.sha256(spr.write(stream)).hexdigest() for name, stream in streams.items()
    }
    assert list(files.items()) == list(entry["clips"].items())
    assert bundle.verify() == {}
    again = io.BytesIO()
    assert write_bundle(streams.items(), again) == len(data)
    assert again.getvalue() == data


@pytest.mark.parametrize("entry", vectors("error", ".spr"))
def test_a_faulty_file_is_refused_with_its_class(entry: dict) -> None:
    data = data_of(entry)
    expected = getattr(errors, entry["error"])
    for reader in (spr.read, lambda data: spr.load(io.BytesIO(data))):
        with pytest.raises(expected) as caught:
            reader(data)
        assert type(caught.value) is expected
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", vectors("error", ".sprb"))
def test_a_faulty_bundle_is_refused_with_its_class(entry: dict) -> None:
    expected = getattr(errors, entry["error"])
    with pytest.raises(expected) as caught:
        for fault in Bundle.open(io.BytesIO(data_of(entry))).verify().values():
            raise fault
    assert type(caught.value) is expected
    assert "\n" not in str(caught.value)


def test_the_vectors_are_what_the_reference_writer_writes(tmp_path: Path) -> None:
    command = [sys.executable, "-B", FOLDER / "make_vectors.py", tmp_path]
    subprocess.run(command, check=True, timeout=60)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    committed = {
        path.relative_to(FOLDER)
        for path in FOLDER.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert written == committed
    for path in written:
        assert (tmp_path / path).read_bytes() == (FOLDER / path).read_bytes(), path
    for script in FOLDER.glob("*.py"):
        assert "spresso_cli" not in script.read_text(encoding="utf-8"), "it has to be independent"
