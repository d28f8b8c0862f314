"""`python -m ablations VERB`."""

from ablations.cli import main

if __name__ == "__main__":
    main()
