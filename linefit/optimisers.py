"""Optimisers, each in the fastest form for where the net is and what it is trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from linefit.deltamap import FusedAdam
from linefit.engines import ResolvedEngine
from linefit.protocol import Optimiser, Protocol

AnyOptimiser = torch.optim.Optimizer | FusedAdam


def adam(net: nn.Module, protocol: Protocol, engine: ResolvedEngine) -> AnyOptimiser:
    """Adam (Kingma & Ba, 2015) with torch's defaults but for the learning rate."""
    if _fuses(net, engine):
        return FusedAdam(net.parameters(), protocol.learning_rate)
    return torch.optim.Adam(net.parameters(), protocol.learning_rate, fused=True)


def adamw(net: nn.Module, protocol: Protocol, engine: ResolvedEngine) -> AnyOptimiser:
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019): a step also shrinks every parameter by
    learning rate x weight decay.
    """
    rate, decay = protocol.learning_rate, protocol.weight_decay
    if _fuses(net, engine):
        return FusedAdam(net.parameters(), rate, weight_decay=decay)
    return torch.optim.AdamW(net.parameters(), rate, weight_decay=decay, fused=True)


OPTIMISERS: dict[Optimiser, Callable[[nn.Module, Protocol, ResolvedEngine], AnyOptimiser]] = {
    "adam": adam,
    "adamw": adamw,
}


def set_learning_rate(optimiser: AnyOptimiser, rate: float) -> None:
    """The learning rate of the steps from here on."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def _fuses(net: nn.Module, engine: ResolvedEngine) -> bool:
    return engine == "delta" and next(net.parameters()).device.type == "cpu"
