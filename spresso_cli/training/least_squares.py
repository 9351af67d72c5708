"""Linear maps with a constant, fitted by least squares over more rows than fit in memory."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-4  # of the inputs' mean variance: one that is always 0 gets a row of zeros


class LeastSquares:
    """Sums over rows, and the map `y = x @ matrix + constant` that fits them best."""

    def __init__(self, inputs: int, outputs: int, device: torch.device):
        self._moments = torch.zeros(inputs + 1, inputs + 1, device=device).double()
        self._products = torch.zeros(inputs + 1, outputs, device=device).double()

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take rows `[n, inputs]` and what they should become `[n, outputs]`."""
        x = torch.cat((x.double(), x.new_ones(len(x), 1).double()), 1)
        self._moments += x.T @ x
        self._products += x.T @ y.double()

    def solve(self) -> tuple[Tensor, Tensor]:
        """The matrix `[inputs, outputs]` and the constant `[outputs]`, float32."""
        moments = self._moments.clone()
        seen = moments[-1, -1].clone()  # rows: the constant's own moment
        mean = moments[-1, :-1] / seen
        variance = moments.diagonal()[:-1].mean() / seen - mean.square().mean()
        ridge = seen * (RIDGE * variance + 1e-12)
        moments[:-1, :-1] += ridge * torch.eye(len(mean), device=mean.device)
        solution = torch.linalg.solve(moments, self._products).float()
        return solution[:-1], solution[-1]
