"""Where a batch and an output have their rows: not always first, and in packed sequences one for each sequence."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

import regtorch
from regtorch.errors import SettingError
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.structure import map_tensors


@pytest.fixture(autouse=True)
def nothing_is_warned_of() -> Iterator[None]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class Steps(nn.Module):
    """Of (length, batch, features), as recurrent layers and transformers of torch's take them."""

    def __init__(self, give: Callable[[Tensor], Any] = lambda scores: scores) -> None:
        super().__init__()
        self.layer, self.drop, self.head, self.give = nn.LSTM(6, 8), nn.Dropout(0.5), nn.Linear(8, 4), give

    def forward(self, x: Tensor) -> Any:
        return self.give(self.head(self.drop(self.layer(x)[0])))


def turned(output: Any) -> Any:
    return map_tensors(output, lambda v: v.movedim(1, 0))


OUTPUTS: dict[str, tuple[Callable[[Tensor], Any], dict[str, Any]]] = {
    "a tensor": (lambda scores: scores, {"transform": None}),
    "classes": (lambda scores: scores, {"class_dim": -1}),
    "classes of maps": (lambda scores: scores.movedim(-1, 2), {"class_dim": 2}),
    "a dict": (lambda scores: {"logits": scores, "length": len(scores)}, {"class_dim": -1}),
    "a key": (lambda scores: {"a": scores, "b": scores[0]}, {"class_dim": -1, "output": "a"}),
    "means and log variances": (lambda scores: (scores, 0.1 * scores), {"class_dim": -1, "transform": "gaussian"}),
}


@pytest.mark.parametrize("batch_dim", [1, -2])
@pytest.mark.parametrize("length", [7, 5])
@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_with_its_rows_where_the_batch_has_them_is_turned(name: str, length: int, batch_dim: int) -> None:
    give, settings = OUTPUTS[name]
    settings = {"samples": 4, "batch_dim": batch_dim, **settings}
    model, x = Steps(give).eval(), torch.randn(length, 5, 6)
    found = regtorch.MCPredictor(model, **settings)(x)
    assert found.mean.shape[:2] == (5, length)
    first = Steps(lambda scores: turned(give(scores))).eval()  # rows come first by its own code
    first.load_state_dict(model.state_dict())
    wanted = regtorch.MCPredictor(first, **settings)(x)
    for name, value in wanted.tensors().items():
        assert value is None or torch.equal(found.tensors()[name], value)


FIRST: dict[str, tuple[Callable[[Tensor], Any], dict[str, Any]]] = {
    "one prediction a row": (lambda scores: scores.mean(0), {}),
    "turned by the model": (lambda scores: scores.movedim(1, 0), {}),
    "turned by output=": (lambda scores: scores, {"output": lambda scores: scores.movedim(1, 0)}),
    "turned by transform=": (lambda scores: scores, {"transform": lambda scores: scores.movedim(1, 0)}),
}


@pytest.mark.parametrize("length", [7, 5])
@pytest.mark.parametrize("name", FIRST)
def test_rows_that_come_first_stay_there(name: str, length: int) -> None:
    give, settings = FIRST[name]
    model, x = Steps(give).eval(), torch.randn(length, 5, 6)
    x[:, 1:] = 0  # one row differs from the others
    found = regtorch.MCPredictor(model, **{"samples": 4, "transform": None, "batch_dim": 1, **settings})(x).mean
    wanted = regtorch.MCPredictor(Steps(turned).eval(), samples=4, transform=None, batch_dim=1)
    wanted.model.load_state_dict(model.state_dict())
    wanted = wanted(x).mean
    torch.testing.assert_close(found, wanted.mean(1) if name == "one prediction a row" else wanted)


class ThisBatchOnly(Steps):
    def forward(self, x: Tensor) -> Any:
        if x.shape != (5, 5, 6):
            raise ValueError("no other shape")
        return super().forward(x)


def test_it_is_an_error_where_rows_may_be_in_two_dimensions() -> None:
    model, x = ThisBatchOnly().eval(), torch.randn(5, 5, 6)
    with pytest.raises(
        SettingError, match=r"dimensions 0 and 1 may be: .* output=lambda output: output.movedim\(1, 0\)"
    ):
        regtorch.MCPredictor(model, samples=4, transform=None, batch_dim=1)(x)
    chosen = regtorch.MCPredictor(
        model, samples=4, transform=None, batch_dim=1, output=lambda output: output.movedim(1, 0)
    )
    assert chosen(x).mean.shape == (5, 5, 4)


def test_batches_of_other_numbers_use_the_same_plan() -> None:
    predictor = regtorch.MCPredictor(Steps().eval(), samples=4, transform=None, batch_dim=1)
    for _ in range(3):
        predictor(torch.randn(7, 5, 6))
    assert len(predictor._plans) == 1
    assert predictor(torch.randn(7, 0, 6)).mean.shape == (0, 7, 4)


def mean_of_steps(scores: Tensor) -> Tensor:
    return scores.mean(0)


#: the model, the batch, and what the message must name
UNFIT: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], tuple[str, ...]]] = {
    "batch_dim forgotten": (lambda: Steps(mean_of_steps), (torch.zeros(7, 5, 6),), ("(5, 4) for 7 rows", "batch_dim=")),
    "two rows": (lambda: Steps(mean_of_steps), (torch.zeros(2, 5, 6),), ("(5, 4) for 2 rows", "batch_dim=")),
    "rows second": (lambda: Steps(turned), (torch.zeros(7, 5, 6),), ("(5, 7, 4) for 7 rows", "movedim(1, 0)")),
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_output_without_a_row_for_each_is_refused_with_the_rows_of_the_batch(name: str) -> None:
    make, batch, texts = UNFIT[name]
    with pytest.raises(SettingError, match="must have a row for each") as caught:
        regtorch.MCPredictor(make().eval(), samples=4, transform=None)(*batch)
    assert all(text in str(caught.value) for text in texts)


class Support(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop = nn.Linear(6, 8), nn.Dropout(0.5)

    def forward(self, support: Tensor, x: Tensor) -> Tensor:
        return self.drop(self.layer(x)) @ self.layer(support).mean(0)[:, None]


def test_a_support_set_that_comes_first_is_refused_with_its_number_of_rows() -> None:
    with pytest.raises(SettingError, match=r"\(8, 1\) for 3 rows: .* give the batch first"):
        regtorch.MCPredictor(Support().eval(), samples=4, transform=None)(torch.zeros(3, 6), torch.ones(8, 6))


class Packed(nn.Module):
    def __init__(self, give: Callable[[PackedSequence, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.drop, self.head = nn.LSTM(6, 8, 2, dropout=0.5), nn.Dropout(0.3), nn.Linear(8, 4)
        self.give = give

    def forward(self, x: PackedSequence) -> Tensor:
        out, (last, _) = self.layer(x)
        return self.head(self.drop(self.give(out, last)))


def the_last(out: PackedSequence, last: Tensor) -> Tensor:
    return last[-1]


def padded(out: PackedSequence, last: Tensor) -> Tensor:
    return pad_packed_sequence(out)[0]


def packed(*lengths: int, enforce_sorted: bool = True) -> PackedSequence:
    generator = torch.Generator().manual_seed(1)
    return pack_sequence([torch.randn(length, 6, generator=generator) for length in lengths], enforce_sorted)


PACKED = {
    "sorted": (packed(6, 4, 4, 2), the_last, {}),
    "unsorted": (packed(2, 6, 4, enforce_sorted=False), the_last, {}),
    "one": (packed(5), the_last, {}),
    "as many as steps": (packed(4, 4, 4, 4), the_last, {}),
    "as many as numbers": (packed(1, 1, 1, 1), the_last, {}),
    "padded again": (packed(6, 4, 2), padded, {"batch_dim": 1}),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_sequence_has_a_row_for_each_of_its_sequences(name: str) -> None:
    x, give, settings = PACKED[name]
    model = Packed(give).eval()
    predictor = regtorch.MCPredictor(model, samples=100, transform=None, **settings)
    out = predictor(x)
    model.train()
    with torch.no_grad():
        loop = torch.stack([model(x) for _ in range(100)])
    loop = loop.movedim(2, 1) if give is padded else loop
    assert out.mean.shape == loop.shape[1:]
    assert len(out) == int(x.batch_sizes[0])
    error = ((loop.var(0) + out.std**2) / 100).sqrt() + 1e-6
    assert ((out.mean - loop.mean(0)).abs() < 6 * error).all()
    assert 0.7 < float(out.std.mean() / loop.std(0).mean()) < 1.4
    predictor(x._replace(data=torch.randn_like(x.data)))
    assert len(predictor._plans) == 1  # other numbers use the same plan


def test_structures_of_other_types_are_described_as_they_are() -> None:
    first, second = packed(4, 4, 2), packed(4, 3, 3)  # as many numbers, other lengths
    assert BatchArgs((first,), {}).kind() != BatchArgs((second,), {}).kind()
    assert BatchArgs((first,), {}).kind() == BatchArgs((first._replace(data=second.data),), {}).kind()
