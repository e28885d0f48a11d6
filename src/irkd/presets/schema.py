"""What a preset may say. The network and method unions are built from what is registered."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from irkd import registry


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSection(Section):
    """Where pairs come from."""

    train: str = Field("procedural", description="a folder, or the built-in `procedural`")
    validation: str = Field(
        "auto",
        description="a folder, `photographs` (built in), `none`, or `auto`: the folder's test split"
        " where it has one, else pairs held out of it; `photographs` for procedural training",
    )
    layout: str = Field("auto", description="how the folder is laid out")
    repeat: int = Field(1, ge=1, description="crops taken from each pair in one epoch")
    workers: int = Field(0, ge=0, description="processes that load data; 0 loads in the trainer's")
    count: int = Field(400, ge=1, description="images of the procedural set")
    size: int = Field(256, ge=32, description="height and width of a procedural image")
    validation_limit: int = Field(16, ge=1, description="validation images at most")


class TrainingSection(Section):
    """How the student (or, with `irkd train`, one network) is trained."""

    steps: int | None = Field(None, ge=0, description="optimizer steps; wins over epochs")
    epochs: float | None = Field(None, gt=0, description="turned into steps by the data's size")
    batch_size: int = Field(8, ge=1, description="crops an optimizer step sees, per process")
    patch: int = Field(128, ge=8, description="height and width of a training crop")
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: float = Field(2e-4, gt=0)
    min_lr: float = Field(1e-6, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0, description="coupled (L2) for adam, decoupled for adamw")
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = Field(0, ge=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on a GPU that has it, else fp32"
    )
    accumulate: int = Field(1, ge=1, description="parts that a batch is split into")
    clip_norm: float | None = Field(None, gt=0, description="global norm of student and projectors")
    average: float | None = Field(
        0.999, gt=0, lt=1, description="decay of the weight average; null switches it off"
    )
    balance: Literal["none", "grad_norm_at_init"] = Field(
        "none",
        description="grad_norm_at_init: a term of weight w gets w times the gradient norm of the"
        " reconstruction term, measured on the first batch",
    )
    select: Literal["last", "psnr", "ssim"] = Field(
        "last", description="the weights kept: the last, or the best of validation by this metric"
    )
    seed: int = Field(0, ge=0)
    log_every: int = Field(50, ge=1)
    checkpoint_every: int = Field(1000, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    validate_every: int = Field(1000, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> TrainingSection:
        if self.steps is None and self.epochs is None:
            raise ValueError("either steps or epochs must be given")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be split into {self.accumulate} equal parts"
            )
        return self


class EvaluationSection(Section):
    """How validation and `irkd evaluate` score by default."""

    protocol: str | None = Field(
        default=None, description="a named protocol; null: the task's default"
    )
    metrics: tuple[str, ...] = ("psnr", "ssim")


class Reported(Section):
    """A figure that a paper prints. Never measured by irkd, always shown with its source."""

    source: str
    network: Literal["teacher", "student"] | None = None
    dataset: str | None = None
    psnr_db: float | None = None
    ssim: float | None = None
    # 26 and 26.0 are kept apart: what is counted is compared to the printed digits.
    params_m: int | float | None = None
    macs_g: int | float | None = Field(None, description="at 512x512; the papers call it FLOPs")
    latency_ms: float | None = None
    note: str | None = None


Task = Literal["derain", "deblur", "dehaze", "denoise", "jpeg", "general"]


class Preset(Section):
    """A resolved preset. `preset_model()` is this class with the registered unions filled in."""

    name: str
    title: str = ""
    task: Task
    teacher: Any = None
    student: Any
    methods: tuple[Any, ...]
    data: DataSection = DataSection()
    training: TrainingSection
    evaluation: EvaluationSection = EvaluationSection()
    reported: tuple[Reported, ...] = ()
    extends: str | None = Field(None, description="the preset this one was made from")

    @model_validator(mode="after")
    def _patch_fits_networks(self) -> Preset:
        if not self.methods:
            raise ValueError("methods: at least one is needed; 'none' trains the student alone")
        names = [method.name for method in self.methods]
        if len(set(names)) != len(names):
            raise ValueError("methods: each may be named once")
        return self


@cache
def preset_model() -> type[Preset]:
    """`Preset` over every registered network family and method."""
    networks = tuple(entry.spec for entry in registry.collect("irkd.models", "FAMILIES").values())
    methods = tuple(
        entry.parameters for entry in registry.collect("irkd.methods", "METHODS").values()
    )
    network: Any = Annotated[Union[networks], Field(discriminator="arch")]  # noqa: UP007
    method: Any = Annotated[Union[methods], Field(discriminator="name")]  # noqa: UP007
    return create_model(
        "Preset",
        __base__=Preset,
        __doc__=Preset.__doc__,
        teacher=(network | None, None),
        student=(network, ...),
        methods=(tuple[method, ...], ...),
    )
