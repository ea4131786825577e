"""Activity penalties of layers and blocks of all kinds: first tensor of the output, divided by the number of examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import regtorch
from regtorch.errors import NothingBoundError, SettingError


class Pair(NamedTuple):
    nothing: None
    output: Tensor


@dataclass
class Record:
    note: str
    output: Tensor


class Returns(nn.Module):
    """A block that builds its output from that of its linear layer."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.linear(x))


X = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
#: layer, inputs, the tensor in its output, the number of examples
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...], Callable[[Any], Tensor], int]] = {
    "lstm": (lambda: nn.LSTM(4, 4, batch_first=True), (X,), lambda out: out[0], 2),
    "lstm, time first": (lambda: nn.LSTM(4, 4), (X,), lambda out: out[0], 5),
    "lstm, one sequence": (lambda: nn.LSTM(4, 4), (X[0],), lambda out: out[0], 1),
    "gru, packed": (
        lambda: nn.GRU(4, 4, batch_first=True),
        (pack_padded_sequence(X, [5, 3], batch_first=True),),
        lambda out: out[0].data,
        2,
    ),
    "attention": (lambda: nn.MultiheadAttention(4, 2, batch_first=True), (X, X, X), lambda out: out[0], 2),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True), (X,), lambda out: out, 2),
    "lstm cell": (lambda: nn.LSTMCell(4, 4), (X[0],), lambda out: out[0], 5),
    "named tuple": (lambda: Returns(lambda h: Pair(None, h)), (X,), lambda out: out.output, 2),
    "list": (lambda: Returns(lambda h: [[h], h + 1]), (X,), lambda out: out[0][0], 2),
    "mapping": (lambda: Returns(lambda h: {"logits": h, "more": h + 1}), (X,), lambda out: out["logits"], 2),
    "dataclass": (lambda: Returns(lambda h: Record("", h)), (X,), lambda out: out.output, 2),
    "scalar": (lambda: Returns(torch.sum), (X,), lambda out: out, 1),
    "empty batch": (lambda: nn.Linear(4, 4), (X[:0],), lambda out: out, 1),
    "complex": (lambda: nn.Linear(4, 4, dtype=torch.complex64), (X.to(torch.complex64),), lambda out: out, 2),
    "half": (lambda: nn.Linear(4, 4, dtype=torch.bfloat16), (X.bfloat16(),), lambda out: out.float(), 2),
    "integers": (lambda: Returns(lambda h: (h * 10).round().long()), (X,), lambda out: out.float(), 2),
}


class Sequences(nn.Module):
    """A layer of one's own, named as torch names its layouts."""

    def __init__(self, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.gru = nn.GRU(4, 4, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0]


class Pooled(Sequences):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean(1 if self.batch_first else 0)


def encoder_layer(**layout: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 8, 0.0, **layout)


def decoder_layer(**layout: bool) -> nn.Module:
    return nn.TransformerDecoderLayer(4, 2, 8, 0.0, **layout)


#: torch's layers that have two layouts, how many times they take their input, and which of their modules are bound
LAYOUTS: dict[str, tuple[Callable[..., nn.Module], int, str]] = {
    **{
        kind.__name__: (lambda kind=kind, **layout: kind(4, 4, **layout), 1, "layer")
        for kind in (nn.RNN, nn.LSTM, nn.GRU)
    },
    "attention": (lambda **layout: nn.MultiheadAttention(4, 2, **layout), 3, "layer"),
    "encoder layer": (encoder_layer, 1, "layer"),
    "decoder layer": (decoder_layer, 2, "layer"),
    "encoder": (lambda **layout: nn.TransformerEncoder(encoder_layer(**layout), 2, None, False), 1, "layer"),
    "decoder": (lambda **layout: nn.TransformerDecoder(decoder_layer(**layout), 2), 2, "layer"),
    "transformer": (lambda **layout: nn.Transformer(4, 2, 1, 1, 8, 0.0, **layout), 2, "layer"),
    "inside an encoder": (
        lambda **layout: nn.TransformerEncoder(encoder_layer(**layout), 1, None, False),
        1,
        "*.linear1",
    ),
    "kernels of a decoder": (lambda **layout: nn.TransformerDecoder(decoder_layer(**layout), 1), 2, "kernel"),
    "norms of a transformer": (lambda **layout: nn.Transformer(4, 2, 1, 1, 8, 0.0, **layout), 2, "*norm*"),
    "one's own": (Sequences, 1, "layer"),
    "one's own, pooled": (Pooled, 1, "layer"),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_value_does_not_depend_on_the_layout(name: str) -> None:
    """Nor on how often the examples are repeated."""
    make, inputs, where = LAYOUTS[name]
    values = []
    for batch_first in (True, False):
        for x in (X, X.repeat(3, 1, 1)):
            torch.manual_seed(0)
            model = nn.ModuleDict({"layer": make(batch_first=batch_first)})
            penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(0.1)), where)
            model["layer"](*((x if batch_first else x.transpose(0, 1),) * inputs))
            values.append(penalty())
    assert values[0] > 0
    for value in values[1:]:
        torch.testing.assert_close(value, values[0])


#: layers, and one example without a batch dimension
ONE_EXAMPLE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "linear": (lambda: nn.Linear(4, 4), (4,), 1),
    "convolution": (lambda: nn.Conv1d(4, 4, 3), (4, 5), 1),
    "images": (lambda: nn.Conv2d(4, 4, 3), (4, 5, 5), 1),
    "transposed": (lambda: nn.ConvTranspose2d(4, 4, 3), (4, 5, 5), 1),
    "cell": (lambda: nn.GRUCell(4, 4), (4,), 1),
    "sequence": (lambda: nn.GRU(4, 4), (5, 4), 1),
    "sequence, batch first": (lambda: nn.GRU(4, 4, batch_first=True), (5, 4), 1),
    "attention": (lambda: nn.MultiheadAttention(4, 2), (5, 4), 3),
    "encoder layer": (encoder_layer, (5, 4), 1),
    "encoder layer, batch first": (lambda: encoder_layer(batch_first=True), (5, 4), 1),
}


@pytest.mark.parametrize("name", ONE_EXAMPLE)
def test_one_example_without_a_batch_dimension_is_divided_by_one(name: str) -> None:
    make, shape, inputs = ONE_EXAMPLE[name]
    layer = make()
    penalty = regtorch.WeightPenalty(nn.ModuleDict({"layer": layer}), regtorch.Activity(regtorch.L2(0.1)), "layer")
    out = layer(*((torch.randn(shape),) * inputs))
    torch.testing.assert_close(penalty(), 0.1 * (out[0] if isinstance(out, tuple) else out).square().sum())


@pytest.mark.parametrize("name", LAYERS)
def test_the_first_tensor_by_the_number_of_examples(name: str) -> None:
    torch.manual_seed(0)
    make, inputs, of_output, examples = LAYERS[name]
    layer = make()
    penalty = regtorch.WeightPenalty(nn.ModuleDict({"layer": layer}), regtorch.Activity(regtorch.L2(0.1)), "layer")
    out = of_output(layer(*inputs))
    value = penalty()
    torch.testing.assert_close(value, 0.1 * out.abs().square().sum() / examples)
    if value.requires_grad:
        value.backward()


def test_blocks_of_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason="needs an extra: pip install transformers")
    settings = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=20, **settings))
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L1(0.1)), where="encoder.layer.*")
    of_block = regtorch.WeightPenalty(nn.ModuleDict({"bert": model}), regtorch.Activity(regtorch.L1(0.1)), where="bert")
    seen: list[Tensor] = []
    for block in model.encoder.layer:
        block.register_forward_hook(lambda module, args, out: seen.append(out[0] if isinstance(out, tuple) else out))
    out = model(torch.randint(20, (3, 6)))
    torch.testing.assert_close(penalty(), 0.1 * sum(each.abs().sum() for each in seen) / 3)
    torch.testing.assert_close(of_block(), 0.1 * out.last_hidden_state.abs().sum() / 3)
    (out.pooler_output.sum() + penalty() + of_block()).backward()


def test_a_public_network_trains_with_activities_before_relus_in_place() -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision")
    model = models.alexnet(num_classes=3)
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L1(1e-4)))
    for _ in range(3):
        (model(torch.randn(2, 3, 64, 64)).mean() + penalty()).backward()


BARE = [nn.Linear(4, 3), nn.LSTM(4, 4, batch_first=True), nn.MultiheadAttention(4, 2, batch_first=True)]


@pytest.mark.parametrize("layer", BARE, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("where", [None, "all", "bias"])
def test_a_model_that_is_a_single_layer(layer: nn.Module, where: Any) -> None:
    penalty = regtorch.WeightPenalty(layer, regtorch.Activity(regtorch.L2(0.1)), where)
    assert penalty.names == [type(layer).__name__]
    for _ in range(2):
        out = layer(*((X,) * (3 if isinstance(layer, nn.MultiheadAttention) else 1)))
        out = out[0] if isinstance(out, tuple) else out
        torch.testing.assert_close(penalty(), 0.1 * out.square().sum() / 2)
        penalty().backward()


def test_where_that_matches_nothing_in_a_single_layer() -> None:
    with pytest.raises(
        NothingBoundError, match=r"it is a single layer; wrap it in torch\.nn\.Sequential to give it a name$"
    ):
        regtorch.WeightPenalty(nn.Linear(3, 2), regtorch.Activity(regtorch.L2(0.1)), where="head")


def test_an_output_without_a_tensor_is_named() -> None:
    model = nn.Sequential(Returns(lambda h: "text"))
    regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(0.1)), where="0")
    with pytest.raises(SettingError, match="not possible for 0: its output, a str, has no tensor"):
        model(X)
