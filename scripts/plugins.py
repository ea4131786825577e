"""List the installed plugins, and what is broken: python scripts/plugins.py."""

from regtorch.cli.plugins import main

if __name__ == "__main__":
    main()
