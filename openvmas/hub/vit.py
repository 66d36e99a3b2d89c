"""The transformer block that PaSST and ImageBind have in common (ViT, Dosovitskiy et al. 2021), ImageBind's names."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class Block(nn.Module):
    """[B, N, D] → [B, N, D]. has_bias_kv: one more key and value, learned, beside those of the tokens."""

    def __init__(self, width: int, n_heads: int, has_bias_kv: bool = False) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.MultiheadAttention(width, n_heads, add_bias_kv=has_bias_kv, batch_first=True)
        wide = 4 * width
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            fc1=nn.Linear(width, wide), act=nn.GELU(), fc2=nn.Linear(wide, width)
        )
        self.mlp = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm_2(x))
