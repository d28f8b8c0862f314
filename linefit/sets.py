"""Architectures that see an image as the set of its lit pixels: what each is, is what coordinate channels say there."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linefit.legal import Between

FAR = (
    -1e9
)  # a score that no softmax notices; finite, so that an image without lit pixels has no NaN


class PointNet(nn.Sequential):
    """1x1 convolutions and ReLU on each lit pixel by itself; pooled, a function of the set of lit pixels.

    `depth` layers of `width`. The net multiplies its features by the image, so that unlit pixels add nothing to what
    is pooled (`lit_only`). Sources: Qi et al., "PointNet", 2017; Zaheer et al., "Deep sets", 2017.
    """

    lit_only = True

    def __init__(
        self, in_channels: int, width: int, *, depth: Annotated[int, Between(1, 16)] = 3
    ) -> None:
        layers: list[nn.Module] = []
        for channels in [in_channels, *[width] * (depth - 1)]:
            layers += [nn.Conv2d(channels, width, kernel_size=1), nn.ReLU()]
        super().__init__(*layers)


class SetTransformer(nn.Module):
    """Tokens are the lit pixels: masked self-attention among them, then their maximum and mean: `2 width` features.

    `depth` layers of attention and a feed-forward net of twice the width, normalised before each (Xiong et al. 2020).
    It looks at no more than `tokens` lit pixels; an image of the lab has at most 20. Source: Lee et al., "Set
    transformer", 2019.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        depth: Annotated[int, Between(1, 16)] = 3,
        attention_heads: Annotated[int, Between(1, 64)] = 4,
        tokens: Annotated[int, Between(1, 4096)] = 20,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.embedding = nn.Linear(in_channels, width)
        self.layers = nn.ModuleList(SelfAttention(width, attention_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """From images `(N, C, H, W)`, of which channel 0 says what is lit."""
        channels = images.flatten(2)
        tokens = min(self.tokens, channels.shape[2])
        value, site = channels[:, 0].topk(tokens, dim=1)
        lit = value > 0  # (N, T)
        x = channels.gather(2, site[:, None].expand(-1, channels.shape[1], -1))
        x = self.embedding(x.transpose(1, 2))  # (N, T, width)
        hidden = torch.zeros_like(value).masked_fill(~lit, FAR)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, hidden)
        x = self.norm(x)
        largest = x.masked_fill(~lit[..., None], FAR).amax(1) * lit.any(1, keepdim=True)
        share = lit.to(x.dtype) / lit.sum(1, keepdim=True).clamp_min(1)
        return torch.cat([largest, (x * share[..., None]).sum(1)], dim=1)


class SelfAttention(nn.Module):
    """One layer of a transformer: `x + attention(norm(x))`, then `x + feed_forward(norm(x))`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """`x` `(N, T, width)`; `hidden` `(N, 1, 1, T)` is added to the scores of each key."""
        images, tokens, width = x.shape
        parts = self.queries_keys_values(self.norm1(x)).view(images, tokens, 3, self.heads, -1)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # each (N, heads, T, width / heads)
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=hidden)
        x = x + self.output(attended.transpose(1, 2).reshape(images, tokens, width))
        result: Tensor = x + self.feed_forward(self.norm2(x))
        return result
