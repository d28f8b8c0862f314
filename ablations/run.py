"""`python -m ablations.run [STUDY|FILE.toml]`: the door of the house. What happens behind it, in order: `cli` reads
options, `study_file` the study, `driver` runs: `plan`, `runner` with `cells`, `store`, `loading`, `compare`, `outputs`.
"""

if __name__ == "__main__":
    from ablations.cli import run_main

    run_main()
