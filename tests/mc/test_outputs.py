"""Which part of an output is predicted, what it means, and maps of uncertainties of dense outputs."""

from __future__ import annotations

import collections
import dataclasses
import math
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import regtorch
from regtorch.errors import SettingError
from regtorch.mc.output_selection import selected
from regtorch.mc.output_transform import outcome

Y, Z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.ones(4, 2)


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    hidden: Any = None


@dataclasses.dataclass
class Heads:
    scores: torch.Tensor
    boxes: torch.Tensor


Pair = collections.namedtuple("Pair", ["logits", "hidden"])

TAKEN = {
    "tensor": (Y, None),
    "dict": ({"hidden": Z, "logits": Y}, None),
    "dataclass": (Output(Y, Z), None),
    "object": (types.SimpleNamespace(logits=Y, hidden=Z), None),
    "named tuple": (Pair(Y, Z), None),
    "distribution": (torch.distributions.Bernoulli(logits=Y), None),
    "nested": (({"logits": Y},), None),
    "only tensor of a tuple": ((None, Y, 3), None),
    "key": ({"out": Y, "aux": Z}, "out"),
    "attribute": (Heads(Y, Z), "scores"),
    "place": ((Z, Y), 1),
    "last place": ([Z, Y], -1),
    "function": ({"a": [Z, Y]}, lambda output: output["a"][1]),
    "key of what has logits": ({"logits": Z, "other": Y}, "other"),
    "key of a nested output": ({"first": Output(Y)}, "first"),
}
REFUSED = {
    "nothing": (None, None, "gives a NoneType without a tensor"),
    "no tensor": ({"a": 1, "b": [None]}, None, "gives a dict without a tensor"),
    "no logits": ({"scores": Y, "boxes": Z}, None, "without logits; choose output='scores' or 'boxes', or a function"),
    "dataclass without logits": (Heads(Y, Z), None, "gives a Heads without logits; choose output='scores' or 'boxes'"),
    "one key that is not logits": ({"out": Y}, None, "without logits; choose output='out'"),
    "tuple of two": ((Y, Z), None, "tensors in 2 places; choose one, such as output=0"),
    "wrong key": ({"out": Y}, "logits", "output=logits is not allowed: the model gives a dict, which has out"),
    "wrong place": ((Y, Z), 2, "output=2 is not allowed: the model gives a tuple of 2"),
    "place of a tensor": (Heads(Y, Z), 0, "output=0 is not allowed"),
    "key of no tensor": ({"out": 1.0}, "out", "without a tensor"),
}


@pytest.mark.parametrize(("output", "choice"), TAKEN.values(), ids=TAKEN)
def test_the_prediction_is_found_in_every_kind_of_output(output: Any, choice: Any) -> None:
    assert torch.equal(outcome(output, None, choice), Y)
    assert torch.equal(outcome(output, "softmax", choice), outcome(Y, "softmax"))


@pytest.mark.parametrize(("output", "choice", "words"), REFUSED.values(), ids=REFUSED)
def test_other_outputs_are_one_line(output: Any, choice: Any, words: str) -> None:
    with pytest.raises(SettingError) as caught:
        outcome(output, None, choice)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_object_that_holds_itself_ends() -> None:
    loop = types.SimpleNamespace(me=None)
    loop.me = loop
    with pytest.raises(SettingError, match="without a tensor"):
        selected(loop)


def test_outputs_of_transformers() -> None:
    from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

    assert torch.equal(outcome(SequenceClassifierOutput(loss=Z.sum(), logits=Y), None), Y)
    assert torch.equal(outcome(BaseModelOutput(last_hidden_state=Y), None, "last_hidden_state"), Y)
    assert torch.equal(outcome(BaseModelOutput(last_hidden_state=Y), None, 0), Y)
    with pytest.raises(SettingError, match="gives a BaseModelOutput without logits; choose output='last_hidden_state'"):
        outcome(BaseModelOutput(last_hidden_state=Y), None)


def test_a_chosen_part_is_what_a_transform_function_is_given() -> None:
    assert torch.equal(outcome({"a": Y}, lambda y: y * 2, "a"), Y * 2)
    assert torch.equal(outcome({"a": Y}, lambda out: out["a"] * 2), Y * 2)


@pytest.mark.parametrize("output", ["", 1.5, True, [0], b"a"])
def test_what_chooses_no_part_is_refused(output: Any) -> None:
    with pytest.raises(SettingError, match=r"^output=.* is not allowed: it must be a key, a place in a tuple"):
        regtorch.MCPredictor(dropping(nn.Identity()), output=output)


# what the numbers mean


def dropping(last: nn.Module, units: int = 16) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, units), nn.ReLU(), nn.Dropout(0.3), last)


X = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 2, 3)])
def test_a_softmax_needs_two_classes(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match=r"^transform=softmax is not allowed: .*'sigmoid'.*None or 'gaussian'"):
        outcome(torch.zeros(shape), "softmax")
    outcome(torch.zeros(shape), "sigmoid")


MADE_ALREADY = {
    "softmax": (lambda: nn.Sequential(nn.Linear(16, 3), nn.Softmax(1)), "softmax"),
    "softmax of two": (lambda: nn.Sequential(nn.Linear(16, 2), nn.Softmax(1)), "softmax"),
    "sigmoid": (lambda: nn.Sequential(nn.Linear(16, 1), nn.Sigmoid()), "sigmoid"),
    "sigmoids": (lambda: nn.Sequential(nn.Linear(16, 3), nn.Sigmoid()), "sigmoid"),
}
LOGITS = {
    "logits": (lambda: nn.Linear(16, 3), "softmax"),
    "logarithms": (lambda: nn.Sequential(nn.Linear(16, 3), nn.LogSoftmax(1)), "softmax"),
    "logit": (lambda: nn.Linear(16, 1), "sigmoid"),
}


@pytest.mark.parametrize(("last", "transform"), MADE_ALREADY.values(), ids=MADE_ALREADY)
def test_probabilities_are_not_transformed_again_without_a_word(last: Callable, transform: str) -> None:
    predictor = regtorch.MCPredictor(dropping(last()), samples=5, transform=transform)
    with pytest.warns(UserWarning, match=f"transform={transform}: .*look like probabilities already.*transform=None"):
        predictor(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor(X)  # once


@pytest.mark.parametrize(("last", "transform"), LOGITS.values(), ids=LOGITS)
def test_logits_are_no_probabilities(last: Callable, transform: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regtorch.MCPredictor(dropping(last()), samples=5, transform=transform)(X)


def test_probabilities_as_they_are_have_entropies() -> None:
    linear = nn.Linear(16, 3)
    wanted = regtorch.MCPredictor(dropping(linear), samples=9)(X)
    found = regtorch.MCPredictor(dropping(nn.Sequential(linear, nn.Softmax(1))), samples=9, transform="probabilities")(
        X
    )
    for name in ("mean", "predictive_entropy", "mutual_information", "variation_ratio"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), msg=name)
    linear = nn.Linear(16, 1)
    wanted = regtorch.MCPredictor(dropping(linear), samples=9, transform="sigmoid")(X)
    found = regtorch.MCPredictor(dropping(nn.Sequential(linear, nn.Sigmoid())), samples=9, transform="probabilities")(X)
    for name in ("mean", "predictive_entropy", "mutual_information", "variation_ratio"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), msg=name)
    with pytest.raises(SettingError, match=r"transform=probabilities is not allowed: .*transform='softmax' for logits"):
        outcome(Y, "probabilities")
    with pytest.raises(SettingError, match=r"transform=probabilities is not allowed: .*transform='sigmoid' for logits"):
        outcome(Y[:, :1] + 5, "probabilities")


MEAN, LOG_VAR = torch.randn(4, 2), torch.randn(4, 2)


@pytest.mark.parametrize(
    "output",
    [
        torch.cat([MEAN, LOG_VAR], 1),
        (MEAN, LOG_VAR),
        [MEAN, LOG_VAR],
        {"mean": MEAN, "log_var": LOG_VAR},
        {"log_variance": LOG_VAR, "other": Z, "mean": MEAN},
        types.SimpleNamespace(mean=MEAN, logvar=LOG_VAR),
        {"logits": torch.cat([MEAN, LOG_VAR], 1)},
    ],
    ids=["side by side", "tuple", "list", "mapping", "another name", "object", "logits"],
)
def test_gaussian_outputs_of_every_kind(output: Any) -> None:
    assert torch.equal(outcome(output, "gaussian"), torch.cat([MEAN, LOG_VAR], 1))


def test_gaussian_outputs_that_do_not_fit() -> None:
    with pytest.raises(SettingError, match=r"means of shape \(4, 2\) and logarithms of variances of shape \(4, 1\)"):
        outcome({"mean": MEAN, "log_var": LOG_VAR[:, :1]}, "gaussian")
    with pytest.raises(SettingError, match=r"shape \(4, 3\); dimension 1 must hold means and as many"):
        outcome(Y, "gaussian")
    assert outcome((MEAN[:, 0], LOG_VAR[:, 0]), "gaussian").shape == (4, 2)


# dense outputs


class Tokens(nn.Module):
    """(rows, length, 5) -> (rows, length, classes), or with the classes in dimension 1."""

    def __init__(self, classes: int, first: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.first = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, classes)), first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x)
        return y.movedim(-1, 1) if self.first else y


NAMES = ("predictive_entropy", "expected_entropy", "mutual_information", "variation_ratio")


@pytest.mark.parametrize("sizes", [(6,), (3, 2), (2, 3, 2)])
@pytest.mark.parametrize("tolerance", [None, 0.05])
def test_uncertainties_of_dense_outputs_are_maps(sizes: tuple[int, ...], tolerance: float | None) -> None:
    x = torch.randn(4, *sizes, 5)
    out = regtorch.MCPredictor(Tokens(3, first=True), samples=40, keep_samples=True, tolerance=tolerance)(x)
    for row in range(4):
        s = out.samples[: int(out.samples_used[row]), row]  # (samples, classes, ...)
        mean = s.mean(0)
        expected = -(s * s.log()).sum(1).mean(0)
        predictive = -(mean * mean.log()).sum(0)
        votes = nn.functional.one_hot(s.argmax(1), 3).double().mean(0).amax(-1)
        wanted = dict(zip(NAMES, (predictive, expected, (predictive - expected).clamp(min=0), 1 - votes), strict=True))
        for name, value in wanted.items():
            assert getattr(out, name).shape == (4, *sizes)
            torch.testing.assert_close(getattr(out, name)[row].double(), value.double(), atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("class_dim", [-1, 2])
@pytest.mark.parametrize("classes", [3, 1])
def test_tokens_are_predicted_as_with_their_classes_first(class_dim: int, classes: int) -> None:
    x = torch.randn(4, 6, 5)
    transform = "softmax" if classes > 1 else "sigmoid"
    wanted = regtorch.MCPredictor(Tokens(classes, first=True), samples=9, transform=transform)(x)
    found = regtorch.MCPredictor(Tokens(classes), samples=9, transform=transform, class_dim=class_dim)(x)
    torch.testing.assert_close(found.mean, wanted.mean.movedim(1, -1))
    for name in NAMES:
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name))
    gaussian = regtorch.MCPredictor(Tokens(4), samples=9, transform="gaussian", class_dim=class_dim)(x)
    assert gaussian.mean.shape == gaussian.variance.shape == (4, 6, 2)
    assert (gaussian.variance > gaussian.std**2).all()


def test_without_a_dimension_of_classes_each_entry_is_binary() -> None:
    model = dropping(nn.Linear(16, 3))
    out = regtorch.MCPredictor(model, samples=9, transform="sigmoid", class_dim=None)(X)
    together = regtorch.MCPredictor(model, samples=9, transform="sigmoid")(X)
    assert all(getattr(out, name).shape == (30, 3) for name in NAMES)
    torch.testing.assert_close(out.predictive_entropy.sum(1), together.predictive_entropy)
    assert together.variation_ratio is None
    flat = regtorch.MCPredictor(
        dropping(nn.Sequential(nn.Linear(16, 1), nn.Flatten(0))), samples=9, transform="sigmoid"
    )(X)
    assert all(getattr(flat, name).shape == (30,) for name in NAMES)


@pytest.mark.parametrize("class_dim", [0, True, 1.0, "last", 2, 5, -2, -3])
def test_a_dimension_that_is_not_there_is_one_line(class_dim: Any) -> None:
    with pytest.raises(SettingError, match=f"class_dim={class_dim} is not allowed"):
        regtorch.MCPredictor(dropping(nn.Linear(16, 3)), samples=3, class_dim=class_dim)(X)


# what people look at


def test_reprs_are_short() -> None:
    predictor = regtorch.MCPredictor(dropping(nn.Linear(16, 3)), samples=20, keep_samples=True)
    out = predictor(X)
    correct = torch.ones(500, dtype=torch.bool)
    shown = [predictor, out, regtorch.MCPredictor(predictor.model)(X[:0]), regtorch.samples_needed(out)]
    shown += [regtorch.mc.selective_accuracy(correct, torch.rand(500))]
    digits = regtorch.create("data", "digits").load()
    shown += [digits, digits.train, digits.test.take([0])]
    for each in shown:
        text = repr(each)
        assert text.startswith(type(each).__name__ + "(")
        assert len(text) <= 400
        assert "\n" not in text
        assert "object at" not in text
    assert "samples=20, transform='softmax'" in repr(predictor)
    assert "30 rows, 20 samples: mean (30, 3)" in repr(out)
    assert "10 classes" in repr(digits)


def test_batches_of_maps_are_joined_and_moved() -> None:
    predictor = regtorch.MCPredictor(Tokens(3), samples=5, class_dim=-1, keep_samples=True)
    x = torch.randn(4, 6, 5)
    everything, parts = predictor(x), [predictor(x[:1]), predictor(x[1:])]
    joined = regtorch.mc.MCPrediction.cat(parts).to("cpu")
    assert joined.class_dim == -1
    for name in ("mean", "samples", *NAMES):
        torch.testing.assert_close(getattr(joined, name), getattr(everything, name))
    assert math.isfinite(regtorch.mc.evaluate(joined, torch.zeros(4, 6, dtype=torch.long))["nll"])
