"""Monte Carlo prediction of small transformers, in proportion to hand-written code: ``python benchmarks/mc_transformers.py``.

- A model whose first layer drops, so that all of it runs for each sample: 100 samples against a loop of 100 passes in
  training mode. Budget 1.1.
- BERT with dropout in its classifier only: 20 samples against one pass in eval mode. Budget 1.5. Needs transformers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from side_by_side import milliseconds
from torch import Tensor, nn

import regtorch


class SmallTransformer(nn.Module):
    """Two layers of 32 features; which layers run depends on the numbers, so that no graph can be split."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.dropout = nn.Dropout(0.1)
        layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.encoder(self.dropout(self.embedding(ids)))
        if x.mean() > 1e9:
            x = x.tanh()
        return self.head(x.mean(1))  # type: ignore[no-any-return]


def unsplit(rows: int) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    model, ids = SmallTransformer().eval(), torch.randint(50, (rows, 12))
    predictor = regtorch.MCPredictor(model, samples=100, transform=None)

    def loop() -> Tensor:
        model.train()
        with torch.no_grad():
            out = torch.stack([model(ids) for _ in range(100)])
        model.eval()
        return out.std(0)

    return {"loop": loop, "regtorch": lambda: predictor(ids)}


def classifier_only(rows: int) -> dict[str, Callable[[], object]]:
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=1000, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.5,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config).eval()
    ids = torch.randint(3, 1000, (rows, 64))
    predictor = regtorch.MCPredictor(model, samples=20)

    def one_pass() -> object:
        with torch.no_grad():
            return model(input_ids=ids)

    return {"one pass": one_pass, "regtorch": lambda: predictor(input_ids=ids)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    for title, budget, made in (("unsplit transformer", 1.1, unsplit), ("BERT, classifier only", 1.5, classifier_only)):
        runs = made(args.rows)
        runs["regtorch"]()  # finds the noise
        reference, ours = milliseconds(args.rounds, *runs.values())
        ratio = ours / reference
        print(
            f"{title}: {ours:.1f} ms, {ratio:.2f} x {next(iter(runs))} (budget {budget}: {'kept' if ratio <= budget else 'MISSED'})"
        )


if __name__ == "__main__":
    main()
