"""Speed, side by side: each module is a command, `python -m benchmarks.NAME`."""
