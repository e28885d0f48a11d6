"""What a training step by every method costs: time and memory, each in a process of its own.

`python -m bench.method_steps [--pair demo|restormer ...] [--methods NAME ...] [--times N]`

The least any method with a teacher can cost is a forward pass of the teacher, and forward and
backward of the student; ratios are over that, taken in turns with the method's own steps, and over
the student alone. Time is CPU time on one thread; memory is what the resident set grows by in the
steps, over networks and optimizer state.
What a method does between steps only now and then (the generator of `data-free`, one step in ten)
is in neither.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAIRS = {"demo": ("demo", 8, 64), "restormer": ("res-skd", 8, 128)}
LEAST = "teacher forward + student"
ALONE = "student alone"


def step(pair: str, method: str, batch: int, times: int) -> dict[str, float]:
    """Measured in this process: seconds of a step (median), MiB that steps take, and `over_least`,
    the median ratio to a step of `LEAST` taken in turns."""
    import torch

    from irkd.models.base import build_network
    from irkd.presets.load import load_preset

    torch.set_num_threads(1)
    torch.manual_seed(0)
    preset = load_preset(PAIRS[pair][0])
    patch = PAIRS[pair][2]
    teacher = None if method == ALONE else build_network(preset.teacher)
    images = torch.rand(2, batch, 3, patch, patch)
    run = _stepper(preset, method, teacher, images)
    # Optimizer state is there from the first step on, for all methods alike.
    before = _resident_mib()
    run()
    run()
    mib = _peak_mib() - before
    teacher = teacher or build_network(preset.teacher)
    least = _stepper(preset, LEAST, teacher.requires_grad_(False), images)
    least()
    pairs = [(_cpu_seconds(least), _cpu_seconds(run)) for _ in range(times)]
    return {
        "seconds": statistics.median(taken for _, taken in pairs),
        "mib": mib,
        "over_least": statistics.median(taken / bare for bare, taken in pairs),
    }


def _stepper(preset: Any, method: str, teacher: Any, images: Any) -> Callable[[], None]:
    """An optimizer step by `method`, with networks of its own but the teacher."""
    import torch

    from irkd.methods.base import methods
    from irkd.models.base import build_network
    from irkd.training.optimization import build_optimizer
    from irkd.training.task import build_task

    name = "none" if method in (ALONE, LEAST) else method
    options: dict[str, Any] = {"name": name}
    if name == "multi-teacher":
        options["teachers"] = [_second_teacher(teacher, preset.task)]
    parameters = methods()[name].parameters.model_validate(options)
    student = build_network(preset.student)
    task = build_task(student, [parameters], teacher, preset.task).train()
    optimizer = build_optimizer(task.trained_parameters(), preset.training)
    degraded, reference = images

    def run() -> None:
        optimizer.zero_grad()
        if method == LEAST:
            with torch.no_grad():
                teacher(degraded)
        task(degraded, reference).loss.backward()
        optimizer.step()
        task.after_step(degraded, reference, 1)

    return run


def _second_teacher(teacher: Any, task: str) -> dict[str, Any]:
    """The first teacher's twin, with weights in a file as the method wants them."""
    from irkd.models.weights import save_network

    path = Path(tempfile.mkdtemp()) / "teacher.safetensors"
    save_network(path, teacher, task=task)
    return {**teacher.spec.model_dump(mode="json"), "weights": str(path)}


def measure(pair: str, method: str, batch: int, times: int) -> dict[str, Any]:
    """`step` in a new process; its error where the method cannot be run."""
    arguments = [pair, method, str(batch), str(times)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.method_steps", "--one", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        pair, method, batch, times = sys.argv[2:]
        print(json.dumps(step(pair, method, int(batch), int(times))))
        return
    from rich.console import Console
    from rich.table import Table

    from irkd.environment import describe_environment
    from irkd.methods.base import methods

    parser = argparse.ArgumentParser(prog="bench.method_steps", description=__doc__)
    parser.add_argument("--pair", action="append", choices=sorted(PAIRS))
    parser.add_argument("--methods", nargs="*", help="all when not given")
    parser.add_argument("--batch", type=int, help="the preset's own (8) when not given")
    parser.add_argument("--times", type=int, default=3, help="rounds of which the median is taken")
    parser.add_argument("--out", type=Path, default=Path("build/method-steps.json"))
    arguments = parser.parse_args()
    console = Console()
    names = arguments.methods or [name for name in sorted(methods()) if name != "none"]
    results: dict[str, Any] = {}
    for pair in arguments.pair or sorted(PAIRS):
        batch = arguments.batch or PAIRS[pair][1]
        found: dict[str, Any] = {}
        for method in (ALONE, *names):
            console.print(f"{pair}: {method} ...", style="dim")
            found[method] = measure(pair, method, batch, arguments.times)
        results[pair] = found
        title = f"{pair} pair, {batch} crops of {PAIRS[pair][2]}x{PAIRS[pair][2]}"
        table = Table("method", "time (s)", "over alone", "over least", "memory (MiB)", title=title)
        table.add_column("over response")
        for method, cost in found.items():
            if "error" in cost:
                table.add_row(method, cost["error"])
                continue
            response = found.get("response", {}).get("mib")
            table.add_row(
                method,
                f"{cost['seconds']:.3f}",
                f"{cost['over_least'] / found[ALONE]['over_least']:.2f}",
                f"{cost['over_least']:.2f}",
                f"{cost['mib']:.0f}",
                "-" if not response else f"{cost['mib'] / response:.2f}",
            )
        console.print(table)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"steps": results, "environment": describe_environment("cpu")}
    arguments.out.write_text(json.dumps(content, indent=2) + "\n")
    console.print(f"written to {arguments.out}")


def _cpu_seconds(run: Callable[[], None]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
