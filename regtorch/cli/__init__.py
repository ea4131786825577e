"""The scripts and console commands. Nothing here imports torch before the configuration has been checked."""

__all__: list[str] = []  # each command is a module with a main()
