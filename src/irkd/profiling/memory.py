"""Peak memory of a forward pass.

On a GPU torch's allocator knows it. On a CPU no allocator does (oneDNN and the runtimes allocate on
their own), so it is the growth of the process's peak resident memory, the operating system's own
figure; it means something only in a process that has done nothing else before, which is why
`irkd.profiling.measure` starts one for every network. Either way weights and input, which are there
before the pass, are not in it.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that one call of `run` takes at its peak, beyond what was there before.

    None where nothing tells (MPS has no peak counter).
    """
    with torch.inference_mode():
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            run()
            torch.cuda.synchronize(device)
            return torch.cuda.max_memory_allocated(device) - before
        if device.type != "cpu":
            run()
            return None
        before = _forget_peak()
        run()
        return max(0, _peak_resident() - before)


def available_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on `device` without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return int(psutil.virtual_memory().available)


def _forget_peak() -> int:
    """Let the peak start anew where the system can, and return where it stands now."""
    if sys.platform == "linux":
        # Freed memory that the C library keeps would hide part of the growth.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            # Some containers forbid it; the old peak then stands, as on other systems.
            return _peak_resident()
    return _peak_resident()


def _peak_resident() -> int:
    if sys.platform == "linux":
        # Not getrusage: its peak starts at that of the process which started this one.
        status = Path("/proc/self/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None, "the Linux kernel always states VmHWM"
        return int(found[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    # Bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
