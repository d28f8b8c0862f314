"""`python -m ablations.run [STUDY|FILE.toml]`: the door of the house. What happens behind it, in order: `cli` reads
options, `study` the study, `driver` runs: `execution` trains, `records` keeps, `comparison` compares, `report` draws.
"""

import sys
from typing import Any

if __name__ == "__main__":
    from ablations.cli.main import run_main

    run_main()
else:
    from ablations.notebook import run

    # Importing a submodule binds it in its package: `ablations.run` has to stay the function that it is without.
    modules: dict[str, Any] = sys.modules
    modules[__name__] = run
