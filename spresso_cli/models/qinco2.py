"""QINCo2: residual quantisation with codebooks adapted by small networks (S-PRESSO 2.6).

xhat_1 = C_1[i_1]; xhat_m = xhat_{m-1} + f_m(C_m[i_m], xhat_{m-1}). Encoding keeps a beam of B
hypotheses; of all entries that could follow any of them, the A that a shortlist codebook finds
nearest go through f_m. Every prefix of a code is a valid code of a lower rate. (Vallaeys et al.
2025, equations 3 to 8. There, A entries of each hypothesis go through f_m, most of them in vain; A
entries in total find codes that are as good with a fraction of the work.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class QINCo2Config:
    """Sizes of a quantiser; `codebook_bits` is log2 K. A and B are search settings."""

    dim: int = 64
    codebook_bits: int = 10
    codebooks: int = 20
    embed: int = 128  # d_e
    hidden: int = 256  # d_h
    blocks: int = 2  # L
    shortlist: int = 48  # A, of all hypotheses together
    beam: int = 32  # B

    @property
    def entries(self) -> int:
        """K, the number of entries of each codebook."""
        return 1 << self.codebook_bits


class Step(nn.Module):
    """f_m of one step m >= 2, and the shortlist codebook that pre-selects its candidates."""

    def __init__(self, config: QINCo2Config):
        super().__init__()
        d, e, h = config.dim, config.embed, config.hidden
        self.codebook = nn.Parameter(torch.zeros(config.entries, d))
        self.shortlist = nn.Parameter(torch.zeros(config.entries, d))
        self.p_in = nn.Linear(d, e, bias=False)
        self.mix = nn.Linear(e + d, e)
        self.up = nn.ModuleList(nn.Linear(e, h, bias=False) for _ in range(config.blocks))
        self.down = nn.ModuleList(nn.Linear(h, e, bias=False) for _ in range(config.blocks))
        self.p_out = nn.Linear(e, d, bias=False)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)
        for layer in self.down:
            nn.init.zeros_(layer.weight)
        # Zero P_out starts exactly at residual quantisation; the released code starts at
        # c + P_out P_in c instead.
        nn.init.zeros_(self.p_out.weight)

    def forward(self, code: Tensor, xhat: Tensor) -> Tensor:
        """f_m(c, x), both `[..., D]`."""
        e = self.p_in(code)
        e = e + self.mix(torch.cat((e, xhat), -1))
        for up, down in zip(self.up, self.down, strict=True):
            e = e + down(F.relu(up(e)))
        return code + self.p_out(e)


def distances(x: Tensor, table: Tensor, metric: Tensor | None = None) -> Tensor:
    """Squared distances of vectors to the rows of a table.

    Args:
        x: `[N, F, D]`.
        table: `[K, D]`.
        metric: L for each of the N vectors, `[N, D, D]`: distances are |e L|^2; None: |e|^2.

    Returns:
        `[N, F, K]`.
    """
    if metric is None:
        less = F.linear(-2 * x, table, table.square().sum(-1))
    else:
        x, tables = x @ metric, table @ metric  # [N, F, D], [N, K, D]
        less = torch.baddbmm(tables.square().sum(-1)[:, None], x, tables.mT, alpha=-2)
    # Under autocast in its type: a table of float32 for every candidate is what search waits for.
    return less + x.square().sum(-1, keepdim=True).to(less.dtype)


class QINCo2(nn.Module):
    """The quantiser of one frame rate."""

    def __init__(self, config: QINCo2Config):
        super().__init__()
        self.config = config
        self.first = nn.Parameter(torch.zeros(config.entries, config.dim))
        self.steps = nn.ModuleList(Step(config) for _ in range(config.codebooks - 1))
        self.register_buffer("mean", torch.zeros(config.dim))
        self.register_buffer("std", torch.ones(()))

    def normalise(self, x: Tensor) -> Tensor:
        """From original units to the quantiser's, by a mean per dimension and one global std."""
        return (x - self.mean) / self.std

    def denormalise(self, x: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return x * self.std + self.mean

    def advance(self, m: int, indices: Tensor, xhat: Tensor) -> Tensor:
        """xhat after step m (0-based, m >= 1) for chosen entries, `[..., D]`."""
        step = self.steps[m - 1]
        return xhat + step(step.codebook[indices], xhat)

    def search(
        self,
        x: Tensor,
        codebooks: int,
        shortlist: int,
        beam: int,
        metric: Tensor | None = None,
        plainly: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Beam search on normalised vectors.

        Args:
            x: `[N, D]` in normalised units.
            codebooks: M' <= M, the number of steps to run; the winner is the best M'-code.
            shortlist: A, how many candidates of each vector go through f_m at each step.
            beam: B, hypotheses kept between steps.
            metric: L for each vector, `[N, D, D]`: an error e costs |e L|^2; None: |e|^2.
            plainly: pre-select candidates by |e|^2 even if there is a metric. For N vectors at once
                that takes a fraction of the time, and the codes are a little worse.

        Returns:
            codes int64 `[N, M']` and their reconstruction `[N, D]`, normalised.
        """
        entries = self.config.entries
        by = None if plainly else metric
        rows = torch.arange(len(x), device=x.device)[:, None]
        keep = min(beam, entries) if codebooks > 1 else 1
        near = distances(x[:, None], self.first, metric)[:, 0]  # [N, K]
        codes = near.topk(keep, largest=False).indices[..., None]  # [N, F, 1]
        xhat = self.first[codes[..., 0]]  # [N, F, D]
        for m in range(1, codebooks):
            step = self.steps[m - 1]
            near = distances(x[:, None] - xhat, step.shortlist, by).flatten(1)  # [N, F K]
            few = near.topk(min(shortlist, near.shape[1]), largest=False).indices  # [N, A]
            parent, entry = few // entries, few % entries
            base = xhat[rows, parent]
            options = base + step(step.codebook[entry], base)  # [N, A, D]
            error = x[:, None] - options
            error = error if metric is None else error @ metric
            keep = 1 if m == codebooks - 1 else min(beam, error.shape[1])
            best = error.square().sum(-1).topk(keep, largest=False).indices  # [N, F']
            xhat = options[rows, best]
            longer = codes[rows, parent[rows, best]], entry[rows, best][..., None]
            codes = torch.cat(longer, -1)
        return codes[:, 0], xhat[:, 0]

    @torch.inference_mode()
    def encode(
        self,
        z: Tensor,
        codebooks: int | None = None,
        shortlist: int | None = None,
        beam: int | None = None,
        micro_batch: int = 64,
        each: Callable[[Callable[[int], Tensor], Iterable[int]], Iterable[Tensor]] = map,
        metric: Callable[[int, int], Tensor] | None = None,
    ) -> Tensor:
        """Latents to codes.

        Args:
            z: float32 `[N, D]` in original units.
            codebooks: M' (default M); a lower rate re-runs the beam with M' steps, because the
                winner of a longer search is not the best prefix.
            shortlist, beam: A and B (default: the config's).
            micro_batch: vectors in one search call; the last call is padded to it, so that codes do
                not depend on how many vectors arrive together.
            each: `map`, or a function like it that runs several calls at a time.
            metric: returns L of `search` for the vectors from `begin` to `stop - 1`, `[n, D, D]`.

        Returns:
            int64 `[N, M']`.
        """
        config = self.config
        m = config.codebooks if codebooks is None else codebooks
        if not 1 <= m <= config.codebooks:
            raise ValueError(f"codebooks must be 1 to {config.codebooks}, not {m}")
        x = F.pad(self.normalise(z), (0, 0, 0, -len(z) % micro_batch))
        width = shortlist or config.shortlist, beam or config.beam

        def searched(first: int) -> Tensor:
            stop = first + micro_batch
            own = None
            if metric is not None:
                own = torch.eye(config.dim, device=z.device).repeat(micro_batch, 1, 1)
                own[: len(z) - first] = metric(first, min(stop, len(z)))
            return self.search(x[first:stop], m, *width, own)[0]

        codes = list(each(searched, range(0, len(x), micro_batch)))
        if not codes:
            return torch.zeros(0, m, dtype=torch.int64, device=z.device)
        return torch.cat(codes)[: len(z)]

    def decode_steps(self, codes: Tensor) -> list[Tensor]:
        """Normalised reconstructions after 1, 2, ..., M' steps, each `[..., D]`."""
        steps = [self.first[codes[..., 0]]]
        for m in range(1, codes.shape[-1]):
            steps.append(self.advance(m, codes[..., m], steps[-1]))
        return steps

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[..., M']` (any prefix length) -> latents `[..., D]` in original units."""
        return self.denormalise(self.decode_steps(codes)[-1])
