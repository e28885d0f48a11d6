"""SLKD: simultaneous learning from the teacher on degraded and on clean images.

arXiv 2501.09268 (ICASSP 2025). No code is public, and the printed text has lost its numbered
equations: (1) is BRISQUE's, (2) to (6) are read from the words around them. Each option below says
where it departs from that reading.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from irkd.errors import IrkdError
from irkd.losses.distribution import gaussian_kl, spatial_softmax_kl
from irkd.losses.natural_scene import ShapeFeature, mscn, natural_color_loss
from irkd.losses.perception_blocks import BLOCK, edge_texture_loss
from irkd.losses.pixel import pixel_loss
from irkd.methods.base import Context, Method, MethodEntry, MethodParameters, Needs, Setting
from irkd.methods.scale_space import ScaleSpace
from irkd.models.taps import Role, Tap, TapPair, pair_taps

PAPER_FORM: dict[str, Any] = {"nss_window": "global", "shape_feature": "alpha"}


class SLKDParameters(MethodParameters):
    """L = 0.5 L_NC + 0.5 L_ET + 0.1 L_KL + 1 L_1.

    The paper's equation (6) is lost; it names two trade-off weights, 0.5 and 0.1. That 0.5 goes to
    both feature losses and 0.1 to the divergence is an assumption. A term whose weight is 0 is not
    computed, and what it alone needs is not run.
    """

    needs_reconstruction: ClassVar[str | None] = (
        "the statistics of features leave the values of the output open"
    )

    name: Literal["slkd"] = "slkd"
    form: Literal["irkd", "paper"] = Field(
        "irkd",
        description="irkd: as each option's default says. paper: nss_window global and "
        "shape_feature alpha where not given below; see there what goes wrong",
    )
    natural_color: float = Field(
        0.5,
        ge=0,
        description="weight of degradation removal, L_NC: statistics of the encoder's features as "
        "in BRISQUE, against the teacher on the degraded image",
    )
    edge_texture: float = Field(
        0.5,
        ge=0,
        description="weight of image reconstruction, L_ET: blocks of the decoder's features as in "
        "PIQE, against the teacher on the clean image",
    )
    divergence: float = Field(
        0.1, ge=0, description="weight of the KL divergence from the clean teacher's output, L_KL"
    )
    reconstruction: float = Field(1.0, ge=0, description="weight of the L1 to pixel_target, L_1")
    teacher_b_input: Literal["clean", "degraded"] = Field(
        "clean",
        description="what the second teacher sees: the reference, or, as in the paper's ablation "
        "(Table IV, 0.41 dB lower), the degraded image like the first",
    )
    pixel_target: Literal["teacher_b", "ground_truth"] = Field(
        "teacher_b",
        description="what the output is drawn to: the second teacher's output as printed (5), or "
        "the reference, which the paper uses in no term",
    )
    encoder_taps: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="the student's taps for L_NC; all of the encoder if not given",
    )
    decoder_taps: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="the student's taps for L_ET; all of the decoder but refinement if not given",
    )
    scale_channels: int = Field(
        3, ge=1, description="channels of the unified scale space; 3 as an image has"
    )
    scale_size: int = Field(
        64,
        ge=BLOCK,
        multiple_of=BLOCK,
        description="height and width of the unified scale space. Without one, blocks of 16 would "
        "leave 1 x 1 block of a 128 patch at a stride of 8",
    )
    mscn_constant: float = Field(
        0.1,
        gt=0,
        description="C of the local normalisation (1), in deviations of the map. BRISQUE's 1 is "
        "made for 0 to 255; for features of any other scale it leaves statistics of nothing",
    )
    nss_window: Literal[16, 32, 64, "global"] = Field(
        32,
        description="statistics of L_NC over windows of that many positions of the scale space, or "
        "global as printed: moments of a whole map, which hardly change when its parts change "
        "places",
    )
    shape_feature: ShapeFeature = Field(
        "log_alpha",
        description="what stands for the distributions. log_alpha: logarithms of shape and "
        "variance. moment_ratio: of the ratio of moments and the variance, of even sensitivity. "
        "alpha: shape and variance as BRISQUE has them; its gradient explodes at light tails",
    )
    kl: Literal["spatial_softmax", "gaussian"] = Field(
        "spatial_softmax",
        description="how images become distributions (4). spatial_softmax: softmax over positions, "
        "blind to a constant change of brightness. gaussian: a normal around each value, MSE / (2 "
        "sigma^2)",
    )
    tau: float = Field(
        1.0, ge=0.01, description="temperature of kl spatial_softmax; small: bright places count"
    )
    sigma: float = Field(1.0, gt=0, description="deviation of kl gaussian, in units of the values")

    @model_validator(mode="before")
    @classmethod
    def _paper_form(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("form") == "paper":
            return PAPER_FORM | given
        return given

    @model_validator(mode="after")
    def _can_be_trained(self) -> SLKDParameters:
        if not self.weights():
            raise ValueError("all terms weigh 0: nothing would be learned")
        if self.nss_window != "global" and self.scale_size % self.nss_window:
            raise ValueError(
                f"scale_size {self.scale_size} is not cut evenly by nss_window {self.nss_window}"
            )
        return self

    @property
    def reconstructs(self) -> bool:
        return self.reconstruction > 0 or (self.kl == "gaussian" and self.divergence > 0)

    def weights(self) -> dict[str, float]:
        """The weight of every term that is on."""
        weights = {
            "natural_color": self.natural_color,
            "edge_texture": self.edge_texture,
            "divergence": self.divergence,
            "reconstruction": self.reconstruction,
        }
        return {term: weight for term, weight in weights.items() if weight > 0}


class SimultaneousLearning(Method):
    """The terms of SLKD.

    The two teachers are one network on two inputs: the paper does not say that their weights
    differ. Trainable: one projector for each pair of taps, on the student's side.
    """

    def __init__(self, parameters: SLKDParameters, setting: Setting) -> None:
        super().__init__(parameters)
        self.parameters_spec: SLKDParameters = parameters
        self.term_weights = parameters.weights()
        on = set(self.term_weights)
        clean = parameters.teacher_b_input == "clean"
        removal = self._pairs("encoder", parameters.encoder_taps, setting, "natural_color" in on)
        rebuilding = self._pairs("decoder", parameters.decoder_taps, setting, "edge_texture" in on)
        if removal:
            self.removal = self._scale_space(removal, setting, clean=False)
        if rebuilding:
            self.rebuilding = self._scale_space(rebuilding, setting, clean=clean)
        self.term_taps = {
            "natural_color": tuple(pair.student for pair in removal),
            "edge_texture": tuple(pair.student for pair in rebuilding),
        }
        output = "divergence" in on or (
            "reconstruction" in on and parameters.pixel_target == "teacher_b"
        )
        self.needs = Needs(
            teacher=output and not clean,
            teacher_clean=output and clean,
            tap_pairs=removal if clean else (*removal, *rebuilding),
            clean_tap_pairs=rebuilding if clean else (),
        )
        if self.needs.uses_teacher and setting.teacher_taps is None:
            raise IrkdError("slkd learns from a teacher, but the preset names none.")
        # Moments of features are no convex function of them, and the scale space has one size.
        self.not_monotone = frozenset({"natural_color"} & on)
        self.size_dependent = frozenset({"natural_color", "edge_texture"} & on)

    @staticmethod
    def _pairs(
        role: Role, names: tuple[str, ...] | None, setting: Setting, wanted: bool
    ) -> tuple[TapPair, ...]:
        """Pairs of the taps `names`, which must be the role's, or of all that are."""
        if not wanted or setting.teacher_taps is None:
            return ()
        taps = setting.student_taps
        if names is None:
            names = tuple(n for n, t in taps.items() if t.role == role and n != "refinement")
        pairs = pair_taps(taps, setting.teacher_taps, names)
        for name in names:
            _require_role(name, taps[name], role)
        return pairs

    def _scale_space(
        self, pairs: tuple[TapPair, ...], setting: Setting, *, clean: bool
    ) -> ScaleSpace:
        spec = self.parameters_spec
        return ScaleSpace(pairs, setting, spec.scale_channels, spec.scale_size, clean=clean)

    def forward(self, context: Context) -> dict[str, Tensor]:
        spec = self.parameters_spec
        terms = {}
        if "natural_color" in self.term_weights:
            terms["natural_color"] = natural_color_loss(
                *self._normalised(self.removal, context),
                window=None if spec.nss_window == "global" else spec.nss_window,
                feature=spec.shape_feature,
            )
        if "edge_texture" in self.term_weights:
            terms["edge_texture"] = edge_texture_loss(*self._normalised(self.rebuilding, context))
        if "divergence" in self.term_weights:
            terms["divergence"] = self._divergence(context.restored, self._taught(context))
        if "reconstruction" in self.term_weights:
            printed = spec.pixel_target == "teacher_b"
            target = self._taught(context) if printed else context.reference
            terms["reconstruction"] = pixel_loss(context.restored, target, "l1")
        return terms

    def _normalised(self, space: ScaleSpace, context: Context) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's locally normalised maps, B x taps x channels x H x W."""
        c = self.parameters_spec.mscn_constant
        student, teacher = space.unified(context)
        return mscn(student, c, batch=True), mscn(teacher, c, batch=True)

    def _taught(self, context: Context) -> Tensor:
        """The second teacher's output."""
        clean = self.parameters_spec.teacher_b_input == "clean"
        taught = context.clean_restored if clean else context.teacher_restored
        assert taught is not None
        return taught

    def _divergence(self, restored: Tensor, taught: Tensor) -> Tensor:
        spec = self.parameters_spec
        if spec.kl == "gaussian":
            return gaussian_kl(restored, taught, spec.sigma)
        return spatial_softmax_kl(restored, taught, spec.tau)


def _require_role(name: str, tap: Tap, role: Role) -> None:
    """The middle may stand with either side."""
    if tap.role not in (role, "middle"):
        raise IrkdError(f"slkd: {role}_taps names {name}, which is no tap of the {role}.")


METHODS = (
    MethodEntry(
        "slkd",
        "SLKD: statistics of features, against the teacher on degraded and clean images",
        SLKDParameters,
        SimultaneousLearning,
    ),
)
