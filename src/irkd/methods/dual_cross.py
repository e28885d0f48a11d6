"""Dual cross distillation: the student's half inside the teacher, and the other way round.

Fang et al., "Dual cross knowledge distillation for image super-resolution", JVCIR 2023, vol. 95,
103858: the "DCKD" that the SKD and SLKD papers compare with. AAAI 2025's "DCKD" is another method,
irkd's `dynamic-contrast`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.losses.pixel import pixel_loss
from irkd.losses.precision import full_precision
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting
from irkd.methods.projector import Projector, feature_pairs
from irkd.models.taps import Tap, TapPair, pair_taps

Taps = Mapping[str, Tap]


class DualCrossParameters(MethodParameters):
    """L = |S(x) - y| + w1 mean_k |T_>k(r_k(S_<=k(x))) - y| + w2 mean_k |S_>k(q_k(T_<=k(x))) - T(x)|

    Both networks are cut at k, their halves exchanged through trainable 1x1 convolutions r and q.
    Differs from the paper: only its abstract is public, which says that the student is cascaded
    into the trained teacher, whose parameters so become the loss; the second path, the weights, the
    cuts and the targets are irkd's reading of "dual cross".
    """

    name: Literal["dual-cross"] = "dual-cross"
    cuts: tuple[str, ...] = Field(
        ("middle",),
        min_length=1,
        description="where both networks are cut: after the student's encoder levels or `middle` "
        "named here, and the teacher's that pair with them. What lies before a cut is all encoder "
        "levels up to it, since their outputs reach the decoder over the skips",
    )
    reconstruction: float = Field(
        1.0, ge=0, description="weight of L1 between restored and reference"
    )
    student_head: float = Field(
        0.5, ge=0, description="weight w1 of the student's half continued by the frozen teacher"
    )
    teacher_head: float = Field(
        0.5, ge=0, description="weight w2 of the teacher's half continued by the student"
    )

    @model_validator(mode="after")
    def _something_is_learned(self) -> DualCrossParameters:
        if not self.weights():
            raise ValueError("all weights are 0: nothing would be learned")
        if len(set(self.cuts)) != len(self.cuts):
            raise ValueError("cuts: each may be named once")
        return self

    def weights(self) -> dict[str, float]:
        """The weight of every term that is on."""
        weights = {
            "reconstruction": self.reconstruction,
            "student_head": self.student_head,
            "teacher_head": self.teacher_head,
        }
        return {term: weight for term, weight in weights.items() if weight > 0}


class DualCrossDistillation(Method):
    """Trainable: the 1x1 convolutions between the halves, in the directions that are on.

    The teacher's second half is differentiable though frozen: its activations are kept for the
    backward pass, as those of the student are.
    """

    def __init__(self, parameters: DualCrossParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: DualCrossParameters = parameters
        self.term_weights = parameters.weights()
        # Across a cut an image is no linear function of the features.
        self.not_monotone = frozenset({"student_head", "teacher_head"} & set(self.term_weights))
        # Borders count for more in smaller images, and attention and gates are global.
        self.size_dependent = self.not_monotone
        if not self.not_monotone:
            self.needs = Needs()
            return
        pairs = feature_pairs("dual-cross", setting, parameters.cuts)
        assert setting.teacher_taps is not None
        heads = [
            (_head(setting.student_taps, cut.student), _head(setting.teacher_taps, cut.teacher))
            for cut in pairs
        ]
        self.into_teacher = nn.ModuleList(
            _Crossing(mine, its) for mine, its in heads if "student_head" in self.term_weights
        )
        self.into_student = nn.ModuleList(
            _Crossing(its, mine) for mine, its in heads if "teacher_head" in self.term_weights
        )
        self.needs = Needs(
            teacher="teacher_head" in self.term_weights,
            tap_pairs=tuple(
                dict.fromkeys(
                    TapPair(source, target)
                    for crossing in self._crossings(self.into_teacher)
                    for target, source in crossing.sources.items()
                )
            ),
            teacher_taps=tuple(
                dict.fromkeys(
                    source
                    for crossing in self._crossings(self.into_student)
                    for source in crossing.sources.values()
                )
            ),
            tails=True,
        )
        self.term_taps = {"teacher_head": ()}

    def forward(self, context: Context) -> dict[str, Tensor]:
        terms = {}
        if "reconstruction" in self.term_weights:
            terms["reconstruction"] = pixel_loss(context.restored, context.reference, "l1")
        if "student_head" in self.term_weights:
            assert context.teacher_tail is not None
            losses = []
            for crossing in self._crossings(self.into_teacher):
                features = crossing(context.student_features, context.degraded)
                losses.append(pixel_loss(context.teacher_tail(features), context.reference, "l1"))
            terms["student_head"] = torch.stack(losses).mean()
        if "teacher_head" in self.term_weights:
            assert context.student_tail is not None
            assert context.teacher_restored is not None
            losses = []
            for crossing in self._crossings(self.into_student):
                features = crossing(context.teacher_features, context.degraded)
                crossed = context.student_tail(features)
                losses.append(pixel_loss(crossed, context.teacher_restored, "l1"))
            terms["teacher_head"] = torch.stack(losses).mean()
        return terms

    @staticmethod
    def _crossings(modules: nn.ModuleList) -> list[_Crossing]:
        return list(modules)  # type: ignore[arg-type]


class _Crossing(nn.Module):
    """One network's features before a cut as another network's, at each tap of its head.

    sources: the target's tap to the source's. Resolutions that differ are met bilinearly.
    """

    def __init__(self, source: Taps, target: Taps) -> None:
        super().__init__()
        self.sources = {
            pair.student: pair.teacher for pair in pair_taps(target, source, names=tuple(target))
        }
        self.strides = {name: tap.stride for name, tap in target.items()}
        self.adapters = nn.ModuleDict(
            {
                name: Projector(source[self.sources[name]].channels, tap.channels)
                for name, tap in target.items()
            }
        )

    def forward(self, features: Mapping[str, Tensor], images: Tensor) -> dict[str, Tensor]:
        height, width = images.shape[-2:]
        return {
            name: _resize(
                adapter(features[self.sources[name]]),
                (height // self.strides[name], width // self.strides[name]),
            )
            for name, adapter in self.adapters.items()
        }


@full_precision
def _resize(features: Tensor, size: tuple[int, int]) -> Tensor:
    if features.shape[-2:] == size:
        return features
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False, antialias=True)


def _head(taps: Taps, cut: str) -> dict[str, Tap]:
    """The taps whose outputs are all that the rest of the network needs after `cut`."""
    if taps[cut].role == "decoder":
        raise IrkdError(
            f"dual-cross cannot cut at {cut!r}: the cuts are encoder levels and middle, "
            f"{', '.join(name for name, tap in taps.items() if tap.role != 'decoder')}."
        )
    names = list(taps)
    return {name: taps[name] for name in names[: names.index(cut) + 1]}


METHODS = (
    MethodEntry(
        "dual-cross",
        "Dual cross distillation: halves of both networks exchanged",
        DualCrossParameters,
        DualCrossDistillation,
    ),
)
