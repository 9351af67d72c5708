"""A pack's tensors: int8 storage with per-row scales, loading, and the digest that makes its tags.

Matrices are stored as int8 rows with one float16 scale each (`<name>` and `<name>.scale`), all else
as float16. Only safetensors are read: a weights file can carry numbers, never code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spresso_cli.audio.native import Calls
from spresso_cli.codec.device import is_memory
from spresso_cli.codec.packs import FamilyInfo, PackInfo, refuse_kinds
from spresso_cli.codec.tags import weights_digest
from spresso_cli.errors import BadPack
from spresso_cli.models.audio_ae import AudioAE, AudioAEConfig
from spresso_cli.models.clap import CLAP, CLAPConfig
from spresso_cli.models.dit import AudioDown, AudioDownConfig, DiT, DiTConfig
from spresso_cli.models.envelope import EnvelopeConfig, EnvelopeFilter
from spresso_cli.models.latent_encoder import LatentEncoder, LatentEncoderConfig
from spresso_cli.models.lora import merge_lora
from spresso_cli.models.qinco2 import QINCo2, QINCo2Config
from spresso_cli.models.sequence_quantizer import SequenceQuantizer
from spresso_cli.models.whitening import Whitening, WhiteningConfig

SCALE = ".scale"
_QUANTISED_ROWS = 16  # smaller matrices stay float16: they save nothing and may matter

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)


def config_of(kind: type[Config], data: Mapping[str, Any], where: str) -> Config:
    """A frozen config from a pack's JSON; BadPack on an unknown key or a value it refuses."""
    unknown = data.keys() - {f.name for f in fields(kind)}
    if unknown:
        raise BadPack(f"{where}: unknown keys: {', '.join(sorted(unknown))}")
    refuse_kinds(kind, data, where)
    try:
        return kind(**data)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise BadPack(f"{where}: {error}") from None


def quantise(tensors: Mapping[str, Tensor], int8: Callable[[str], bool]) -> dict[str, Tensor]:
    """Stored form of float tensors.

    Args:
        tensors: float state dict.
        int8: which matrices (by name) become int8 rows; everything else becomes float16.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().float().cpu()
        if value.ndim >= 2 and value.shape[0] >= _QUANTISED_ROWS and int8(name):
            rows = value.flatten(1)
            scale = (rows.abs().amax(1) / 127).clamp(min=1e-7).half()
            stored[name] = (
                (rows / scale.float()[:, None])
                .round()
                .clamp(-127, 127)
                .to(torch.int8)
                .view(value.shape)
            )
            stored[name + SCALE] = scale
        else:
            stored[name] = value.half()
    return stored


def dequantise(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Float32 tensors of a stored form; the inverse of `quantise` up to rounding."""
    tensors = {}
    for name, value in stored.items():
        if name.endswith(SCALE) and name[: -len(SCALE)] in stored:
            continue
        scale = stored.get(name + SCALE)
        if scale is None:
            tensors[name] = value.float()
        else:
            shape = (-1,) + (1,) * (value.ndim - 1)
            tensors[name] = value.float() * scale.float().view(shape)
    return tensors


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, as stored.

    Raises:
        BadPack: missing, not safetensors (a renamed pickle, say), or with values not finite.
    """
    try:
        with Calls(), safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadPack(f"{path}: missing from the pack; reinstall it") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise BadPack(f"{path}: not a readable safetensors file ({error})") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadPack(f"{path}: {name} holds values that are not finite")
    return tensors


def write_tensors(stored: Mapping[str, Tensor], path: Path) -> None:
    """Write a stored form as safetensors, readable by whom the umask lets: packs are shared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in stored.items()}))


# What torch hands to a mode by itself; what such a function calls, the mode does not see.
_DRAWS = (
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    nn.init.kaiming_uniform_,
    nn.init.normal_,
    nn.init.uniform_,
)


class _Undrawn(TorchFunctionMode):
    """Networks are built without drawing the weights that a file is about to replace: for large
    ones that takes as long as reading it, and the program around a codec may count on its draws."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if function in _DRAWS:
            with torch.no_grad():
                return (args[0] if args else kwargs["tensor"]).zero_()
        if function is torch.randn:
            function = torch.zeros
        return function(*args, **kwargs)


@contextmanager
def _fitting(where: Path, fault: str) -> Iterator[None]:
    """Raises BadPack for whatever goes wrong with weights of a stranger, but for want of memory."""
    try:
        yield
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, RuntimeError) and is_memory(error):
            raise
        first, *others = str(error).splitlines() or [""]
        # torch's first line of several says which network it is.
        reason = others[0] if others and isinstance(error, RuntimeError) else first
        raise BadPack(f"{where}: {fault}: {reason.strip()}") from None


def _filled(build: Callable[[], Network], tensors: Mapping[str, Tensor], where: Path) -> Network:
    """A network with weights, for inference; BadPack where they do not fit."""
    with _fitting(where, "no network has the sizes of the pack's config"), _Undrawn():
        network = build()
    with _fitting(where, "does not fit the pack's config"):
        network.load_state_dict(dict(tensors))
    return network.eval().requires_grad_(False)


def load_audio_ae(pack: PackInfo) -> AudioAE:
    """The AudioAE of a pack, float32 on the CPU."""
    path = pack.path / "core" / "audio_ae.safetensors"
    config = config_of(AudioAEConfig, pack.audio_ae, "audio_ae")
    return _filled(lambda: AudioAE(config), dequantise(read_tensors(path)), path)


def audio_ae_is_int8(pack: PackInfo) -> bool:
    """Whether a pack stores the matrices of its AudioAE as int8, or all of it as float16."""
    stored = read_tensors(pack.path / "core" / "audio_ae.safetensors")
    return any(name.endswith(SCALE) for name in stored)


def load_clap(pack: PackInfo) -> CLAP:
    """Both CLAP towers of a pack, float32 on the CPU."""
    path = pack.path / "core" / "clap.safetensors"
    config = config_of(CLAPConfig, pack.clap, "clap")
    return _filled(lambda: CLAP(config), dequantise(read_tensors(path)), path)


def load_encoder(pack: PackInfo, family: FamilyInfo) -> LatentEncoder:
    """The latent encoder of one family, float32 on the CPU."""
    path = pack.path / family.folder / "encoder.safetensors"
    config = config_of(LatentEncoderConfig, family.encoder, f"{family.folder} encoder")
    return _filled(lambda: LatentEncoder(config), dequantise(read_tensors(path)), path)


def fine_bands(pack: PackInfo) -> int:
    """How many fine bands the log-mels of a pack's encoders need; 0: no encoder uses any."""
    configs = (
        config_of(LatentEncoderConfig, family.encoder, f"{family.folder} encoder")
        for family in pack.families.values()
    )
    return max(config.fine_bands for config in configs)


def load_quantizer(pack: PackInfo, family: FamilyInfo) -> SequenceQuantizer:
    """The quantiser of one family, with the filters around it if it has any, float32 on the CPU."""
    path = pack.path / family.folder / "qinco2.safetensors"
    config = config_of(QINCo2Config, family.qinco2, f"{family.folder} qinco2")
    qinco2 = _filled(lambda: QINCo2(config), dequantise(read_tensors(path)), path)
    if family.whitening is None:
        return SequenceQuantizer(qinco2)
    path = pack.path / family.folder / "whitening.safetensors"
    config = config_of(WhiteningConfig, family.whitening, f"{family.folder} whitening")
    whitening = _filled(lambda: Whitening(config), dequantise(read_tensors(path)), path)
    return SequenceQuantizer(qinco2, whitening)


def load_envelope(pack: PackInfo, family: FamilyInfo) -> EnvelopeFilter:
    """The envelope filter of one family that has one, float32 on the CPU."""
    path = pack.path / family.folder / "envelope.safetensors"
    config = config_of(EnvelopeConfig, family.envelope or {}, f"{family.folder} envelope")
    return _filled(lambda: EnvelopeFilter(config), dequantise(read_tensors(path)), path)


def load_dit(pack: PackInfo, family: FamilyInfo | None) -> tuple[DiT, AudioDown | None]:
    """The DiT with one family's LoRA merged, and the family's adapter (None: the base alone)."""
    path = pack.path / "core" / "dit.safetensors"
    config = config_of(DiTConfig, pack.dit, "dit")
    base = dequantise(read_tensors(path))
    if family is None:
        return _filled(lambda: DiT(config), base, path), None
    where = _adapter_path(pack, family)
    lora, rest = _adapter_tensors(where)
    down_config = config_of(AudioDownConfig, family.adapter, f"{family.folder} adapter")
    with _fitting(where, "adapters do not fit the base model"):
        merged = merge_lora(base, lora, down_config.lora_alpha)
    adapter = _filled(lambda: AudioDown(down_config, config), rest, where)
    return _filled(lambda: DiT(config), merged, path), adapter


def load_lora_tensors(pack: PackInfo, family: FamilyInfo) -> dict[str, Tensor]:
    """What one family adds to the base DiT, `<linear>.a` and `.b`, float32; empty without LoRA."""
    return _adapter_tensors(_adapter_path(pack, family))[0]


def _adapter_path(pack: PackInfo, family: FamilyInfo) -> Path:
    return pack.path / family.folder / "adapter.safetensors"


def _adapter_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """LoRA of the DiT, and the tensors of the family's AudioDown."""
    stored = dequantise(read_tensors(path))
    lora = {name[5:]: value for name, value in stored.items() if name.startswith("lora.")}
    rest = {name: value for name, value in stored.items() if not name.startswith("lora.")}
    return lora, rest


_AE_DECODER = ("dec.", "head.", "syn", "latent_mean", "latent_std")


def family_digest(pack_path: Path, folder: str) -> str:
    """SHA-256 over exactly the tensors that decode one family, 64 hex digits (format_spec.md).

    They are the AudioAE's decoder, the base DiT, the family's adapter (LoRA, f_phi, audio-down
    Q/K/V), the QINCo2 decoder and, if there are any, the filter behind it and the envelope's
    read-out, as stored; encoders, shortlist codebooks and the filter before QINCo2 are free to
    change.
    """
    parts = {
        "audio_ae": pack_path / "core" / "audio_ae.safetensors",
        "dit": pack_path / "core" / "dit.safetensors",
        "adapter": pack_path / folder / "adapter.safetensors",
        "qinco2": pack_path / folder / "qinco2.safetensors",
    }
    for component in ("whitening", "envelope"):
        if (path := pack_path / folder / f"{component}.safetensors").exists():
            parts[component] = path
    tensors: dict[str, np.ndarray] = {}
    for component, path in parts.items():
        for name, tensor in read_tensors(path).items():
            if component == "audio_ae" and not name.startswith(_AE_DECODER):
                continue
            if component == "qinco2" and "shortlist" in name:
                continue
            if component == "whitening" and name == "before":
                continue
            tensors[f"{component}.{name}"] = tensor.numpy()
    return weights_digest(tensors).hex()
