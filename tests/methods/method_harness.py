"""Contexts built by hand from tiny networks of the real families, for tests of methods."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from irkd.methods.base import Context, Method, Setting, build_method, methods
from irkd.methods.context import build_context
from irkd.methods.projector import Projector
from irkd.models.apply import to_range
from irkd.models.base import create_network
from irkd.models.taps import tail
from irkd.models.weights import save_network

OPTIONS: dict[str, dict[str, object]] = {
    "nafnet": {"width": 8, "enc_blk_nums": (1, 1), "middle_blk_num": 1, "dec_blk_nums": (1, 1)},
    "restormer": {
        "dim": 8,
        "num_blocks": (1, 1, 1, 1),
        "num_refinement_blocks": 1,
        "heads": (1, 1, 2, 2),
    },
    "drsformer": {"dim": 8, "num_blocks": (1, 1, 1, 1), "heads": (1, 1, 2, 2), "mefc_steps": 2},
    "uformer": {
        "embed_dim": 4,
        "depths": (1, 2, 1, 1, 2, 1, 1, 2, 2),
        "num_heads": (1, 2, 2, 2, 4, 4, 2, 2, 1),
        "win_size": 2,
        "drop_path_rate": 0,
    },
    "resunet": {"widths": (8, 8, 16), "blocks": (1, 1, 1)},
}

# Beside its defaults, the options of a method that change what it computes.
OPTION_SETS: dict[str, list[dict[str, object]]] = {
    "none": [{"reconstruction_loss": kind} for kind in ("charbonnier", "mse", "psnr")],
    "response": [
        {"trust": "where_teacher_better"},
        {"distillation_loss": "mse", "reconstruction_loss": "l1"},
        {"distillation_loss": "charbonnier", "ssim": 0},
    ],
    "affinity": [{"taps": ("encoder_level2", "middle"), "distillation": 0}],
    "channelwise": [{"standardize": False, "tau": 4}],
    "hints": [
        {"standardize": False},
        {"reduce": "channel_mean", "taps": ("encoder_level1", "middle", "decoder_level1")},
    ],
    "wavelet": [{"levels": 2, "level_weights": (1.0, 0.5)}],
    "skd": [
        {"contrast": "ratio"},
        {"contrast": "infonce"},
        {"contrast": "literal", "phi": "pixel"},
        {"contrast": "infonce", "phi": "pixel", "kernel": "euclidean"},
        {"contrast": "off", "kernel": "cosine", "mca_target": "raw"},
        {
            "contrast": "off",
            "normalize": "standardize",
            "kernel": "euclidean",
            "spatial_attention": "window",
            "taps": ("encoder_level1", "decoder_level1"),
        },
        {"contrast": "off", "spatial_attention": "pool", "kernel_term": False},
    ],
    "dual-cross": [{"cuts": ("encoder_level1", "middle"), "teacher_head": 0}],
    "data-free": [{"distillation_loss": "charbonnier", "consistency_form": "idempotence"}],
    "multi-teacher": [{"aggregator": "conv"}],
    "slkd": [
        {"form": "paper", "scale_size": 32},
        {
            "shape_feature": "moment_ratio",
            "kl": "gaussian",
            "pixel_target": "ground_truth",
            "scale_size": 32,
        },
        {
            "teacher_b_input": "degraded",
            "encoder_taps": ("encoder_level2", "middle"),
            "scale_size": 48,
            "nss_window": 16,
        },
        {"natural_color": 0, "edge_texture": 0, "tau": 0.1},
    ],
}

VARIANTS = [
    {"name": name, **options} for name in methods() for options in [{}, *OPTION_SETS.get(name, [])]
]


def label(variant: dict[str, object]) -> str:
    options = [f"{key}={value}" for key, value in variant.items() if key != "name"]
    return "-".join([str(variant["name"]), *options])


def network(family: str, seed: int, value_range: tuple[float, float] = (0.0, 1.0)) -> nn.Module:
    """A tiny network whose every parameter is random, also those that start as 0 or 1."""
    torch.manual_seed(seed)
    built = create_network(family, value_range=value_range, **OPTIONS[family])
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return built


_FOLDER = TemporaryDirectory()


def required(name: str, teacher: nn.Module) -> dict[str, object]:
    """What a method cannot do without, and sizes that suit tiny networks."""
    if name == "data-free":
        return {"size": 32, "width": 8, "latent": 16}
    if name == "dynamic-contrast":
        return {"noised": 1}
    if name != "multi-teacher":
        return {}
    # A second teacher: a copy of the first.
    spec = teacher.spec.model_dump(mode="json")
    if not next(teacher.parameters()).is_meta:
        spec["weights"] = f"{_FOLDER.name}/teacher.safetensors"
        save_network(spec["weights"], teacher, task="denoise", overwrite=True)
    return {"teachers": [spec]}


def build(variant: dict[str, object], student: nn.Module, teacher: nn.Module) -> Method:
    name = str(variant["name"])
    parameters = methods()[name].parameters.model_validate({**required(name, teacher), **variant})
    setting = Setting(
        student.taps(),
        teacher.taps(),
        student.spec.value_range,
        student.spec,
        teacher.spec,
        "denoise",
    )
    torch.manual_seed(3)
    method = build_method(parameters, setting)
    method.prepare(student)
    return method


@cache
def photographs(size: int, count: int) -> Tensor:
    """`count` different crops of a photograph, [0, 1]."""
    from skimage import data

    image = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255
    columns = image.shape[-1] // size
    corners = [divmod(7 * index, columns) for index in range(count)]
    return torch.stack([image[:, r * size :, c * size :][:, :size, :size] for r, c in corners])


def pairs(
    size: int = 16, count: int = 2, value_range: tuple[float, float] = (0.0, 1.0)
) -> tuple[Tensor, Tensor]:
    """Degraded and reference images."""
    reference = photographs(size, count)
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(5))
    return to_range(reference + 0.1 * noise, value_range), to_range(reference, value_range)


@dataclass
class Bench:
    """A method and what its contexts are made of."""

    student: nn.Module
    teacher: nn.Module
    method: Method

    def context(self, size: int = 16, count: int = 2, step: int = 0) -> Context:
        """One step on photographs, connected to the student's parameters."""
        degraded, reference = pairs(size, count, self.student.spec.value_range)
        degraded, reference = self.method.images(degraded, reference, step)
        needs = self.method.needs
        return build_context(self.student, self.teacher, needs, degraded, reference, step=step)

    def leaves(self, size: int = 16, count: int = 2) -> Context:
        """The same, with the student's output and features as independent leaves."""
        return self.transformed(lambda tensor: tensor, size, count)

    def transformed(
        self, function: Callable[[Tensor], Tensor], size: int = 16, count: int = 2
    ) -> Context:
        """`leaves`, with `function` applied to every tensor of the student and the teacher."""
        context = self.context(size, count)

        def leaf(tensor: Tensor) -> Tensor:
            return function(tensor.detach()).clone().requires_grad_()

        context.restored = leaf(context.restored)
        context.student_features = {k: leaf(v) for k, v in context.student_features.items()}
        if context.teacher_restored is not None:
            context.teacher_restored = function(context.teacher_restored)
        if context.clean_restored is not None:
            context.clean_restored = function(context.clean_restored)
        context.teacher_features = {k: function(v) for k, v in context.teacher_features.items()}
        context.clean_features = {k: function(v) for k, v in context.clean_features.items()}
        return context


SMALL_PAIR = ("nafnet", "nafnet", (0.0, 1.0))
FAMILY_PAIRS = [("nafnet", "restormer", (-1.0, 1.0)), ("restormer", "nafnet", (0.0, 1.0))]


def bench(variant: dict[str, object], families: tuple[str, str, tuple[float, float]]) -> Bench:
    student = network(families[0], 1, families[2])
    teacher = network(families[1], 2)
    return Bench(student, teacher, build(variant, student, teacher))


def twins(variant: dict[str, object], family: str) -> Bench:
    """Student and teacher of one blueprint, the projectors passing features through."""
    student, teacher = network(family, 1), network(family, 2)
    method = build(variant, student, teacher)
    for module in method.modules():
        if isinstance(module, Projector):
            nn.init.dirac_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return Bench(student, teacher, method)


def between(start: Context, bench_: Bench, share: float) -> Context:
    """The student `share` of the straight way to the teacher; the reference is the teacher's.

    Where the teacher is seen on reference images, its clean features are what the student nears.
    """
    needs = bench_.method.needs
    target = start.clean_restored if needs.teacher_clean else start.teacher_restored
    if target is None:
        target = bench_.teacher(start.degraded).detach()
    targets = {pair.student: start.teacher_features[pair.teacher] for pair in needs.tap_pairs} | {
        pair.student: start.clean_features[pair.teacher] for pair in needs.clean_tap_pairs
    }
    features = {
        name: (1 - share) * start.student_features[name].detach() + share * feature
        for name, feature in targets.items()
    }
    restored = (1 - share) * start.restored.detach() + share * target
    nearer = copy.deepcopy(bench_.student)
    with torch.no_grad():
        for weight, goal in zip(nearer.parameters(), bench_.teacher.parameters(), strict=True):
            weight.lerp_(goal, share)
    return Context(
        degraded=start.degraded,
        reference=target,
        restored=restored.requires_grad_(),
        teacher_restored=target,
        student_features={name: value.requires_grad_() for name, value in features.items()},
        teacher_features=start.teacher_features,
        clean_restored=None if start.clean_restored is None else target,
        clean_features=start.clean_features,
        encode=start.encode,
        student_tail=start.student_tail and partial(tail, nearer, start.degraded),
        teacher_tail=start.teacher_tail,
        run_student=start.run_student and nearer,
        run_teacher=start.run_teacher,
    )
