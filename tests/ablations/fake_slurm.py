"""Slurm's commands on one machine, as far as they are used: run as `fake_slurm.py sbatch|srun|squeue|scancel ...`."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

STATE = Path(__file__).resolve().parent / "fake_slurm.state"  # of the copy in a test's own folder
ARRAY = 4711


def sbatch(file):
    """Start every job of an array at once."""
    text = Path(file).read_text()
    found = re.search(r"#SBATCH --array=0-(\d+)%", text)
    if "--partition=closed" in text:
        sys.exit("sbatch: error: invalid partition specified: closed")
    for task in range(int(found[1]) + 1 if found else 1):
        ids = {"SLURM_JOB_ID": str(ARRAY + task), "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
        if found:
            ids |= {"SLURM_ARRAY_JOB_ID": str(ARRAY), "SLURM_ARRAY_TASK_ID": str(task)}
        name = f"{ARRAY}_{task}" if found else str(ARRAY)
        process = subprocess.Popen(
            ["bash", file],
            env={**os.environ, **ids},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with STATE.open("a") as state:
            state.write(f"{name} {process.pid}\n")
    print(f"Submitted batch job {ARRAY}")


def srun(*arguments):
    """Run a command with its output in the file that is asked for."""
    start = arguments.index("--output")
    job, task = os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_ARRAY_TASK_ID", "")
    path = arguments[start + 1].replace("%A", str(ARRAY)).replace("%a", task)
    with Path(path.replace("%j", job).replace("%t", "0")).open("a") as log:
        command = arguments[start + 2 :]
        sys.exit(subprocess.run(command, stdout=log, stderr=log, check=False).returncode)


def jobs():
    return [line.split() for line in STATE.read_text().splitlines()] if STATE.exists() else []


def squeue(*arguments):
    for name, pid in jobs():
        status = Path(f"/proc/{pid}/status")
        if status.exists() and "State:\tZ" not in status.read_text():
            print(name)


def scancel(*cancelled):
    for name, pid in jobs():
        if name in cancelled:
            os.killpg(int(pid), signal.SIGKILL)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
