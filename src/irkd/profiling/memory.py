"""Memory: what a forward pass takes at its peak, and what there is.

On a GPU torch's allocator knows it. On a CPU no allocator does (oneDNN and the runtimes allocate on
their own), so it is the growth of the process's peak resident memory, the operating system's own
figure; it means something only in a process that has done nothing else before, which is why
`irkd.profiling.measure` starts one for every network. Either way weights and input, which are there
before the pass, are not in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that one call of `run` takes at its peak, beyond what was there before.

    None where nothing tells (MPS, Windows).
    """
    with torch.inference_mode():
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            run()
            torch.cuda.synchronize(device)
            return torch.cuda.max_memory_allocated(device) - before
        if device.type != "cpu" or sys.platform == "win32":
            run()
            return None
        before = _forget_peak()
        run()
        return max(0, _peak_resident() - before)


def available_bytes(device: torch.device) -> int:
    """Memory that a computation on `device` may still take, in bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds but does not use is free to it.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return min(_system_bytes(), _control_group_bytes())


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
    import resource

    # Bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _system_bytes() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(AttributeError, OSError, ValueError):
        # No system call tells what is available on macOS: half of what there is.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 2 << 30


def _control_group_bytes() -> int:
    """What a container's limit leaves; its file cache is given up on demand."""
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text())  # "max" where there is no limit
        used = int((group / "memory.current").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        cache = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        return max(limit - used + cache, 0)
    return 1 << 62
