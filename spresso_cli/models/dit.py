"""The diffusion transformer D_theta's network F (S-PRESSO 2.2 and 2.4).

Six multimodal blocks (SD3's MM-DiT) attend jointly over audio, text and audio-down tokens, then
six blocks over audio alone. The base model knows audio and text; the codec's condition arrives
through an `AudioDown` adapter, one per frame rate: f_phi and its own queries, keys and values,
rotary positions at the centres of the pooling windows. Where the paper is silent: one adaLN MLP
shared by all blocks with a learned offset per block and stream, everything but Q/K/V of the
audio-down stream shared with the audio stream, and an optional gated output. Beyond the paper, a
rate's latents may be scaled by deviations predicted from z (deviations.py), and convolutions may
refine the transformer's output for these (refiner.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spresso_cli.models.deviations import Deviations, Told
from spresso_cli.models.envelope import EnvelopeConfig
from spresso_cli.models.layers import MLP, QKV, check_qkv, fourier_features, merge_heads, rope_table
from spresso_cli.models.refiner import Refiner, check_sizes


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of the transformer; the paper fixes the 6 + 6 blocks and the 128 latents."""

    width: int = 384
    heads: int = 6
    joint_blocks: int = 6
    audio_blocks: int = 6
    latent: int = 128
    text_width: int = 192
    # Latent frames per audio token. The paper has no patches (1); 4 makes CPU decoding and
    # training about four times cheaper. Rotary positions stay in latent frames.
    patch: int = 1
    # Adds W h * (c_in x) to the output: a Wiener filter per frame and channel is then one
    # elementwise product away, where a plain linear head has to build products of its input.
    gated_output: bool = True

    def __post_init__(self) -> None:
        check_qkv(self.width, self.heads)


@dataclass(frozen=True)
class AudioDownConfig:
    """One frame rate's adapter: pooling factor t, channels of z, LoRA rank and scale."""

    pool: int
    channels: int = 64
    # Tokens that f_phi makes of one z, spread evenly over its window. The paper has one, at the
    # centre; attention then has to unfold in time what z describes of a whole second.
    tokens: int = 1
    lora_rank: int = 0
    lora_alpha: float = 0.0
    # For how many latents of a frame the deviation is predicted from z (deviations.py), and how
    # many fine bands z describes. 0: none, and the network denoises unscaled latents, as in the
    # paper.
    deviations: int = 0
    fine_bands: int = 0
    # Channels of the convolutions that refine these latents (refiner.py); 0: there are none.
    refiner: int = 0

    def __post_init__(self) -> None:
        if self.refiner:
            check_sizes(self.deviations, self.refiner)


@dataclass(frozen=True)
class TextCondition:
    """Text tokens `[B, L, text_width]`, mask `[B, L]` (True = a token), pooled `[B, text_width]`.

    `present` `[B]` says for which examples the text is used; the others get the learned null.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor
    present: Tensor


class Modulation(nn.Module):
    """A learned offset to the shared adaLN vector: `[B, 6 D]` -> six `[B, 1, D]`."""

    def __init__(self, width: int):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(6 * width))

    def forward(self, shared: Tensor) -> tuple[Tensor, ...]:
        return (shared + self.offset)[:, None].chunk(6, dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without affine, then adaLN: `[B, N, D]`."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Stream(nn.Module):
    """One modality's weights in a block: Q/K/V, projection, MLP, modulation."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.modulation = Modulation(width)
        self.qkv = QKV(width, heads)
        self.proj = nn.Linear(width, width)
        self.mlp = MLP(width)

    def finish(self, x: Tensor, attended: Tensor, vectors: tuple[Tensor, ...]) -> Tensor:
        """Both residual updates after the attention, `[B, N, D]`."""
        _, _, gate1, shift2, scale2, gate2 = vectors
        x = x + gate1 * self.proj(attended)
        return x + gate2 * self.mlp(modulate(x, shift2, scale2))


class Head(nn.Module):
    """Output layers of a rate whose latents are scaled; the base model's are for unscaled ones."""

    def __init__(self, dit: DiTConfig):
        super().__init__()
        self.out = nn.Linear(dit.width, dit.patch * dit.latent)
        self.gate = nn.Linear(dit.width, dit.patch * dit.latent) if dit.gated_output else None


class AudioDown(nn.Module):
    """f_phi and the audio-down stream's own Q/K/V of every joint block, for one frame rate.

    Where deviations are predicted from z, it also holds the maps that do so, a layer that feeds the
    deviations to the network, output layers of its own, and a refiner if there is one.
    """

    def __init__(self, config: AudioDownConfig, dit: DiTConfig):
        super().__init__()
        self.config = config
        self.f_phi = nn.Linear(config.channels, config.tokens * dit.width)
        self.null = nn.Parameter(torch.randn(dit.width) * 0.02)
        self.qkv = nn.ModuleList(QKV(dit.width, dit.heads) for _ in range(dit.joint_blocks))
        if config.deviations:
            envelope = EnvelopeConfig(config.pool, config.channels, fine=config.fine_bands)
            self.deviations = Deviations(envelope, config.deviations)
            self.told = nn.Linear(dit.patch * config.deviations, dit.width)
            self.head = Head(dit)
        self.refiner = Refiner(config.deviations, config.refiner) if config.refiner else None

    @property
    def tells(self) -> bool:
        """Whether deviations are predicted from z, so that the network sees scaled latents."""
        return self.config.deviations > 0

    def start_head(self, dit: DiT) -> None:
        """Initialise the output layers: zero for latents whose deviation is predicted, for others
        as in `dit`. The denoiser then is a Wiener filter that knows z."""
        channel = torch.arange(len(dit.out.bias), device=dit.out.bias.device) % dit.config.latent
        kept = (channel >= self.config.deviations).float()  # rows, [patch 128]
        with torch.no_grad():
            self.told.weight.normal_(std=0.01)
            self.told.bias.zero_()
            for name, layer in self.head.named_children():
                given = getattr(dit, name)
                layer.weight.copy_(given.weight * kept[:, None])
                layer.bias.copy_(given.bias * kept)

    def condition(self, z: Tensor, present: Tensor | None = None) -> DownCondition:
        """The condition that z `[B, n, channels]` makes; rows with `present` False drop z."""
        told = self.deviations(z.detach()) if self.tells else None
        return self.down(self.tokens(z), told, present)

    def tokens(self, z: Tensor) -> Tensor:
        """z `[B, n, 64]` -> tokens `[B, n k, D]`."""
        return self.f_phi(z).unflatten(-1, (self.config.tokens, -1)).flatten(1, 2)

    def down(
        self, tokens: Tensor, told: Told | None, present: Tensor | None = None
    ) -> DownCondition:
        """The condition from tokens of z `[B, n k, D]` and from the latents' mean and size, where
        these are predicted. Rows with `present` False get the null instead of tokens, and no
        size."""
        if present is not None:
            tokens = torch.where(present[:, None, None], tokens, self.null.to(tokens.dtype))
        if told is None:
            return DownCondition(self, tokens)
        size = told.size
        shown = self.told(size.reshape(len(size), -1, self.told.in_features))  # patch by patch
        if present is not None:
            size, shown = (part * present[:, None, None] for part in (size, shown))
        return DownCondition(self, tokens, told, size, shown)

    def dropped(self, tokens: Tensor, told: Told | None) -> DownCondition:
        """`down` with z dropped in all rows."""
        size = None if told is None else torch.zeros_like(told.size)
        return DownCondition(self, self.null.expand_as(tokens), told, size)

    def positions(self, count: int, device: torch.device) -> Tensor:
        """Where `count` tokens lie in latent frames, `[n k]`: at the centres j t + floor(t / 2) of
        the pooling windows, or of their k equal parts."""
        if self.config.tokens == 1:
            return torch.arange(count, device=device) * self.config.pool + self.config.pool // 2
        part = self.config.pool / self.config.tokens
        return (torch.arange(count, device=device) + 0.5) * part - 0.5


@dataclass(frozen=True)
class DownCondition:
    """One rate's condition.

    Attributes:
        adapter: that of the rate.
        tokens: made from z, `[B, n k, D]`, or its null.
        told: mean and size of the latents of T frames as predicted from z, by which they are scaled
            for denoising; None: latents are not scaled.
        size: the sizes in `told`, zero where z is dropped, `[B, T, latents]`.
        shown: what is added to the audio tokens, `[B, N, D]`; None: nothing.
    """

    adapter: AudioDown
    tokens: Tensor
    told: Told | None = None
    size: Tensor | None = None
    shown: Tensor | None = None

    def refinement(self, x: Tensor, c_noise: Tensor) -> Callable[[Tensor], Tensor] | None:
        """The `Refiner` as a function of F alone, for input `x` `[B, T, 128]`; None: no refiner."""
        if self.adapter.refiner is None:
            return None
        return partial(self.adapter.refiner, x=x, size=self.size, c_noise=c_noise)


@dataclass(frozen=True)
class Joint:
    """The result of the joint blocks: audio tokens `[B, N, D]`, the patched input `[B, N, patch
    128]`, the conditioning vector `[B, D]`, its adaLN vector `[B, 6 D]`, the audio's rotary table,
    the output layers, and the function that refines their result, `[B, T, 128]` -> same."""

    hidden: Tensor
    x: Tensor
    c: Tensor
    shared: Tensor
    table: tuple[Tensor, Tensor]
    head: DiT | Head
    refine: Callable[[Tensor], Tensor] | None


class DiT(nn.Module):
    """F(c_in x, c_noise, conditions): `[B, T, 128]` -> `[B, T, 128]`."""

    FOURIER = 128  # random Fourier features of c_noise, as in EDM2

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        width, heads = config.width, config.heads
        self.embed = nn.Linear(config.patch * config.latent, width)
        self.register_buffer("fourier_frequency", torch.randn(self.FOURIER // 2))
        self.time_mlp = nn.Sequential(
            nn.Linear(self.FOURIER, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.pooled_mlp = nn.Sequential(
            nn.Linear(config.text_width, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.text_embed = nn.Linear(config.text_width, width)
        self.null_token = nn.Parameter(torch.randn(width) * 0.02)
        self.null_pooled = nn.Parameter(torch.zeros(config.text_width))
        self.adaln = nn.Linear(width, 6 * width)
        self.joint_audio = nn.ModuleList(Stream(width, heads) for _ in range(config.joint_blocks))
        self.joint_text = nn.ModuleList(Stream(width, heads) for _ in range(config.joint_blocks))
        self.audio = nn.ModuleList(Stream(width, heads) for _ in range(config.audio_blocks))
        self.final_modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, config.patch * config.latent)
        if config.gated_output:
            self.gate = nn.Linear(width, config.patch * config.latent)
        self._init()

    def _init(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        # Zero gates or zero output, never both: two zeros in a row have no gradient at all.
        nn.init.normal_(self.adaln.weight, std=0.02)
        for stream in (*self.joint_audio, *self.joint_text, *self.audio):
            gates = stream.modulation.offset.view(6, -1)
            nn.init.constant_(gates[2], 0.5)
            nn.init.constant_(gates[5], 0.5)
        nn.init.zeros_(self.final_modulation.weight)
        nn.init.zeros_(self.out.weight)
        if self.config.gated_output:
            nn.init.zeros_(self.gate.weight)

    def _text(self, text: TextCondition | None, batch: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Text tokens `[B, L, D]`, their mask `[B, L]` or None, pooled vector `[B, text]`."""
        if text is None:
            null = self.null_token.expand(batch, 1, -1)
            return null, None, self.null_pooled.expand(batch, -1)
        present = text.present
        tokens = self.text_embed(text.tokens)
        tokens = torch.where(present[:, None, None], tokens, self.null_token)
        first = torch.arange(tokens.shape[1], device=tokens.device) == 0
        mask = torch.where(present[:, None], text.mask, first)  # the null is one token long
        pooled = torch.where(present[:, None], text.pooled, self.null_pooled)
        return tokens, mask, pooled

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        text: TextCondition | None = None,
        down: DownCondition | None = None,
    ) -> Tensor:
        """One evaluation.

        Args:
            x: preconditioned input c_in x, `[B, T, 128]`, T a multiple of the patch.
            c_noise: ln(sigma) / 4, `[B]`.
            text: text condition; None means the learned null for the whole batch.
            down: a rate's condition; None decodes from text alone.
        """
        return self.read_out(self.joint(x, c_noise, text, down))

    def joint(
        self,
        x: Tensor,
        c_noise: Tensor,
        text: TextCondition | None = None,
        down: DownCondition | None = None,
    ) -> Joint:
        """The blocks that see the conditions; arguments as in `forward`."""
        batch, device, patch = x.shape[0], x.device, self.config.patch
        refine = None if down is None else down.refinement(x, c_noise)
        x = x.unflatten(1, (-1, patch)).flatten(2)  # [B, N, patch 128]
        frames = x.shape[1]
        fourier = fourier_features(c_noise, self.fourier_frequency)
        text_tokens, text_mask, pooled = self._text(text, batch)
        c = F.silu(self.time_mlp(fourier) + self.pooled_mlp(pooled))  # [B, D]
        shared = self.adaln(c)  # [B, 6 D]

        head_dim = self.config.width // self.config.heads
        centres = torch.arange(frames, device=device) * patch + (patch - 1) / 2
        audio_table = rope_table(centres, head_dim)
        # Float32 and contiguous from the first block on, so that compiled blocks see one kind of
        # input.
        h = self.embed(x).float()  # [B, N, D]
        adapter, down_tokens, head = None, h[:, :0], self
        if down is not None:
            adapter, down_tokens = down.adapter, down.tokens
            head = self if down.told is None else adapter.head
            h = h if down.shown is None else h + down.shown
        count = down_tokens.shape[1]
        if adapter is not None:
            down_table = rope_table(adapter.positions(count, device), head_dim)
        mask = None
        if text_mask is not None:
            ones = text_mask.new_ones(batch, frames + count)
            mask = torch.cat((ones, text_mask), 1)[:, None, None]  # [B, 1, 1, N + n + L]

        last = len(self.joint_audio) - 1
        for i, (stream, text_stream) in enumerate(
            zip(self.joint_audio, self.joint_text, strict=True)
        ):
            vectors, text_vectors = stream.modulation(shared), text_stream.modulation(shared)
            both = torch.cat((h, down_tokens), 1)  # audio-down shares all but Q/K/V with audio
            normed = modulate(both, *vectors[:2])
            parts = [stream.qkv(normed[:, :frames].contiguous(), audio_table)]
            if adapter is not None:
                parts.append(adapter.qkv[i](normed[:, frames:].contiguous(), down_table))
            parts.append(text_stream.qkv(modulate(text_tokens, *text_vectors[:2]), None))
            q, k, v = (torch.cat(group, 2) for group in zip(*parts, strict=True))
            if i == last:  # nothing reads the conditions' outputs of the last joint block
                q, both = q[:, :, :frames], h.contiguous()
            attended = merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
            both = stream.finish(both, attended[:, : both.shape[1]].contiguous(), vectors)
            if i < last:
                text_tokens = text_stream.finish(
                    text_tokens, attended[:, frames + count :], text_vectors
                )
            h, down_tokens = both[:, :frames], both[:, frames:]
        return Joint(h, x, c, shared, audio_table, head, refine)

    def read_out(self, joint: Joint) -> Tensor:
        """The blocks over audio alone and the output, `[B, T, 128]`."""
        h, x, patch = joint.hidden, joint.x, self.config.patch
        for stream in self.audio:
            vectors = stream.modulation(joint.shared)
            q, k, v = stream.qkv(modulate(h, *vectors[:2]), joint.table)
            h = stream.finish(h, merge_heads(F.scaled_dot_product_attention(q, k, v)), vectors)

        shift, scale = self.final_modulation(joint.c)[:, None].chunk(2, -1)
        h = modulate(h, shift, scale)
        y = joint.head.out(h)
        if self.config.gated_output:
            y = y + joint.head.gate(h) * x
        y = y.unflatten(-1, (patch, -1)).flatten(1, 2)  # [B, T, 128]
        return y if joint.refine is None else joint.refine(y.float())
