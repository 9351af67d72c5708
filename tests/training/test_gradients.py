"""From gradients to a step: what is broken is left out, what is too large is shortened."""

from __future__ import annotations

import math

import pytest
import torch

from spresso_cli.training.gradients import descend, replace_broken


def test_broken_gradients_become_zero() -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([math.nan, math.inf, 2.0])
    replace_broken([parameter, torch.nn.Parameter(torch.zeros(1))])
    assert parameter.grad.tolist() == [0.0, 0.0, 2.0]


def test_a_step_is_as_long_as_the_limit_at_most() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([30.0, 40.0])
    descend(torch.optim.SGD([parameter], 1.0), iter([parameter]), clip_norm=1.0)
    assert parameter.tolist() == pytest.approx([-0.6, -0.8])
