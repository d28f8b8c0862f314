"""Packs in a few lines: `torch.func.vmap` over the nets of `linefit.architectures`, on delta maps or dense images.

Exact and slow: the convolution of all cells' backgrounds, or of dense images, becomes one grouped convolution. Tests
hold packs against it, and `benchmarks.gpu` measures its dense form.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional as F

from linefit.deltamap import DeltaMap


def stacked_gradients(
    nets: Sequence[nn.Module], images: Tensor | DeltaMap, targets: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Gradients `(P, ...)` of every parameter and losses `(P,)` of all nets, on the same images."""
    parameters, buffers = stack_module_state(list(nets))
    skeleton = copy.deepcopy(nets[0]).to("meta")

    def loss(own_parameters: dict[str, Tensor], own_buffers: dict[str, Tensor]) -> Tensor:
        state = {**own_parameters, **own_buffers}
        return F.mse_loss(functional_call(skeleton, state, (images,)), targets)

    gradients, losses = vmap(grad_and_value(loss))(parameters, buffers)
    return gradients, losses
