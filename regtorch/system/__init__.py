"""The machine and the process: files, locks, memory, standard streams, exit status. Imports no torch."""

__all__: list[str] = []  # for the other packages only
