"""Compare recipes over seeds: python scripts/compare.py experiment=digits_standard,digits_custom seeds=5."""

from regtorch.cli.compare import main

if __name__ == "__main__":
    main()
