"""`python -m ablations VERB`."""

from ablations.cli.main import main

if __name__ == "__main__":
    main()
