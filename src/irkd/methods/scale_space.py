"""SLKD's unified scale space: features of all levels as small images of a few channels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from irkd.errors import IrkdError
from irkd.losses.precision import outside_autocast
from irkd.methods.base import Context, Setting
from irkd.methods.projector import Projector, Projectors
from irkd.models.taps import TapPair


class ScaleSpace(Projectors):
    """Maps features of all pairs of taps to `channels` x `size` x `size`.

    The student's go through their projector to the teacher's width; then both sides go through one
    fixed orthonormal map to `channels` channels, a buffer drawn from a seed of its own, and are
    resized. Were the maps to the common space trainable on both sides, they could agree on a
    constant and nothing would be learned. SLKD (arXiv 2501.09268) names the space and says no more.

    clean: the teacher's side are its features on the reference images.
    """

    def __init__(
        self,
        pairs: Iterable[TapPair],
        setting: Setting,
        channels: int,
        size: int,
        *,
        clean: bool = False,
    ) -> None:
        super().__init__(pairs, setting, clean=clean)
        self.size = size
        assert setting.teacher_taps is not None
        for index, pair in enumerate(self.pairs):
            width = setting.teacher_taps[pair.teacher].channels
            if width < channels:
                raise IrkdError(
                    f"slkd: the teacher's {pair.teacher} has {width} channels, fewer than the"
                    f" scale_channels, {channels}."
                )
            self.register_buffer(f"shared_{index}", _orthonormal(channels, width))

    def unified(self, context: Context) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's, B x pairs x channels x size x size each, float32."""
        targets = self.targets(context)
        students, teachers = [], []
        with outside_autocast(context.restored.device.type):
            for index, pair in enumerate(self.pairs):
                shared, projector = self.get_buffer(f"shared_{index}"), self[index]
                assert isinstance(projector, Projector)
                features = context.student_features[pair.student]
                students.append(self._resize(_through(features, projector, shared)))
                teachers.append(self._resize(F.conv2d(targets[pair.teacher], shared)))
        return torch.stack(students, 1), torch.stack(teachers, 1)

    def _resize(self, maps: Tensor) -> Tensor:
        # After the maps, with which it commutes: they leave few channels.
        if maps.shape[-2:] == (self.size, self.size):
            return maps
        shrinks = max(maps.shape[-2:]) > self.size
        return F.interpolate(
            maps, (self.size, self.size), mode="bilinear", align_corners=False, antialias=shrinks
        )


def _through(features: Tensor, projector: Projector, shared: Tensor) -> Tensor:
    """`shared` after `projector`, as the one small convolution that both make."""
    assert projector.bias is not None
    reduced = shared.flatten(1)
    weight, bias = reduced @ projector.weight.flatten(1), reduced @ projector.bias
    return F.conv2d(features, weight[..., None, None], bias)


def _orthonormal(rows: int, columns: int) -> Tensor:
    """A 1x1 convolution whose rows are orthonormal, the same wherever it is made."""
    device = torch.empty(0).device
    generator = torch.Generator(device="cpu").manual_seed(columns)
    normal = torch.randn(columns, rows, generator=generator, dtype=torch.float64, device="cpu")
    orthonormal, triangular = torch.linalg.qr(normal)
    signs = torch.diagonal(triangular).sign()
    return (orthonormal * signs).mT.float()[..., None, None].contiguous().to(device)
