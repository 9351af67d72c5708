"""Packs: choosing an operating point, finding the pack of a file, refusing a damaged pack."""

import json
import os
import signal

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save, save_file

from spresso_cli.codec import packs, weights
from spresso_cli.codec.codec import Codec
from spresso_cli.codec.weights import (
    dequantise,
    family_digest,
    quantise,
    read_tensors,
    write_tensors,
)
from spresso_cli.container.profile import Profile
from spresso_cli.errors import BadPack, MissingPack, OutOfMemory, UsageError
from tests.conftest import changeable_copy, symlink


@pytest.fixture
def copy(tiny_path, tmp_path):
    """A copy of the tiny pack that a test may damage."""
    return changeable_copy(tiny_path, tmp_path / "pack")


def test_a_rate_is_an_upper_limit(tiny_path):
    info = packs.read_pack(tiny_path)
    assert info.choose(5.0) == Profile.of(11, 12)
    assert info.choose(1.32) == Profile.of(11, 12)
    assert info.choose(1.31) == Profile.of(1, 8)
    assert info.choose(0.096) == Profile.of(1, 8)
    assert info.choose() == Profile.of(1, 8)  # the pack's default


def test_a_rate_below_the_lowest_names_the_lowest(tiny_path):
    with pytest.raises(UsageError, match=r"-b 0\.048"):
        packs.read_pack(tiny_path).choose(0.01)


def test_frame_rate_and_codebooks_override_the_choice(tiny_path):
    info = packs.read_pack(tiny_path)
    assert info.choose(frame_rate=1, codebooks=3) == Profile.of(1, 3)
    assert info.choose(frame_rate=11) == Profile.of(11, 12)
    assert info.choose(0.096, codebooks=5) == Profile.of(1, 5)
    for wrong in ({"frame_rate": 25}, {"frame_rate": 1, "codebooks": 20}, {"codebooks": 0}):
        with pytest.raises(UsageError):
            info.choose(**wrong)


def test_codebooks_beyond_the_rate_are_refused(tiny_path):
    info = packs.read_pack(tiny_path)
    with pytest.raises(UsageError, match="8 codebooks at 1 Hz are 0.096 kbps, more than 0.048"):
        info.choose(0.048, codebooks=8)
    with pytest.raises(UsageError, match="lowest rate of pack tiny at 11 Hz"):
        info.choose(0.096, frame_rate=11)


def test_a_damaged_pack_is_no_hindrance_to_another(copy, monkeypatch):
    default = packs.installed_packs()[0]
    (copy / "pack.json").write_text("{}")
    monkeypatch.setenv(packs.PACK_VARIABLE, str(copy))
    assert packs.find_pack(default.name).path == default.path
    family = next(iter(default.families.values()))
    assert packs.pack_for_tag(family.tag, family.frame_rate).name == default.name
    with pytest.raises(BadPack):
        packs.find_pack()


def test_the_environment_selects_a_pack(tiny_path, monkeypatch):
    monkeypatch.setenv(packs.PACK_VARIABLE, str(tiny_path))
    assert packs.find_pack().name == "tiny"
    assert packs.find_pack("tiny").path == tiny_path


def test_an_empty_variable_selects_nothing(monkeypatch):
    default = packs.installed_packs()[0].name
    monkeypatch.setenv(packs.PACK_VARIABLE, "")
    assert packs.find_pack().name == default


def test_a_missing_pack_names_what_is_installed(monkeypatch):
    monkeypatch.delenv(packs.PACK_VARIABLE, raising=False)
    with pytest.raises(MissingPack, match="no-such-pack"):
        packs.find_pack("no-such-pack")
    with pytest.raises(MissingPack, match="beef"):
        packs.pack_for_tag(bytes.fromhex("beef"), 1)


def test_the_tag_of_each_family_is_that_of_its_stored_tensors(tiny_path):
    info = packs.read_pack(tiny_path)
    for family in info.families.values():
        assert family_digest(tiny_path, family.folder) == family.digest
        assert packs.pack_for_tag is not None and len(family.tag) == 2


def test_the_encoder_may_change_without_changing_the_tag(copy):
    before = family_digest(copy, "1hz")
    path = copy / "1hz" / "encoder.safetensors"
    save_file({k: torch.zeros_like(v) for k, v in load(path.read_bytes()).items()}, path)
    assert family_digest(copy, "1hz") == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("sigma_max"),
        lambda data: data.update(surprise=1),
        lambda data: data.update(format=2),
        lambda data: data["families"]["1hz"].update(pool=50),
        lambda data: data.update(points=[]),
        lambda data: data["points"][0].update(codebooks=32),
        lambda data: data.update(families=[]),
        lambda data: data.update(default_kbps="0.096"),
        lambda data: data.update(sigma_max=float("nan")),
        lambda data: data.update(sigma_min=10**400),
        lambda data: data.update(text_base=1),
        lambda data: data.update(dit=None),
        lambda data: data.update(name="\x1b[31mtiny"),
        lambda data: data["points"][0].update(rank=True),
        lambda data: data["families"]["1hz"].update(digest="xyz"),
        lambda data: data["families"]["1hz"].update(steps="[/red]"),
        lambda data: data["families"]["1hz"].update(sampler=None),
    ],
)
def test_a_wrong_description_is_a_bad_pack(copy, damage):
    data = json.loads((copy / "pack.json").read_text())
    damage(data)
    (copy / "pack.json").write_text(json.dumps(data))
    with pytest.raises(BadPack):
        packs.read_pack(copy)


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_json_that_is_no_json_is_a_bad_pack(copy, text):
    (copy / "pack.json").write_text(text)
    with pytest.raises(BadPack):
        packs.read_pack(copy)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs /dev/zero")
def test_what_has_no_end_is_no_description(copy):
    (copy / "pack.json").unlink()
    symlink(copy / "pack.json", "/dev/zero")
    with pytest.raises(BadPack, match="not a regular file"):
        packs.read_pack(copy)


@pytest.mark.parametrize("value", [-1, 0, 1.5, "4", None])
@pytest.mark.parametrize(("part", "size"), [("encoder", "stride"), ("qinco2", "hidden")])
def test_sizes_that_no_network_has_are_a_bad_pack(copy, sound, part, size, value):
    data = json.loads((copy / "pack.json").read_text())
    data["families"]["1hz"][part][size] = value
    (copy / "pack.json").write_text(json.dumps(data))
    with pytest.raises(BadPack):
        Codec.load(copy).compress(sound(480), 48_000)


@pytest.mark.parametrize("step", ["merge_lora", "DiT"])
def test_want_of_memory_is_no_fault_of_the_pack(tiny_path, sound, codec, monkeypatch, step):
    def full(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    data = codec.compress(sound(480), 48_000)
    monkeypatch.setattr(weights, step, full)
    with pytest.raises(OutOfMemory):
        Codec.load(tiny_path).decompress(data)


def _spoil_nan(path):
    tensors = load(path.read_bytes())
    tensors["f_phi.bias"] = torch.full_like(tensors["f_phi.bias"], float("nan"))
    save_file(tensors, path)


def _spoil_missing(path):
    tensors = load(path.read_bytes())
    tensors.pop("f_phi.bias")
    save_file(tensors, path)


def _spoil_value(path):
    tensors = load(path.read_bytes())
    tensors["f_phi.bias"] += 1
    save_file(tensors, path)


@pytest.mark.parametrize(
    "spoil",
    [
        _spoil_nan,
        _spoil_missing,
        _spoil_value,
        lambda path: torch.save({"f_phi.bias": torch.zeros(1)}, path),  # a pickle, renamed
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
)
def test_damaged_tensors_are_a_bad_pack_before_anything_is_decoded(copy, sound, codec, spoil):
    data = codec.compress(sound(480), 48_000)
    spoil(copy / "1hz" / "adapter.safetensors")
    with pytest.raises(BadPack):
        Codec.load(copy).decompress(data)


def test_int8_rows_keep_a_matrix_within_half_a_step():
    weight = torch.randn(64, 32) * torch.logspace(-3, 1, 64)[:, None]
    back = dequantise(quantise({"w": weight, "b": weight[0]}, lambda name: True))
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((back["w"] - weight).abs() <= 0.51 * step + 1e-6).all()
    assert back["b"].dtype == torch.float32


def test_written_weights_are_as_readable_as_other_files(tmp_path):
    write_tensors({"a": torch.ones(2, 2)[:, :1]}, tmp_path / "new" / "a.safetensors")
    (tmp_path / "other").touch()
    mode = (tmp_path / "other").stat().st_mode
    assert (tmp_path / "new" / "a.safetensors").stat().st_mode == mode
    assert read_tensors(tmp_path / "new" / "a.safetensors")["a"].tolist() == [[1.0], [1.0]]


def test_ctrl_c_in_the_middle_of_a_file_is_ctrl_c_and_no_bad_pack(tmp_path, monkeypatch):
    """The native code that it lands in makes an error of its own of it."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(save({"a": torch.ones(3)}))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(*arguments):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape") from None
        return safe_open(*arguments)

    monkeypatch.setattr(weights, "safe_open", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            read_tensors(path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)


def test_better_points_are_those_that_rank_before(tiny_path):
    info = packs.read_pack(tiny_path)
    ranked = [point.profile for point in info.points]
    for place, profile in enumerate(ranked):
        assert info.better_than(profile) == tuple(ranked[:place])
    assert info.better_than(Profile.of(1, 7)) == ()  # no operating point
