"""What `irkd benchmark` shows: the networks of presets and files, counted and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from irkd.errors import IrkdError
from irkd.export.runtimes import open_onnx, open_openvino
from irkd.models.base import NetworkSpec, family, parameter_count
from irkd.presets.load import load_preset
from irkd.presets.schema import Reported
from irkd.profiling.macs import MacCount, count, on_meta
from irkd.profiling.measure import Backend, Measurement, Request, measure_apart

# The side of the images that the papers state multiply-adds and times for.
REPORTED_SIDE = 512


@dataclass
class Subject:
    """One network to look at, with everything that names it.

    `role`: teacher or student in `presets`, or model for one that the user gave. `spec` is None for
    an exported file, whose `path` is then set. `reported`: the figures the presets quote for it.
    """

    name: str
    role: Literal["teacher", "student", "model"]
    in_channels: int
    size_multiple: int
    spec: NetworkSpec | None = None
    path: Path | None = None
    file_backend: Backend | None = None
    presets: list[str] = field(default_factory=list)
    reported: list[Reported] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One line of the table: a network on a backend."""

    subject: Subject
    backend: Backend
    params: int | None
    macs: MacCount | None
    measurement: Measurement | None

    def agreement(self, entry: Reported, height: int, width: int) -> dict[str, bool]:
        """Whether the counted figures are the reported ones, to the digits that the paper prints.

        Multiply-adds are compared as fvcore counts them, since the papers' figures are fvcore's,
        and only at the papers' size. What is not reported is not in it.
        """
        agreement = {}
        if self.params is not None and entry.params_m is not None:
            agreement["params_m"] = agrees_as_printed(self.params / 1e6, entry.params_m)
        at_their_size = (height, width) == (REPORTED_SIDE, REPORTED_SIDE)
        if self.macs is not None and entry.macs_g is not None and at_their_size:
            agreement["macs_g"] = agrees_as_printed(self.macs.fvcore / 1e9, entry.macs_g)
        return agreement

    def as_json(self, height: int, width: int) -> dict[str, Any]:
        """The row with stable field names; what is unknown is None."""
        subject, measurement = self.subject, self.measurement
        return {
            "network": subject.name,
            "role": subject.role,
            "presets": subject.presets,
            "spec": subject.spec.model_dump(mode="json") if subject.spec else None,
            "backend": self.backend,
            "params": self.params,
            "params_m": None if self.params is None else self.params / 1e6,
            "macs": None if self.macs is None else self.macs.macs,
            "macs_g": None if self.macs is None else self.macs.macs / 1e9,
            "macs_fvcore_g": None if self.macs is None else self.macs.fvcore / 1e9,
            "latency_how": measurement.how if measurement else "not measured",
            "latency_ms": measurement and measurement.latency_ms,
            "latency_first_quartile_ms": measurement and measurement.latency_first_quartile_ms,
            "latency_third_quartile_ms": measurement and measurement.latency_third_quartile_ms,
            "latency_runs": measurement.runs if measurement else 0,
            "peak_memory_mib": measurement and measurement.peak_memory_mib,
            "note": measurement and measurement.note,
            "reported": [
                entry.model_dump(
                    mode="json", include={"source", "params_m", "macs_g", "latency_ms", "note"}
                )
                | {"agrees": self.agreement(entry, height, width)}
                for entry in subject.reported
            ],
        }


def agrees_as_printed(value: float, printed: float) -> bool:
    """Whether `value` rounds to `printed` at the digits that `printed` has: 26 has no decimals."""
    decimals = len(repr(printed).partition(".")[2])
    return abs(value - printed) <= 0.5 * 10**-decimals * (1 + 1e-9)


def subjects_of_presets(names: Iterable[str]) -> list[Subject]:
    """The teachers and students of presets; a network that several name is one subject."""
    subjects: dict[tuple[str, str], Subject] = {}
    for name in names:
        preset = load_preset(name)
        for role in ("teacher", "student"):
            spec: NetworkSpec | None = getattr(preset, role)
            if spec is None:
                continue
            # Weights and value range change neither time nor size.
            identity = spec.model_dump_json(exclude={"weights", "value_range"})
            subject = subjects.get((role, identity))
            if subject is None:
                network = on_meta(spec)
                subject = subjects[role, identity] = Subject(
                    f"{family(spec.arch).title} {role}",
                    role,
                    network.in_channels,  # type: ignore[arg-type]
                    network.size_multiple,  # type: ignore[arg-type]
                    spec,
                )
            subject.presets.append(name)
            for entry in preset.reported:
                has_cost = entry.params_m or entry.macs_g or entry.latency_ms
                if (
                    entry.network == role
                    and has_cost
                    and _figures(entry) not in [_figures(known) for known in subject.reported]
                ):
                    subject.reported.append(entry)
    return sorted(
        subjects.values(),
        key=lambda each: (each.spec.arch if each.spec else "", each.role[0] != "t"),
    )


def subject_of_file(name: str, path: Path, kind: Literal["onnx", "openvino"]) -> Subject:
    """An exported file, which only its own runtime runs. Its metadata must say its sizes."""
    backend: Backend = "onnxruntime" if kind == "onnx" else "openvino"
    metadata = (open_onnx if kind == "onnx" else open_openvino)(path).metadata
    if "size_multiple" not in metadata or "in_channels" not in metadata:
        raise IrkdError(
            f"{path} does not say what images it takes, so it cannot be benchmarked. Files made by"
            " irkd export do."
        )
    return Subject(
        f"{name} ({backend})",
        "model",
        int(metadata["in_channels"]),
        int(metadata["size_multiple"]),
        path=path,
        file_backend=backend,
    )


def profile(
    subject: Subject,
    height: int,
    width: int,
    *,
    backend: Backend = "torch",
    device: str = "cpu",
    threads: int | None = None,
    runs: int = 10,
    budget_s: float = 20.0,
    export: Callable[[NetworkSpec, Backend], Path] | None = None,
    measure: bool = True,
) -> Row:
    """Count and measure one network on one backend.

    `export` writes a network for another backend than torch and returns the file; it is the
    caller's, who knows where files may go.
    """
    params, macs = None, None
    if subject.spec is not None:
        params = parameter_count(on_meta(subject.spec))
        macs = count(subject.spec, height, width)
    if not measure:
        return Row(subject, backend, params, macs, None)
    path = subject.path
    if path is None and backend != "torch":
        assert export is not None
        assert subject.spec is not None
        path = export(subject.spec, backend)
    measurement = measure_apart(
        Request(
            backend,
            height,
            width,
            subject.in_channels,
            subject.size_multiple,
            spec=subject.spec.model_dump(mode="json") if subject.spec else None,
            path=None if path is None else str(path),
            device=device,
            threads=threads,
            runs=runs,
            budget_s=budget_s,
        )
    )
    return Row(subject, backend, params, macs, measurement)


def pairs(rows: Iterable[Row]) -> list[tuple[list[str], Row, Row]]:
    """(presets, teacher, student) of one backend; presets with the same two networks together."""
    rows = list(rows)
    found: dict[tuple[int, int], tuple[list[str], Row, Row]] = {}
    for student in rows:
        for teacher in rows:
            roles = (teacher.subject.role, student.subject.role)
            if roles != ("teacher", "student") or teacher.backend != student.backend:
                continue
            shared = [name for name in student.subject.presets if name in teacher.subject.presets]
            if shared:
                found[id(teacher), id(student)] = (shared, teacher, student)
    return list(found.values())


def _figures(entry: Reported) -> dict[str, object]:
    """What a source prints; presets of one network may quote it with notes of their own."""
    return entry.model_dump(exclude={"note"})
