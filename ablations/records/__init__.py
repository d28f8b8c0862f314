"""What was trained and with what outcome: the database, the arrays that are read from it, tidy exports."""

from pathlib import Path

RESULTS_DIR = Path("results")  # unless the user says otherwise
