"""Predict by Monte Carlo dropout with a finished run: python scripts/predict.py run=FOLDER samples=100."""

from regtorch.cli.predict import main

if __name__ == "__main__":
    main()
