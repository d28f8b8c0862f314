"""`python -m ablations.run [STUDY|FILE.toml]`: the door of the house. What happens behind it, in order: `cli` reads
options, `study` the study, `driver` runs: `execution` trains, `records` keeps, `comparison` compares, `report` draws.
"""

if __name__ == "__main__":
    from ablations.cli.main import run_main

    run_main()
