"""All dropouts: shared tests, and comparison with theory and Keras."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from itertools import combinations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import regtorch
from regtorch import available, create
from regtorch.dropout.exact_count_dropout import dropped_units
from regtorch.errors import NamingError, SettingError
from regtorch.functional import uniform_dropout
from regtorch.registry import component
from regtorch.tensor_ops.keep_mask import keep_mask
from regtorch.testing.dropout import Case, DropoutTester, StepsLast, WeightsAsUnits, check_ranks, seeded
from regtorch.testing.ranks import on_two_ranks

CONF = Path(__file__).parents[2] / "conf/dropout"
#: moments of Keras' layers in training on 4,096,000 standard normal values: output of Keras 3.15.1
KERAS = json.loads((Path(__file__).parents[1] / "reference/dropouts.json").read_text())
SELU_SATURATION = -1.0507009873554805 * 1.6732632423543772


def keras(layer: str) -> list[dict]:
    return [row for row in KERAS if row["layer"] == layer]


def scale_of_alpha(p: float) -> float:
    return 1 / math.sqrt((1 - p) * (1 + p * SELU_SATURATION**2))


ALPHA = {
    "dropped": lambda p: scale_of_alpha(p) * SELU_SATURATION * (1 - p),
    "factor": lambda p: scale_of_alpha(p) * (1 - p),
    "variance": lambda p: 1.0,
    "can_drop_all": False,
}
#: normal noise is drawn in the precision of the input, for half precision in float32
NORMAL = {"noise_depends_on_dtype": (torch.float64,)}


def moment_of_concrete(p: float, power: int, temperature: float = 0.1) -> float:
    """E[((1 - z) / (1 - p))^power], by the midpoint rule over the uniform draw."""
    u = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1e6
    z = torch.sigmoid((math.log(p / (1 - p)) + u.log() - (1 - u).log()) / temperature)
    return float((((1 - z) / (1 - p)) ** power).mean())


CASES = [
    Case("standard", reference=keras("Dropout")),
    Case("exact_count", independent=False),
    Case("alpha", reference=keras("AlphaDropout"), **ALPHA),
    Case("feature_alpha", (2000, 8, 5, 5), draw_dims=2, **ALPHA),
    Case("spatial1d", (2000, 8, 25), draw_dims=2),
    Case("spatial2d", (2000, 8, 5, 5), draw_dims=2, reference=keras("SpatialDropout2D")),
    Case("spatial3d", (2000, 8, 3, 3, 3), draw_dims=2),
    Case("uniform_dropout", dropped=None, can_drop_all=False, **NORMAL),
    Case("gaussian", dropped=None, can_drop_all=False, reference=keras("GaussianDropout"), **NORMAL),
    Case(
        "gaussian_noise",
        dropped=None,
        can_drop_all=False,
        variance=lambda std: 1 + std**2,
        reference=keras("GaussianNoise"),
        probability="std",
        **NORMAL,
    ),
    Case(
        "drop_block2d",
        draw_dims=2,
        independent=False,
        settings={"block_size": 3},
        bad={"block_size": 0, "couple_channels": 1},
    ),
    Case(
        "drop_block3d",
        (400, 4, 5, 4, 5),
        draw_dims=2,
        independent=False,
        settings={"block_size": 2},
        bad={"block_size": 0, "couple_channels": 1},
    ),
    Case("drop_path", (4000, 3, 2, 2), draw_dims=1),
    Case(
        "drop_connect", within=WeightsAsUnits, acts_on_weights=True, state=("layer.weight",), bad={"weights": "biases"}
    ),
    Case(
        "concrete",
        (2000, 8, 5, 5),
        draw_dims=2,
        dropped=None,
        can_drop_none=False,
        can_drop_all=False,
        factor=lambda p: moment_of_concrete(p, 1),
        variance=lambda p: moment_of_concrete(p, 2),
        bad={"temperature": 0, "whole_maps": 1},
        state=("logit",),
    ),
    Case("consistent"),
    Case("variational", (2000, 8, 25), draw_dims=2, within=StepsLast, bad={"batch_first": "yes"}),
]


@pytest.mark.parametrize("case", CASES, ids=str)
class TestDropouts(DropoutTester):
    pass


def test_every_dropout_is_in_the_table() -> None:
    own = {name for name in available("dropout") if component("dropout", name).module.startswith("regtorch.")}
    assert {"none"} | {case.name for case in CASES} == own


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_configurations_build_the_default(name: str) -> None:
    text = (CONF / f"{name}.yaml").read_text()
    node = yaml.safe_load(text)
    assert text.startswith("# ")
    assert node.pop("name") == name
    built = create("dropout", name, **node)
    assert built.to_config() == create("dropout", name).to_config()
    if "drop_prob" in node and name != "none":
        assert f"null: {built.drop_prob}," in text


def test_every_dropout_has_a_configuration() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} >= {"none"} | {case.name for case in CASES}


def test_none() -> None:
    x = torch.ones(2)
    assert regtorch.NoDropout(drop_prob=None, keep_prob=None)(x) is x
    assert create("dropout", "none").to_config() == {"name": "none"}
    with pytest.raises(SettingError, match=r"keep_prob=0\.8"):
        create("dropout", "none", keep_prob=0.8)


def test_two_ranks() -> None:
    rows = []
    for case in CASES:
        sizes = {
            "spatial1d": (32, 5),
            "spatial3d": (32, 2, 2, 5),
            "drop_block3d": (32, 2, 2, 5),
            "variational": (32, 5),
        }.get(case.name, (32, 6, 5))
        rows.append((case.name, {case.probability: 0.5, **case.settings}, sizes))
    on_two_ranks(check_ranks, rows)


def test_inductor() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    module = torch.compile(regtorch.AlphaDropout(drop_prob=0.2), fullgraph=True)
    y = module(torch.full((1000, 100), 2.0))
    gone = y == y.min()
    assert y.unique().numel() == 2
    assert gone.double().mean() == pytest.approx(0.2, abs=5 * math.sqrt(0.16 / 1e5))


# masks


@pytest.mark.parametrize("drop_prob", [1e-6, 0.002, 0.3, 0.4999, 0.5, 0.501, 0.9961, 1 - 1e-6])
def test_probabilities_between_the_256_levels(drop_prob: float) -> None:
    torch.manual_seed(1)
    size, times = 4_000_000, 10
    dropped = sum(size - int(keep_mask((size,), drop_prob).sum()) for _ in range(times))
    error = math.sqrt(size * times * drop_prob * (1 - drop_prob))
    assert abs(dropped - size * times * drop_prob) <= 5 * error
    assert dropped not in (0, size * times)


@pytest.mark.parametrize("drop_prob", [0.003, 0.3, 0.7])
def test_the_number_dropped_is_binomial(drop_prob: float) -> None:
    generator = seeded(0)
    counts = torch.stack([(~keep_mask((64,), drop_prob, generator=generator)).sum() for _ in range(4000)]).double()
    variance = 64 * drop_prob * (1 - drop_prob)
    assert counts.mean() == pytest.approx(64 * drop_prob, abs=5 * math.sqrt(variance / 4000))
    kurtosis = 1 / variance + 3
    assert counts.var() / variance == pytest.approx(1, abs=5 * math.sqrt((kurtosis - 1) / 4000))


def test_masks_are_independent_of_position() -> None:
    kept = torch.stack([keep_mask((16,), 0.3, generator=g) for g in [seeded(0)] for _ in range(20000)]).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(16)
    assert correlation.abs().max() <= 5.5 / math.sqrt(20000)


# exact count


@pytest.mark.parametrize(
    ("drop_prob", "units", "dropped"),
    [(0.07, 100, 7), (0.5, 7, 4), (0.1 * 3, 10, 3), (1e-15, 10, 1), (1.0, 5, 5), (0.29, 100, 29), (1e-300, 3, 1)],
)
def test_dropped_units(drop_prob: float, units: int, dropped: int) -> None:
    assert dropped_units(drop_prob, units) == dropped


@settings(max_examples=200, deadline=None)
@given(hundredths=st.integers(0, 10_000), units=st.integers(0, 400))
def test_dropped_units_is_the_exact_ceiling(hundredths: int, units: int) -> None:
    assert dropped_units(hundredths / 10_000, units) == -(-hundredths * units // 10_000)


@settings(max_examples=60, deadline=None)
@given(
    drop_prob=st.floats(0, 1),
    rows=st.integers(1, 5),
    sizes=st.lists(st.integers(1, 6), max_size=3),
    shared=st.booleans(),
)
def test_exact_count_in_every_row(drop_prob: float, rows: int, sizes: list[int], shared: bool) -> None:
    n = math.prod(sizes)
    k = dropped_units(drop_prob, n)
    y = regtorch.functional.exact_count_dropout(torch.ones(rows, *sizes), drop_prob=drop_prob, shared=shared).reshape(
        rows, n
    )
    assert (y == 0).sum(dim=1).tolist() == [k] * rows
    torch.testing.assert_close(y[y != 0], torch.full((rows * (n - k),), n / max(n - k, 1)))


@pytest.mark.parametrize("k", [2, 4])
def test_every_subset_is_equally_likely(k: int) -> None:
    y = regtorch.functional.exact_count_dropout(torch.ones(60_000, 6), drop_prob=k / 6, generator=seeded(0))
    codes = ((y == 0) * 2 ** torch.arange(6)).sum(dim=1)
    counts = torch.tensor([(codes == sum(2**i for i in subset)).sum() for subset in combinations(range(6), k)])
    expected = 60_000 / 15
    assert counts.sum() == 60_000
    assert ((counts - expected) ** 2 / expected).sum() < 42  # chi square, 14 degrees of freedom: p = 1e-4


def test_exact_count_needs_a_batch() -> None:
    with pytest.raises(SettingError, match="without dimensions"):
        regtorch.ExactCountDropout(drop_prob=0.5)(torch.tensor(1.0))


# maps and blocks


@pytest.mark.parametrize(
    ("name", "ranks"), {"spatial1d": (1, 4, 5), "spatial2d": (1,), "drop_block2d": (1, 2, 3, 5)}.items()
)
def test_other_shapes_are_refused_with_the_expected_one(name: str, ranks: tuple[int, ...]) -> None:
    module = create("dropout", name)
    for ndim in ranks:
        with pytest.raises(
            SettingError, match=rf"{type(module).__name__} takes \(batch, channels, .*\), got shape \(2,"
        ):
            module(torch.ones([2] * ndim))


@pytest.mark.filterwarnings("ignore:dropout.d")
@pytest.mark.parametrize("kind", [nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout])
@pytest.mark.parametrize("ndim", [1, 2, 3, 4, 5, 6])
def test_every_rank_that_torch_supports_is_dropped_as_in_torch(kind: type[nn.Module], ndim: int) -> None:
    theirs, x = kind(0.5), torch.ones([300, 3, 2, 2, 2, 2][:ndim])
    ours = regtorch.convert_dropout(nn.Sequential(theirs))[0]
    torch.manual_seed(0)
    try:
        wanted = theirs(x)
    except RuntimeError:
        with pytest.raises(SettingError, match="got"):
            ours(x)
        return
    for found in (ours(x), wanted):  # in both the same dimensions have separate draws
        gone = (found == found.min()).double()
        assert gone.mean() == pytest.approx(0.5, abs=0.1)
        for dim in range(ndim):
            along = gone.movedim(dim, 0)
            other = (wanted == wanted.min()).movedim(dim, 0)
            assert bool((along == along[:1]).all()) == bool((other == other[:1]).all()), dim


def test_feature_alpha_needs_channels() -> None:
    with pytest.raises(SettingError, match=r"got \(3,\)"):
        regtorch.FeatureAlphaDropout(drop_prob=0.1)(torch.ones(3))


@pytest.mark.parametrize("couple_channels", [False, True])
@pytest.mark.parametrize(
    ("sizes", "block"),
    [((9, 9), 3), ((5, 12), 7), ((4, 4), 9), ((8, 8), 1), ((3, 3), 2), ((4, 5, 6), 3), ((3, 2, 2), 2), ((11,), 4)],
)
@pytest.mark.parametrize("drop_prob", [0.05, 0.3, 0.9])
def test_blocks_drop_the_average_unit_with_drop_prob(
    sizes: tuple[int, ...], block: int, drop_prob: float, couple_channels: bool
) -> None:
    y = regtorch.functional.drop_block(
        torch.ones(4000, 3, *sizes),
        drop_prob=drop_prob,
        block_size=block,
        couple_channels=couple_channels,
        generator=seeded(0),
    )
    share = (y == 0).double().flatten(2).mean(2)
    if couple_channels:
        assert torch.equal(y, y[:, :1].expand_as(y))
        share = share[:, 0]
    assert share.mean() == pytest.approx(drop_prob, abs=5 * share.std().item() / math.sqrt(share.numel()))


@pytest.mark.parametrize("dims", [2, 3])
def test_blocks_are_blocks(dims: int) -> None:
    drop = {2: regtorch.DropBlock2d, 3: regtorch.DropBlock3d}[dims](drop_prob=0.1, block_size=3)
    drop.generator = seeded(0)
    y = drop(torch.ones(60, 2, *[9, 8, 7][:dims]))
    gone, pool = (y == 0).double(), {2: F.max_pool2d, 3: F.max_pool3d}[dims]
    complete = 1 - pool(1 - gone, 3, stride=1)  # 1 where all of a block of side 3 is gone
    assert torch.equal(pool(F.pad(complete, [2] * 2 * dims), 3, stride=1), gone)


# weights


LAYERS = {
    "linear": (nn.Linear(6, 5), (3, 6)),
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1, groups=2), (3, 4, 7)),
    "conv2d": (nn.Conv2d(4, 6, 3, padding="same", padding_mode="circular"), (3, 4, 7, 7)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2), (3, 4, 5, 5)),
}


@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)
def test_drop_connect_uses_one_masked_weight_for_the_batch(layer: nn.Module, shape: tuple[int, ...]) -> None:
    drop, x = regtorch.DropConnect(layer, drop_prob=0.4), torch.randn(shape)
    assert [name for name, _ in drop.named_parameters()] == ["layer.weight", "layer.bias"]
    drop.generator = seeded(3)
    y = drop(x)
    weight = regtorch.functional.drop_connect(layer.weight, drop_prob=0.4, generator=seeded(3))
    assert torch.equal(y, torch.func.functional_call(layer, {"weight": weight}, x))
    assert torch.equal(drop.eval()(x), layer(x))
    y.sum().backward()
    assert torch.equal(layer.weight.grad == 0, weight == 0)


def test_drop_connect_around_a_layer() -> None:
    free = regtorch.DropConnect(keep_prob=0.7)
    with pytest.raises(SettingError, match="wraps no layer"):
        free(torch.ones(2, 3))
    layer = nn.Linear(3, 2).requires_grad_(False)
    bound = free.around(layer)
    assert bound.layer is layer
    assert bound.drop_prob == 0.3
    assert free.layer is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert bound(torch.ones(2, 3)).dtype == layer(torch.ones(2, 3)).dtype == torch.bfloat16
    with pytest.raises(SettingError, match="weights=recurrent is not allowed: a Linear has no recurrent weights"):
        regtorch.DropConnect(nn.Linear(2, 2), drop_prob=0.1, weights="recurrent")
    with pytest.raises(SettingError, match="got ReLU"):
        regtorch.DropConnect(nn.ReLU(), drop_prob=0.1)
    with pytest.raises(NamingError, match=r"write drop_prob=0\.3"):
        regtorch.DropConnect(nn.Linear(2, 2), 0.3)


@pytest.mark.parametrize("weights", ["all", "recurrent"])
@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2),
        nn.GRU(3, 4, batch_first=True),
        nn.RNN(3, 4, bias=False),
        nn.LSTMCell(3, 4),
        nn.GRUCell(3, 4),
    ],
    ids=lambda layer: type(layer).__name__ if isinstance(layer, nn.Module) else layer,
)
def test_drop_connect_of_recurrent_layers(layer: nn.Module, weights: str) -> None:
    drop = regtorch.DropConnect(layer, drop_prob=0.4, weights=weights)
    x = torch.randn((5, 3) if isinstance(layer, nn.RNNCellBase) else (2, 5, 3))
    before = {name: value.clone() for name, value in drop.named_parameters()}
    drop.generator = seeded(3)
    y = first(drop(x))
    generator, twin = seeded(3), deepcopy(layer)
    with torch.no_grad():
        for name, w in twin.named_parameters():
            if name.startswith("weight_hh" if weights == "recurrent" else "weight"):
                w.copy_(regtorch.functional.drop_connect(w, drop_prob=0.4, generator=generator))
    torch.testing.assert_close(y, first(twin(x)))
    y.sum().backward()
    assert all((w.grad is not None) for name, w in layer.named_parameters() if name.startswith("weight_hh"))
    assert torch.equal(first(drop.eval()(x)), first(layer(x)))
    assert all(torch.equal(before[name], value) for name, value in drop.named_parameters())


def first(output: torch.Tensor | tuple) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


# arguments


@settings(max_examples=200, deadline=None)
@given(thousandths=st.integers(0, 1000))
def test_both_probabilities_read_as_written(thousandths: int) -> None:
    drop_prob, keep_prob = thousandths / 1000, (1000 - thousandths) / 1000
    for module in (regtorch.Dropout(drop_prob=drop_prob), regtorch.Dropout(keep_prob=keep_prob)):
        assert (module.drop_prob, module.keep_prob) == (drop_prob, keep_prob)
        assert repr(module) == f"Dropout(drop_prob={drop_prob}, keep_prob={keep_prob})"


@settings(max_examples=100, deadline=None)
@given(
    value=st.one_of(st.floats(), st.integers(-3, 3), st.booleans(), st.text(max_size=3), st.none()),
    key=st.sampled_from(["drop_prob", "keep_prob"]),
)
def test_only_probabilities_are_accepted(value: object, key: str) -> None:
    fine = type(value) in (int, float) and 0 <= value <= 1
    if fine:
        assert getattr(regtorch.Dropout(**{key: value}), key) == pytest.approx(value)
    else:
        with pytest.raises(SettingError):
            regtorch.Dropout(**{key: value})


def test_an_unknown_argument_lists_the_known_ones() -> None:
    with pytest.raises(
        SettingError,
        match=r"inplace=True: DropBlock2d has no such setting; it has: drop_prob, keep_prob, block_size, couple_",
    ):
        regtorch.DropBlock2d(drop_prob=0.1, inplace=True)


def test_uniform_noise_of_complex_inputs_is_real() -> None:
    x = torch.full((1000, 10), 3 + 4j)
    y = uniform_dropout(x, drop_prob=0.5)
    factors = y / x
    assert factors.imag.abs().max() < 1e-6
    assert factors.real.std().item() == pytest.approx(1.0, rel=0.05)
