"""Training stage, part of step 2: the filters of models/whitening.py, before and after QINCo2.

The filter before QINCo2 is found by gradient descent on the error that the whole chain would have
with a perfect quantiser of that rate (the forward test channel of rate-distortion theory, on the
data's own covariances). The filter after it is fitted when QINCo2 is trained and its noise
measured: one small least-squares problem for each channel and number of codebooks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spresso_cli.models.qinco2 import QINCo2
from spresso_cli.models.whitening import Whitening, WhiteningConfig, filtered, power

RATE, WINDOWS = 0.02, 12_000  # Adam's rate, windows in a batch


def fit(
    z: Tensor, config: WhiteningConfig, bits: float, steps: int = 400, seed: int = 0
) -> Whitening:
    """The filter before the quantiser; the one behind it is `complete`'s.

    Args:
        z: sequences `[B, n, D]`.
        bits: for one window, that the filter is best at.
        steps: of gradient descent.

    Returns:
        A Whitening on z's device.
    """
    generator = torch.Generator().manual_seed(seed)
    whitening = Whitening(config).to(z.device)
    whitening.mean.copy_(z.mean((0, 1)))
    before = whitening.before.clone().requires_grad_()
    behind = whitening.before.clone().requires_grad_()
    optimizer = torch.optim.Adam([before, behind], RATE)
    count = max(1, WINDOWS // z.shape[1])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        rows = torch.randint(len(z), (count,), generator=generator)
        rows = rows.to(z.device, non_blocking=True)
        wanted = z[rows] - whitening.mean
        x = filtered(wanted, before)
        lost = (filtered(x, behind) - wanted).square().mean((0, 1)).sum()
        noise = ideal_noise(x.flatten(0, 1).var(0), bits)
        loss = (lost + (noise * power(behind)).sum()).log()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    whitening.before.copy_(before.detach())
    return whitening


def ideal_noise(variances: Tensor, bits: float) -> Tensor:
    """What the best code of so many bits loses of Gaussian channels, `[D]`: one level for all, or
    all of a channel that lies below it."""
    falling = variances.clamp(min=1e-12).sort(descending=True).values
    count = torch.arange(1, len(falling) + 1, device=falling.device)
    levels = torch.exp2((falling.log2().cumsum(0) - 2 * bits) / count)
    used = int((levels <= falling).sum())
    return variances.minimum(levels[max(used, 1) - 1])


@torch.no_grad()
def noise_of(whitening: Whitening, qinco2: QINCo2, z: Tensor) -> Tensor:
    """What codes of 1, 2, ..., M codebooks miss of what the quantiser sees, mean square, `[M, D]`.

    Args:
        z: sequences `[B, n, D]` that the quantiser was not trained on.
    """
    x = whitening.whiten(z).flatten(0, 1)
    steps = qinco2.decode_steps(qinco2.encode(x))
    return torch.stack([(qinco2.denormalise(xhat) - x).square().mean(0) for xhat in steps])


@torch.no_grad()
def complete(whitening: Whitening, z: Tensor, noise: Tensor) -> None:
    """Fit the filter behind the quantiser.

    Args:
        z: sequences `[B, n, D]`.
        noise: mean square of the quantiser's error, taken as white, `[M, D]`.
    """
    wanted = (z - whitening.mean).double()
    x = filtered(wanted, whitening.before.double())
    reach = whitening.config.reach
    size = reach + 1
    units = torch.eye(size, dtype=torch.float64, device=z.device)
    # What each tap alone makes of x; noise counts twice in the outer ones, which take two windows.
    parts = torch.stack([filtered(x, unit.expand(x.shape[2], -1)) for unit in units])
    moments = torch.einsum("ibnd,jbnd->dij", parts, parts) / wanted[..., 0].numel()
    products = torch.einsum("ibnd,bnd->di", parts, wanted) / wanted[..., 0].numel()
    twice = torch.diag(torch.tensor([1.0] + reach * [2.0], device=z.device)).double()
    ridge = 1e-6 * moments.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * units + 1e-12 * units
    for m, level in enumerate(noise.double()):
        matrix = moments + level[:, None, None] * twice + ridge
        whitening.behind[m] = torch.linalg.solve(matrix, products[..., None])[..., 0].float()
