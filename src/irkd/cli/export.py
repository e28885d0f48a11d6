"""`irkd export`: one file that a device runs, checked against PyTorch before it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irkd.cli.network_options import NetworkSetOption, network_options, print_assumptions
from irkd.cli.run_options import JsonOption
from irkd.errors import IrkdError

if TYPE_CHECKING:
    from irkd.export.export import Exported


def export(
    model: Annotated[
        str,
        typer.Argument(help="A run directory, .safetensors, .pth, or the name of a shipped model."),
    ],
    to: Annotated[str, typer.Option("--to", help="safetensors, onnx, openvino or pt2.")],
    precision: Annotated[
        str,
        typer.Option(
            help="fp32; fp16 (half the size); int8 (onnx only: convolutions in eight bits, needs"
            " --calibrate)."
        ),
    ] = "fp32",
    calibrate: Annotated[
        Path | None,
        typer.Option(help="For int8: a folder of images such as the network will be given."),
    ] = None,
    settings: NetworkSetOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Default: the model's name in the current folder."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    json: JsonOption = None,
) -> None:
    """Write a model to one file for ONNX Runtime, OpenVINO, torch.export, or irkd itself.

    The file takes images of any size whose height and width are multiples of the network's size
    multiple, which stands in its metadata with the value range and the task. Before it is kept it
    is run on three sizes and compared with PyTorch; a file that differs is not kept.
    """
    # The tracer and the runtimes take seconds to load; wrong words are answered before.
    _check_words(to, precision)

    from irkd.cli.common import progress, stderr, stdout, write_json_result
    from irkd.environment import describe_environment
    from irkd.export.export import SUFFIXES, check_request, export_network
    from irkd.files import refuse_existing
    from irkd.models.weights import load_network_file, read_metadata, resolve_model

    resolved = resolve_model(model)
    if resolved.kind not in ("safetensors", "checkpoint"):
        raise IrkdError(
            f"{resolved.path} is an exported file already. Give the .safetensors or checkpoint that"
            " it was made from."
        )
    suffix = SUFFIXES[to]
    ending = "" if precision == "fp32" else f"-{precision}"
    path = output or Path(f"{resolved.name}{ending}{suffix}")
    if output is not None and output.is_dir():
        path = output / f"{resolved.name}{ending}{suffix}"
    check_request(path, to, precision, calibrate)
    if json is not None and str(json) != "-":
        refuse_existing(json, overwrite)

    network = load_network_file(resolved.path, network_options(settings))
    print_assumptions(network, resolved.name)
    console = stderr()
    words = f"writing {path} and comparing it with PyTorch"
    if not console.is_terminal:
        console.print(words, markup=False)
    with progress() as bar:
        bar.add_task(words, total=None)
        exported = export_network(
            network,
            path,
            format=to,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            calibrate=calibrate,
            source=read_metadata(resolved.path),
            overwrite=overwrite,
        )
    output_console = stderr() if str(json) == "-" else stdout()
    for line in _report(exported):
        output_console.print(line, markup=False)
    write_json_result(
        json,
        {
            "model": str(model),
            "files": [str(file) for file in exported.files],
            "format": to,
            "precision": precision,
            "metadata": exported.metadata,
            "verification": exported.verification.as_json(),
            "environment": describe_environment(),
        },
        overwrite=overwrite,
    )


def _check_words(to: str, precision: str) -> None:
    from irkd.registry import suggestion

    for option, word, known in (
        ("--to", to, ("safetensors", "onnx", "openvino", "pt2")),
        ("--precision", precision, ("fp32", "fp16", "int8")),
    ):
        if word not in known:
            raise IrkdError(
                f"{option} {word!r} is unknown.{suggestion(word, known)} Known: {', '.join(known)}."
            )


def _report(exported: Exported) -> list[str]:
    verification, metadata = exported.verification, exported.metadata
    lines = [f"{file}  {file.stat().st_size / 2**20:.2f} MiB" for file in exported.files]
    multiple = metadata["size_multiple"]
    low, high = metadata["spec"]["value_range"]
    lines.append(
        f"input and output: float32, 1 x {metadata['in_channels']} x height x width, values"
        f" {low:g} to {high:g}; height and width multiples of {multiple}"
    )
    for comparison in verification.comparisons:
        *_, height, width = comparison.shape
        lines.append(
            f"compared with PyTorch at {height}x{width}: largest difference"
            f" {comparison.largest:.2g}, root mean square {comparison.rms:.2g}"
            f" (output up to {comparison.scale:.3g})"
        )
    lines.append(f"allowed, as a share of the output: {verification.bound}")
    return lines
