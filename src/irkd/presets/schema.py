"""What a preset may say. The network and method unions are built from what is registered."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, Union

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from irkd import registry


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSection(Section):
    """Where pairs come from."""

    train: str = Field(
        "procedural",
        description="a folder, or one of the built-in sets `procedural`, `scenes` (richer, and"
        " slower to make), `surfaces` (with finer texture yet), `streets` (with long straight"
        " things and pale light), `daylight` (with shadows as well), `sunlight` (with shadows,"
        " without pale light), `fabrics` (`surfaces` with fine regular patterns and colours),"
        " `tones` (`sunlight` in the colours and contrasts of photographs) and `varied`"
        " (`sunlight`, `fabrics` and `daylight` in turns)",
    )
    validation: str = Field(
        "auto",
        description="a folder, `photographs` (built in), `none`, or `auto`: the folder's test split"
        " where it has one, else pairs held out of it; `photographs` for a built-in set",
    )
    layout: str = Field(
        "auto", description="how the folder is arranged: auto, or a name of `irkd data layouts`"
    )
    repeat: int = Field(1, ge=1, description="crops taken from each pair in one epoch")
    workers: int = Field(0, ge=0, description="processes that load data; 0 loads in the trainer's")
    count: int = Field(400, ge=1, description="images of the procedural set")
    size: int = Field(256, ge=32, description="height and width of a procedural image")
    validation_limit: int = Field(16, ge=1, description="validation images at most")
    variants: int | None = Field(
        None,
        ge=1,
        description="fixed ways in which each clean image is degraded in turn; null: anew for"
        " every crop",
    )
    undamaged: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of synthetic training crops without the task's damage, half of them"
        " saved as JPEG: a network that saw none does harm to good images",
    )
    saved: float = Field(
        0.0, ge=0, le=1, description="share of damaged synthetic crops saved as JPEG afterwards"
    )
    mixture: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {},
        description="kinds of damage with weights, one of which is drawn for every damaged"
        " synthetic training crop; empty: the task's own",
    )
    teacher_cache: Literal["off", "build", "use"] = Field(
        "off",
        description="the teacher's output images on disk: build makes what is missing before"
        " training, use expects all to be there",
    )
    teacher_context: Literal["crop", "full"] = Field(
        "crop",
        description="what the teacher sees: the crop (run in every step), or the full image (run"
        " once, from the cache); networks with global statistics restore them differently",
    )
    teacher_storage: Literal["float16", "uint8"] = Field(
        "float16",
        description="how outputs are kept: float16 to about 77 dB, uint8 to 58.9 dB in half the"
        " room",
    )
    teacher_cache_folder: str | None = Field(
        None, description="null: teacher_outputs in $IRKD_CACHE or the user's cache folder"
    )

    @field_validator("teacher_cache", mode="before")
    @classmethod
    def _yaml_reads_off_as_false(cls, value: Any) -> Any:
        return "off" if value is False else value

    @model_validator(mode="after")
    def _context_is_declared(self) -> DataSection:
        if self.teacher_cache != "off" and self.teacher_context != "full":
            raise ValueError(
                f"teacher_cache {self.teacher_cache} keeps the teacher's output for full images:"
                " set teacher_context: full beside it (--cache-teacher sets both)"
            )
        if self.teacher_cache == "off" and self.teacher_context == "full":
            raise ValueError(
                "teacher_context full comes from a cache: set teacher_cache: build or use"
                " (--cache-teacher sets both)"
            )
        return self


class TrainingSection(Section):
    """How the student (or, with `irkd train`, one network) is trained."""

    steps: int | None = Field(None, ge=0, description="optimizer steps; wins over epochs")
    epochs: float | None = Field(None, gt=0, description="turned into steps by the data's size")
    batch_size: int = Field(8, ge=1, description="crops an optimizer step sees, per process")
    patch: int = Field(128, ge=8, description="height and width of a training crop")
    optimizer: Literal["adam", "adamw", "muon"] = Field(
        "adam",
        description="muon: momentum made orthogonal for the weights of convolutions and"
        " projections, AdamW for all else",
    )
    lr: float = Field(2e-4, gt=0)
    matrix_lr: float = Field(
        0.02,
        gt=0,
        description="of muon, for what it makes orthogonal; rises and falls as lr does",
    )
    min_lr: float = Field(1e-6, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0, description="coupled (L2) for adam, else decoupled")
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
        default=None, description="a named protocol; null: the data set's, or else the task's"
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


class AblationRow(Section):
    """One row of an ablation: the preset with some keys set otherwise."""

    name: str = Field(min_length=1)
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="a part of a preset, merged over it as `extends` does; lists are replaced",
    )


class AblationSection(Section):
    """What `irkd distill --ablate` runs: every row with every seed, on the same data."""

    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    equal: tuple[Literal["steps", "time"], ...] = Field(
        ("steps",),
        min_length=1,
        description="steps: all rows take training.steps. time: all rows take the time that row"
        " `time_of` needs for training.steps, by the measured cost of a step",
    )
    time_of: str | None = Field(None, description="a row's name; null: the first row")
    rows: tuple[AblationRow, ...] = Field(
        min_length=2, description="the first row is what the others are compared with"
    )

    @model_validator(mode="after")
    def _rows_have_names_of_their_own(self) -> AblationSection:
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError("two rows have the same name")
        if self.time_of is not None and self.time_of not in names:
            raise ValueError(f"time_of {self.time_of!r} is no row; rows: {', '.join(names)}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("a seed stands twice")
        return self


class Release(Section):
    """Weights that a network's authors have released. irkd ships and mirrors none of them.

    Where a program can fetch the file, `url` and `sha256` say from where and what must come; else
    a person downloads it from `page`.
    """

    file: str = Field(
        pattern=r"(?i)^[\w][\w .()+-]*\.(pth|pt|ckpt|safetensors)$",
        description="the file's name, as its authors' programs call it",
    )
    page: str = Field(pattern=r"^https?://\S+$", description="where its authors offer it")
    trained_on: str | None = Field(None, min_length=1, description="the data it was trained on")
    url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="the file itself, for programs"
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-fA-F]{64}$")
    options: dict[str, Any] = Field(
        {}, description="options of the teacher that are others with this file"
    )
    note: str | None = None

    @model_validator(mode="after")
    def _fetchable_with_checksum(self) -> Release:
        if (self.url is None) != (self.sha256 is None):
            raise ValueError("url and sha256 belong together; without them, page alone is shown")
        return self


Task = Literal["derain", "deblur", "dehaze", "denoise", "jpeg", "general"]


class Preset(Section):
    """A resolved preset. `preset_model()` is this class with the registered unions filled in."""

    name: str
    title: str = ""
    task: Task
    teacher: Any = None
    student: Any
    specialists: dict[str, str] = Field(
        {},
        description="models that take the teacher's place on crops of one kind of damage, by kind:"
        " {denoise: MODEL, undamaged: MODEL}; the teacher sees the others. For synthetic data, and"
        " methods that learn from the teacher's output alone",
    )
    methods: tuple[Any, ...]
    data: DataSection = DataSection()
    training: TrainingSection
    evaluation: EvaluationSection = EvaluationSection()
    reported: tuple[Reported, ...] = ()
    releases: tuple[Release, ...] | None = Field(
        None,
        description="the teacher's released weights for this task, the recommended first; an empty"
        " list: there are none",
    )
    ablation: AblationSection | None = None

    @model_validator(mode="after")
    def _patch_fits_networks(self) -> Preset:
        if not self.methods:
            raise ValueError("methods: at least one is needed; 'none' trains the student alone")
        names = [method.name for method in self.methods]
        if len(set(names)) != len(names):
            raise ValueError("methods: each may be named once")
        return self

    @model_validator(mode="after")
    def _specialists_stand_beside_a_teacher(self) -> Preset:
        if self.specialists and self.teacher is None:
            raise ValueError(
                "specialists: crops of other kinds need a teacher; name one under `teacher`"
            )
        return self

    @model_validator(mode="after")
    def _outputs_are_held_to_something(self) -> Preset:
        for method in self.methods:
            if method.needs_reconstruction is None:
                continue
            # The steps at which something may cease to count: its first, and the others' last.
            steps = {method.start, *(other.stop for other in self.methods if other.stop)}
            for step in sorted(step for step in steps if method.weight_at(step) > 0):
                if not any(m.reconstructs and m.weight_at(step) > 0 for m in self.methods):
                    raise ValueError(
                        f"methods: {method.name} needs a reconstruction term beside it (from step"
                        f" {step} on there is none), since {method.needs_reconstruction}. Give it"
                        " `reconstruction: 1`, or add the method response"
                    )
        return self

    @model_validator(mode="after")
    def _releases_fit_the_teacher(self) -> Preset:
        for position, release in enumerate(self.releases or ()):
            if self.teacher is None or not release.options:
                continue
            try:
                teacher_with(self.teacher, release.options)
            except ValidationError as error:
                wrong = "; ".join(f"{entry['loc'][-1]}: {entry['msg']}" for entry in error.errors())
                raise ValueError(f"releases.{position}.options: {wrong}") from error
        return self


def teacher_with(teacher: Any, options: dict[str, Any]) -> Any:
    """The network spec `teacher` with some options changed, validated."""
    return type(teacher).model_validate({**teacher.model_dump(), **options})


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
