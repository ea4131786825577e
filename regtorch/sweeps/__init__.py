"""Several runs: grids, successive halving, Optuna search, launchers, and their progress."""

__all__: list[str] = []  # for the other packages only
