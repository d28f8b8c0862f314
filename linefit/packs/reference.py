"""Packs in a few lines: `torch.func.vmap` over the nets of `linefit.architectures`, on delta maps or dense images.

Exact and slow: the convolution of all cells' backgrounds, or of dense images, becomes one grouped convolution. Tests
hold packs against it, and `benchmarks.gpu` measures its dense form.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional as F

from linefit.deltamap import DeltaMap

Parameters = dict[str, Tensor]
Gradients = Callable[[Tensor | DeltaMap, Tensor], tuple[Parameters, Tensor]]


def stacked(nets: Sequence[nn.Module]) -> tuple[Parameters, Gradients]:
    """All nets' parameters `(P, ...)` by name, and a function of images and targets, the same for all nets.

    It gives the gradients of those parameters, as they are when it is called, and the losses `(P,)`.
    """
    parameters, buffers = stack_module_state(list(nets))
    skeleton = copy.deepcopy(nets[0]).to("meta")

    def gradients(images: Tensor | DeltaMap, targets: Tensor) -> tuple[Parameters, Tensor]:
        def loss(own_parameters: Parameters, own_buffers: Parameters) -> Tensor:
            state = {**own_parameters, **own_buffers}
            return F.mse_loss(functional_call(skeleton, state, (images,)), targets)

        found, losses = vmap(grad_and_value(loss))(parameters, buffers)
        return found, losses

    return parameters, gradients
