"""python -m bench.gentler FROM SHARE OUT

The network that changes images by SHARE of what FROM changes. Where how much damage there is can
only be guessed, on photographs otherwise than on what was trained on, a mean over images gains by
less. Its last layer must be `tail`, whose result is added.
"""

from __future__ import annotations

import argparse

from bench.between import save_as
from irkd.inference.backends import load_network
from irkd.models.weights import resolve_model


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.gentler", description=__doc__)
    parser.add_argument("start", metavar="FROM")
    parser.add_argument("share", metavar="SHARE", type=float)
    parser.add_argument("out", metavar="OUT")
    arguments = parser.parse_args()
    network = load_network(arguments.start)
    for parameter in network.get_submodule("tail").parameters():
        parameter.data.mul_(arguments.share)
    start = resolve_model(arguments.start)
    save_as(start.path, network, arguments.out, {"gentler": start.name, "share": arguments.share})


if __name__ == "__main__":
    main()
