"""One run as a job: its folder, its resume rules, its data, and finished runs."""

__all__: list[str] = []  # for the other packages only
