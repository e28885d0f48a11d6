"""`--set` of the commands that take a MODEL: what released weights do not tell of their network."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from irkd.errors import IrkdError

NetworkSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="What released weights do not tell of their network: img_size=256 (Uformer),"
        " arch=nafnet_local, value_range=[-1,1].",
    ),
]


def network_options(settings: list[str] | None) -> dict[str, Any]:
    """The options named by --set; values are YAML."""
    from irkd.presets.load import parse_overrides

    options = dict(parse_overrides(settings or []))
    for key in options:
        if "." in key:
            raise IrkdError(
                f"--set {key}: expected an option of the network, such as img_size=256."
            )
    return options


def print_assumptions(network: Any, name: str) -> None:
    """Say on standard error what was taken for what the weights do not tell."""
    from irkd.cli.common import stderr

    for why in network.assumptions:
        stderr().print(f"{name}: {why}", markup=False)
