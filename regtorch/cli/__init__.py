"""What the scripts and console commands run. Nothing here imports torch before a configuration has been checked."""

__all__: list[str] = []  # each command is a module with a main()
