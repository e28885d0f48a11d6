"""Contrast: near to the teacher's image, far from the degraded ones.

All arguments are features of images, B x ...; SKD (arXiv 2501.09321) equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from irkd.losses.kernels import unit
from irkd.losses.precision import full_precision

RATIO_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


@full_precision
def infonce(
    restored: Tensor, taught: Tensor, degraded: Tensor, *, tau: float = 0.1, centre: bool = True
) -> Tensor:
    """Cross-entropy of picking the image's own teacher output among it and the degraded batch.

    The logits are cosines divided by `tau`. `centre` first takes the mean of all positives and
    negatives off every feature: uncentred, image features are nearly parallel, and what pushes the
    student off the degraded image pushes it off the teacher's too.

    Differs from the print, which minimises the probability itself and so drives the student to the
    degraded image, and whose tau of 1e-6 overflows in every floating-point format.
    The optimum is not at the teacher: keep a reconstruction term beside it. The value grows with
    the logarithm of the batch size.
    """
    logits = _cosines(restored, taught, degraded, centre=centre) / tau
    target = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits, target)


@full_precision
def literal_contrast(
    restored: Tensor, taught: Tensor, degraded: Tensor, *, tau: float = 1e-6
) -> Tensor:
    """Equation 4 as printed: the probability of the positive, to be minimised.

    Minimising it drives the student to the degraded image, and below a tau of about 0.0113 the
    exponential overflows float32: the value is not a number.
    """
    similarities = torch.exp(_cosines(restored, taught, degraded, centre=False) / tau)
    return (similarities[:, 0] / similarities.sum(1)).mean()


def _cosines(restored: Tensor, taught: Tensor, degraded: Tensor, *, centre: bool) -> Tensor:
    """B x (1 + B): each restored image's cosine to its positive, then to all negatives."""
    anchor, positive, negatives = (each.flatten(1) for each in (restored, taught, degraded))
    if centre:
        mean = torch.cat([positive, negatives]).mean(0, keepdim=True)
        anchor, positive, negatives = anchor - mean, positive - mean, negatives - mean
    anchor, positive, negatives = unit(anchor), unit(positive), unit(negatives)
    return torch.cat([(anchor * positive).sum(1, keepdim=True), anchor @ negatives.mT], 1)


@full_precision
def contrast_ratio(
    restored: Sequence[Tensor], taught: Sequence[Tensor], *negatives: Sequence[Tensor]
) -> Tensor:
    """Sum over layers of w |restored - taught|_1 / (sum over negatives |restored - it|_1 + 1e-7).

    With the degraded images as the only negative, contrastive regularisation of AECR-Net (Wu et
    al., CVPR 2021); with several, that of dynamic contrastive distillation (Zhou et al., AAAI
    2025). Weights 1/32, 1/16, 1/8, 1/4, 1 for five layers, shallow to deep; fewer layers take the
    last ones. Its minimum, 0, is at the teacher.
    """
    total = restored[0].new_zeros(())
    weights = RATIO_WEIGHTS[-len(restored) :]
    for weight, anchor, positive, *others in zip(
        weights, restored, taught, *negatives, strict=True
    ):
        far = torch.stack([(anchor - other).abs().mean() for other in others]).sum()
        total = total + weight * (anchor - positive).abs().mean() / (far + 1e-7)
    return total


@full_precision
def contrast_share(
    restored: Sequence[Tensor], taught: Sequence[Tensor], degraded: Sequence[Tensor]
) -> Tensor:
    """Mean over images and layers of near / (near + far), the L1 distances to both images.

    Between 0, at the teacher, and 1, at the degraded image. Unlike `contrast_ratio` its gradient is
    bounded where a student starts as the identity.
    """
    shares = []
    for anchor, positive, negative in zip(restored, taught, degraded, strict=True):
        near = (anchor - positive).abs().flatten(1).mean(1)
        far = (anchor - negative).abs().flatten(1).mean(1)
        shares.append((near / (near + far + 1e-7)).mean())
    return torch.stack(shares).mean()
