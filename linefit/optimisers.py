"""Optimisers, each in the fastest form for where the net is and what it is trained on."""

from __future__ import annotations

import torch
from torch import nn

from linefit.deltamap import FusedAdam
from linefit.engines import ResolvedEngine


def adam(
    net: nn.Module, learning_rate: float, engine: ResolvedEngine
) -> torch.optim.Adam | FusedAdam:
    """Adam with torch's defaults."""
    device = next(net.parameters()).device
    if engine == "delta" and device.type == "cpu":
        return FusedAdam(net.parameters(), lr=learning_rate)
    return torch.optim.Adam(net.parameters(), lr=learning_rate, fused=True)
