"""What was trained and with what outcome: the database, the arrays that are read from it, tidy exports."""

from pathlib import Path

RESULTS_DIR = Path("results")  # unless the user says otherwise
# MB that predictions of all nets may take in a study's exports: what a repository can hold of several studies.
MAX_PREDICTIONS = 20.0
