"""python -m bench.between FROM TO SHARE OUT

The network whose weights lie on the line between those of two, SHARE of the way from FROM to TO.
Where TO began as FROM, it keeps most of what either does better (Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from torch import nn

from irkd.inference.backends import load_network
from irkd.models.weights import read_metadata, resolve_model, save_network


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.between", description=__doc__)
    parser.add_argument("start", metavar="FROM")
    parser.add_argument("end", metavar="TO")
    parser.add_argument("share", metavar="SHARE", type=float)
    parser.add_argument("out", metavar="OUT")
    arguments = parser.parse_args()
    start, network = load_network(arguments.start), load_network(arguments.end)
    weights = network.state_dict()
    between = {
        name: tensor.lerp(weights[name], arguments.share)
        for name, tensor in start.state_dict().items()
    }
    network.load_state_dict(between)
    ends = [resolve_model(arguments.start), resolve_model(arguments.end)]
    how = {"between": [end.name for end in ends], "share": arguments.share}
    save_as(ends[1].path, network, arguments.out, how)


def save_as(made: Path, network: nn.Module, out: str, how: dict[str, Any]) -> None:
    """Save a network that was made as the file `made`, and then `how`: without its scores."""
    metadata = read_metadata(made)
    training = metadata["training"]
    kept = {key: training[key] for key in ("data", "methods", "seed", "steps") if key in training}
    save_network(
        out, network, task=metadata["task"], preset=metadata["preset"], training=how | kept
    )


if __name__ == "__main__":
    main()
