"""Layer normalisation and the linear layer after it, for strips of pixels and without gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Up to so many channels torch's kernel takes twice as long as a few passes over a strip. With more
# of them the matrix product outweighs both, and folding has more to do.
_FEW_CHANNELS = 128


class Normalisation:
    """Layer normalisation over the C channels of pixels, ... x C, biased variance."""

    def __init__(self, weight: Tensor, bias: Tensor, eps: float) -> None:
        self.weight, self.bias, self.eps = weight, bias, eps
        self._few = len(weight) <= _FEW_CHANNELS

    def __call__(self, pixels: Tensor) -> Tensor:
        """The normalised pixels, before weight and bias where `folded` takes them."""
        if not self._few:
            return F.layer_norm(pixels, self.weight.shape, self.weight, self.bias, self.eps)
        centred = pixels - pixels.mean(-1, keepdim=True)
        length = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
        eps = length.new_tensor(self.eps)
        return centred.mul_(torch.addcmul(eps, length, length, value=1 / len(self.weight)).rsqrt_())

    def whole(self, pixels: Tensor) -> Tensor:
        """The normalised pixels, weight and bias applied."""
        normal = self(pixels)
        if self._few:
            torch.addcmul(self.bias, normal, self.weight, out=normal)
        return normal

    def folded(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Matrix C' x C and bias of the linear layer that follows, to be applied to the result."""
        if not self._few:
            return weight, bias
        shift = torch.mv(weight, self.bias)
        return weight * self.weight, shift if bias is None else shift + bias
