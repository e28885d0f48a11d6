"""python -m bench [TOPIC ...] [--seconds N] [--rounds N] [--quick] [--out FILE]"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.cases import TOPICS
from bench.ratios import Effort
from irkd.environment import describe_environment


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("--seconds", type=float, default=10.0, help="for each comparison")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison at least")
    parser.add_argument(
        "--quick", action="store_true", help="a round or two of each, without the largest images"
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    arguments = parser.parse_args()
    unknown = set(arguments.topics) - set(TOPICS)
    if unknown:
        parser.error(f"unknown topic {unknown.pop()}; known: {', '.join(TOPICS)}")

    torch.manual_seed(0)
    torch.set_num_threads(1)
    console = Console()
    table = Table("what", "case", "over", "ratio (middle half)", "measured", "rounds")
    effort = (
        Effort(1.0, 2, quick=True)
        if arguments.quick
        else Effort(arguments.seconds, arguments.rounds)
    )
    results = []
    for topic in arguments.topics or TOPICS:
        console.print(f"{topic} ...", style="dim")
        for ratio in TOPICS[topic](effort):
            results.append(asdict(ratio))
            write(results, arguments.out)
            spread = f"{ratio.first_quartile:.2f} to {ratio.third_quartile:.2f}"
            cells = (ratio.topic, ratio.case, ratio.baseline, f"{ratio.median:.2f} ({spread})")
            measured = f"{ratio.case_median:.3g} / {ratio.baseline_median:.3g} {ratio.unit}"
            table.add_row(*cells, measured, str(ratio.rounds))
            console.print(
                f"{ratio.topic}: {ratio.case} {ratio.median:.2f} ({measured})", style="dim"
            )
    console.print(table)
    console.print(f"written to {arguments.out}")


def write(results: list[dict[str, object]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"ratios": results, "environment": describe_environment("cpu")}
    path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
