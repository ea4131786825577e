"""Draw the learning curves of finished runs: python scripts/curves.py plain=FOLDER regularized=FOLDER --out curves.png."""

from regtorch.cli.curves import main

if __name__ == "__main__":
    main()
