"""Where and how cells are trained. None of it changes what a cell's key is, nor its numbers on a CPU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec

from ablations.execution.allocation import Allocation, parse_allocation
from linefit.engines import resolve_device

# Back end -> the module that it needs; the extra that installs it has the back end's name.
NEEDED = {"local": None, "ray": "ray", "slurm": "submitit"}


@dataclass(frozen=True)
class Options:
    """Raises ValueError, with all mistakes, for what cannot be."""

    device: str = "auto"  # or several of this machine, separated by commas
    workers: int | None = None  # cells at once; None: one a core on CPU, one a device on CUDA
    threads: int = 1  # of each worker
    timeout: float | None = None  # seconds a cell
    fail_fast: bool = False
    quiet: bool = False
    pack: int | None = None  # most cells that train together; None: as many as pay on the device
    backend: str = "local"
    ray_address: str | None = None  # of a cluster; None: what Ray finds, else one of this machine
    slurm: tuple[str, ...] = ()  # what a job asks for, `key=value` each, see `allocation`

    def __post_init__(self) -> None:
        problems = [
            f"{name} {value!r} is not a positive number"
            for name in ("workers", "threads", "timeout", "pack")
            if (value := getattr(self, name)) is not None and not value > 0
        ]
        module = NEEDED.get(self.backend)
        if self.backend not in NEEDED:
            problems.append(f"backend {self.backend!r} is not one of {', '.join(NEEDED)}")
        elif module is not None and find_spec(module) is None:
            problems.append(
                f"backend {self.backend!r} needs an extra: pip install 'linefit-ablations[{self.backend}]'"
            )
        if self.backend != "local" and self.workers is None:
            problems.append(f"backend {self.backend!r}: say how many workers (--workers N)")
        if self.backend != "local" and self.device not in ("auto", "cpu", "cuda"):
            problems.append(
                f"device {self.device!r} is not one of auto, cpu, cuda, as the back end chooses the GPU"
            )
        if self.backend != "ray" and self.ray_address is not None:
            problems.append("ray_address is for backend 'ray'")
        if self.backend == "slurm":
            problems += parse_allocation(self.slurm, self.threads, self.device)[1]
        elif self.slurm:
            problems.append("slurm settings are for backend 'slurm'")
        if problems:
            raise ValueError("; ".join(problems))

    def resolved_device(self) -> str:
        """The devices of this machine; elsewhere a worker finds out for itself whether it has a GPU."""
        if self.backend != "local" and self.device == "cuda":
            return self.device
        devices = [str(resolve_device(device)) for device in self.device.split(",")]
        kinds = {device.partition(":")[0] for device in devices}
        if len(set(devices)) < len(devices) or len(kinds) > 1:
            raise ValueError(f"device {self.device!r}: several devices are different GPUs")
        return ",".join(devices)

    def allocation(self) -> Allocation:
        """What a job of Slurm asks for."""
        return parse_allocation(self.slurm, self.threads, self.resolved_device())[0]

    def resolved_workers(self) -> int:
        if self.workers is not None:
            return self.workers
        if self.resolved_device() == "cpu":
            return max(available_cores() // self.threads, 1)
        return len(self.device.split(","))


def available_cores() -> int:
    """Cores that this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
