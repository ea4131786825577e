"""Private interfaces of other libraries, one file per library. A test of each fails if the library changes it."""

__all__: list[str] = []  # for the other packages only
