"""python -m bench [TOPIC ...] [--seconds N] [--out FILE]"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.cases import TOPICS
from irkd.environment import describe_environment


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("--seconds", type=float, default=10.0, help="for each comparison")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    arguments = parser.parse_args()
    unknown = set(arguments.topics) - set(TOPICS)
    if unknown:
        parser.error(f"unknown topic {unknown.pop()}; known: {', '.join(TOPICS)}")

    torch.manual_seed(0)
    torch.set_num_threads(1)
    console = Console()
    table = Table("what", "case", "over", "ratio of CPU times (middle half)", "rounds")
    results = []
    for topic in arguments.topics or TOPICS:
        console.print(f"{topic} ...", style="dim")
        for ratio in TOPICS[topic](arguments.seconds):
            results.append(asdict(ratio))
            spread = f"{ratio.first_quartile:.2f} to {ratio.third_quartile:.2f}"
            cells = (ratio.topic, ratio.case, ratio.baseline, f"{ratio.median:.2f} ({spread})")
            table.add_row(*cells, str(ratio.rounds))
    console.print(table)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"ratios": results, "environment": describe_environment("cpu")}
    arguments.out.write_text(json.dumps(content, indent=2) + "\n")
    console.print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
