"""Train one run, or a grid of them with -m: python scripts/train.py regularizer=l1_l2 dropout=alpha."""

from regtorch.cli.train import main

if __name__ == "__main__":
    main()
