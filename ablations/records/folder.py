"""Where results lie: `results/<study>/` holds the database, the exports and what is drawn from them."""

from pathlib import Path

RESULTS_DIR = Path("results")  # unless the user says otherwise
