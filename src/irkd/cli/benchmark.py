"""`irkd benchmark`: what networks cost, counted, measured, and as the papers report it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irkd.cli.run_options import JsonOption
from irkd.errors import IrkdError

if TYPE_CHECKING:
    from rich.table import Table

    from irkd.models.base import NetworkSpec
    from irkd.profiling.benchmark import Row, Subject
    from irkd.profiling.measure import Backend


def benchmark(
    preset: Annotated[
        list[str] | None,
        typer.Option("--preset", help="A preset's teacher and student; may be given repeatedly."),
    ] = None,
    every_preset: Annotated[
        bool, typer.Option("--all", help="Every preset (the default when none is named).")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A trained or exported model; may be given repeatedly."),
    ] = None,
    size: Annotated[
        str, typer.Option(help="Side of the square image in pixels, or HEIGHTxWIDTH.")
    ] = "512",
    backend: Annotated[
        str, typer.Option(help="Comma-separated: torch, onnxruntime, openvino.")
    ] = "torch",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each network at most.")] = 10,
    budget: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds for timing one network. A network that needs more for one run is only"
            " estimated, from a small image; 0 counts only.",
        ),
    ] = 20.0,
    json: JsonOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the JSON file.")] = False,
) -> None:
    """Compare parameters, multiply-adds, latency and memory of teachers and students.

    Without --preset and --model, all presets are compared; a network that several presets share
    is measured once. Figures that papers report stand beside what is counted here.
    """
    height, width = _parse_size(size)
    if json is not None and str(json) != "-":
        from irkd.files import refuse_existing

        refuse_existing(json, overwrite)

    import torch

    from irkd.cli.common import stderr, stdout, write_json_result
    from irkd.environment import choose_device, describe_environment
    from irkd.presets.load import list_presets
    from irkd.profiling.benchmark import profile, subjects_of_presets

    backends = _parse_backends(backend)
    where = str(choose_device(device))
    names = list(dict.fromkeys(preset or []))
    if every_preset or not (preset or model):
        names = list_presets()
    subjects = subjects_of_presets(names) + [_subject_of_model(name) for name in model or []]

    threads = torch.get_num_threads()
    rows: list[Row] = []
    with _exporter() as export:
        for subject, runtime in _announced(_work(subjects, backends)):
            row = profile(
                subject,
                height,
                width,
                backend=runtime,
                device=where,
                threads=threads,
                runs=runs,
                budget_s=budget,
                export=export,
                measure=budget > 0,
            )
            rows.append(row)
    result = {
        "height": height,
        "width": width,
        "device": where,
        "threads": threads,
        "runs": runs,
        "budget_s": budget,
        "rows": [row.as_json(height, width) for row in rows],
        "environment": describe_environment(where),
    }
    # JSON on standard output must not be mixed with the table.
    console = stderr() if str(json) == "-" else stdout()
    if not console.is_terminal:
        console.width = 200
    for renderable in _report(rows, height, width, where, threads):
        console.print(renderable, markup=not isinstance(renderable, str))
    write_json_result(json, result, overwrite=overwrite)


def _parse_size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) == 1:
        parts *= 2
    if len(parts) != 2 or not all(part.isdecimal() and 1 <= int(part) <= 16384 for part in parts):
        raise IrkdError(
            f"--size {text!r}: expected a side in pixels such as 512, or HEIGHTxWIDTH such as"
            " 720x1280, up to 16384."
        )
    return int(parts[0]), int(parts[1])


def _parse_backends(text: str) -> list[Backend]:
    from irkd.profiling.measure import BACKENDS
    from irkd.registry import suggestion

    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in BACKENDS:
            raise IrkdError(
                f"unknown backend {name!r}.{suggestion(name, BACKENDS)}"
                f" Known: {', '.join(BACKENDS)}."
            )
    if not names:
        raise IrkdError(f"--backend names none of: {', '.join(BACKENDS)}.")
    return list(dict.fromkeys(names))  # type: ignore[arg-type]


def _subject_of_model(name: str) -> Subject:
    from irkd.models.base import family
    from irkd.models.weights import load_network_file, resolve_model
    from irkd.profiling.benchmark import Subject, subject_of_file

    resolved = resolve_model(name)
    if resolved.kind in ("onnx", "openvino"):
        return subject_of_file(resolved.name, resolved.path, resolved.kind)
    network: Any = load_network_file(resolved.path)
    title = family(network.spec.arch).title
    return Subject(
        f"{resolved.name} ({title})",
        "model",
        network.in_channels,
        network.size_multiple,
        network.spec,
    )


def _work(subjects: list[Subject], backends: list[Backend]) -> list[tuple[Subject, Backend]]:
    """Every network on every backend that can run it; an exported file only on its own."""
    return [
        (subject, backend)
        for subject in subjects
        for backend in ([subject.file_backend] if subject.file_backend else backends)
    ]


def _announced(work: list[tuple[Subject, Backend]]) -> Iterator[tuple[Subject, Backend]]:
    """Go through the work with a progress bar on a terminal, with plain lines elsewhere."""
    from irkd.cli.common import progress, stderr

    console = stderr()
    with progress() as bar:
        task = bar.add_task("benchmark", total=len(work))
        for number, (subject, backend) in enumerate(work, 1):
            words = f"{subject.name} on {backend}"
            bar.update(task, description=words)
            if not console.is_terminal:
                console.print(f"{number} of {len(work)}: {words}", markup=False)
            yield subject, backend
            bar.advance(task)


@contextmanager
def _exporter() -> Iterator[Any]:
    """A function that writes a network with fresh weights for a backend, until the block ends."""
    import tempfile

    from irkd.models.base import build_network

    with tempfile.TemporaryDirectory(prefix="irkd-benchmark-") as directory:

        def export(spec: NetworkSpec, backend: Backend) -> Path:
            from irkd.export.metadata import describe_network
            from irkd.export.writers import write_onnx

            # Both runtimes read ONNX; weights change nothing about time, so they are not checked.
            path = Path(directory) / f"{abs(hash(spec))}.onnx"
            if not path.exists():
                network = build_network(spec).eval()
                metadata = describe_network(network, precision="fp32")
                write_onnx(network, path, half=False, metadata=metadata)
            return path

        yield export


def _report(
    rows: list[Row], height: int, width: int, device: str, threads: int
) -> Iterator[Table | str]:
    where = f"{device}, {threads} thread{'s' * (threads != 1)}" if device == "cpu" else device
    yield _table(rows, f"one image of {height}x{width} on {where}")
    if any(row.measurement and row.measurement.how == "measured" for row in rows):
        yield "latency: median of several runs (middle half of them); memory: beyond the weights"
    for row in rows:
        if row.measurement and row.measurement.note:
            how, note = row.measurement.how, row.measurement.note
            yield f"{row.subject.name} on {row.backend}: {how}; {note}"
    yield from _ratios(rows)
    reported = [row for row in rows if row.subject.reported]
    if reported:
        yield _reported_table(reported, height, width)
        yield (
            "agrees: what is counted here rounds to what is printed. The papers count MACs with"
            " fvcore, which adds layer norms and pooling; so does the comparison"
            + ("." if (height, width) == (512, 512) else ", which needs --size 512.")
        )


def _table(rows: list[Row], title: str) -> Table:
    from rich.table import Table

    several = len({row.backend for row in rows}) > 1
    table = Table(title=title, title_justify="left")
    table.add_column("network", overflow="fold", min_width=20)
    if several:
        table.add_column("backend", no_wrap=True)
    for name in ("parameters", "MACs", "latency", "peak memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        presets = ", ".join(row.subject.presets)
        cells = [row.subject.name + (f"\n[dim]{presets}[/]" if presets else "")]
        if several:
            cells.append(row.backend)
        table.add_row(*cells, _params(row), _macs(row), _latency(row), _memory(row))
    return table


def _reported_table(rows: list[Row], height: int, width: int) -> Table:
    """The papers' figures, each with a mark where it can be compared with what was counted."""
    from rich.table import Table

    table = Table(
        title="what papers report, at 512x512 on their own hardware", title_justify="left"
    )
    table.add_column("network", overflow="fold", min_width=20)
    for name in ("parameters", "MACs", "latency"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("source", overflow="fold")
    marks = {True: " [green]agrees[/]", False: " [red]differs[/]", None: ""}
    seen = set()
    for row in rows:
        for entry in row.subject.reported:
            if (row.subject.name, entry) in seen:
                continue
            seen.add((row.subject.name, entry))
            agreement = row.agreement(entry, height, width)
            cells = [
                "-"
                if value is None
                else f"{_as_printed(key, value)} {unit}{marks[agreement.get(key)]}"
                for key, unit in (("params_m", "M"), ("macs_g", "G"), ("latency_ms", "ms"))
                for value in (getattr(entry, key),)
            ]
            table.add_row(row.subject.name, *cells, entry.source)
    return table


def _as_printed(key: str, value: float) -> str:
    # Papers print seconds, so that a latency's decimals in milliseconds mean nothing.
    return f"{value:g}" if key == "latency_ms" else str(value)


def _params(row: Row) -> str:
    return "-" if row.params is None else f"{row.params / 1e6:.2f} M"


def _macs(row: Row) -> str:
    return "-" if row.macs is None else f"{row.macs.macs / 1e9:.1f} G"


def _latency(row: Row) -> str:
    measurement = row.measurement
    if measurement is None or measurement.latency_ms is None:
        return "failed" if measurement else "-"
    median = _milliseconds(measurement.latency_ms)
    if measurement.how == "estimated":
        return f"~{median} (estimated)"
    if measurement.how == "once":
        return f"{median} (one run)"
    low, high = measurement.latency_first_quartile_ms, measurement.latency_third_quartile_ms
    assert low is not None
    assert high is not None
    return f"{median} ({_milliseconds(low)[:-3]} to {_milliseconds(high)[:-3]})"


def _milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _memory(row: Row) -> str:
    measurement = row.measurement
    if measurement is None or measurement.peak_memory_mib is None:
        return "-"
    approximate = "~" if measurement.how == "estimated" else ""
    return f"{approximate}{measurement.peak_memory_mib:.0f} MiB"


def _ratios(rows: list[Row]) -> Iterator[str]:
    """What a student costs of its teacher, for every pair."""
    from irkd.profiling.benchmark import pairs

    for presets, teacher, student in pairs(rows):
        assert teacher.params is not None
        assert student.params is not None
        assert teacher.macs is not None
        assert student.macs is not None
        parts = [
            f"{student.params / teacher.params:.1%} of the parameters",
            f"{student.macs.macs / teacher.macs.macs:.1%} of the MACs",
        ]
        for key, word in (("latency_ms", "time"), ("peak_memory_mib", "memory")):
            one = student.measurement and getattr(student.measurement, key)
            all_ = teacher.measurement and getattr(teacher.measurement, key)
            if one is not None and all_:
                guessed = "estimated" in (student.measurement.how, teacher.measurement.how)  # type: ignore[union-attr]
                parts.append(f"{'about ' * guessed}{one / all_:.0%} of the {word}")
        backend = "" if student.backend == "torch" else f" on {student.backend}"
        yield f"{', '.join(presets)}{backend}: the student takes {', '.join(parts)} of its teacher"
