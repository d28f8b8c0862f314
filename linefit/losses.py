"""Losses: what a step makes smaller, for a batch of images and their targets, averaged over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from linefit.protocol import Loss

# (net, batch of images, targets of the batch) -> scalar
LossFunction = Callable[[nn.Module, Any, Tensor], Tensor]


def mse(net: nn.Module, images: Any, targets: Tensor) -> Tensor:
    """Mean squared error over slope and intercept: the lab's, and what everything is evaluated by."""
    return F.mse_loss(net(images), targets)


def huber(net: nn.Module, images: Any, targets: Tensor) -> Tensor:
    """Half the squared error up to an error of 1, beyond it linear (Huber, 1964); mean over both outputs."""
    return F.huber_loss(net(images), targets)


def l1(net: nn.Module, images: Any, targets: Tensor) -> Tensor:
    """Mean absolute error over both outputs."""
    return F.l1_loss(net(images), targets)


def cross_entropy(net: nn.Module, images: Any, targets: Tensor) -> Tensor:
    """Cross-entropy of the slope's distribution plus that of the intercept's, for a net with a categorical head.

    `net.logits(images)` gives the logits of the prior's slopes `(N, S)` and of its intercepts `(N, I)`; `targets`
    `(N, S + I)` are distributions over both, side by side (`linefit.targets.distributions`).
    """
    slope, intercept = net.logits(images)  # type: ignore[operator]
    slopes = slope.shape[1]
    return F.cross_entropy(slope, targets[:, :slopes]) + F.cross_entropy(
        intercept, targets[:, slopes:]
    )


LOSSES: dict[Loss, LossFunction] = {
    "mse": mse,
    "huber": huber,
    "l1": l1,
    "cross_entropy": cross_entropy,
}
