"""The contenders of mc.py: the two networks, and each way to sample them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from math import isqrt
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import regtorch
from regtorch.config.compose import compose
from regtorch.training.build import make_model

#: rows times samples per pass in a batch mode: 1,000 images x 100 samples at once would need about 30 GB
BATCH_MODE_ROWS = 2_000


class Moments(NamedTuple):
    """Mean and standard deviation of the class probabilities over the samples, (rows, classes) each."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Network:
    """One network, built by regtorch and from plain torch layers with the same weights.

    Args:
        kind: cnn or mlp.
        model: regtorch's module, in eval mode.
        plain: the network of plain torch layers, in eval mode.
        ordinary: the plain network with ordinary dropout, for libraries that support no other.
        drop_prob: probability of its dropouts.
        shape: shape of one row.
    """

    kind: Literal["cnn", "mlp"]
    model: nn.Module
    plain: nn.Sequential
    ordinary: nn.Sequential
    drop_prob: float
    shape: tuple[int, ...]

    def batch(self, rows: int) -> Tensor:
        return torch.randn(rows, *self.shape, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Contender:
    """One way to predict.

    Args:
        name: name in the table.
        run: computes and returns the moments.
        expected: the moments that it should return, up to chance; None for the one that the others are compared with.
        slow: whether it runs in fewer rounds.
    """

    name: str
    run: Callable[[], Moments]
    expected: Moments | None = None
    slow: bool = True


def cifar10_cnn() -> Network:
    """The network of the recipe cifar10_l2_dropout."""
    shape = (3, 32, 32)
    model = _build_recipe(shape, "experiment=cifar10_l2_dropout")
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding="same"), nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if outputs < 128 else []
    layers += [nn.Flatten(), nn.Linear(128 * 8 * 8, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10)]
    plain = _with_weights_of(model, nn.Sequential(*layers))
    return Network("cnn", model, plain, plain, 0.5, shape)


def fashion_mlp() -> Network:
    """784-300-100-10 of the recipe fashion_alpha_dropout, but with less dropout."""
    shape = (28, 28)
    overrides = ["dropout.drop_prob=0.1", "input_dropout.drop_prob=0.1"]
    model = _build_recipe(shape, "experiment=fashion_alpha_dropout", *overrides)

    def layers(dropout: type[nn.Module]) -> nn.Sequential:
        found: list[nn.Module] = [nn.Flatten(), dropout(0.1)]
        for inputs, outputs in ((784, 300), (300, 100)):
            found += [nn.Linear(inputs, outputs), nn.SELU(), dropout(0.1)]
        return _with_weights_of(model, nn.Sequential(*found, nn.Linear(100, 10)))

    return Network("mlp", model, layers(nn.AlphaDropout), layers(nn.Dropout), 0.1, shape)


def wide_head() -> Network:
    """784-2048-1000: the sampled part writes more than the deterministic part."""
    shape = (28, 28)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(784, 2048), nn.ReLU(), nn.Dropout(0.5), nn.Linear(2048, 1000)).eval()
    return Network("mlp", plain, plain, plain, 0.5, shape)


NETWORKS: dict[str, Callable[[], Network]] = {"cifar10 cnn": cifar10_cnn, "fashion mlp": fashion_mlp}


def _build_recipe(shape: tuple[int, ...], *overrides: str) -> nn.Module:
    torch.manual_seed(0)
    return make_model(compose([*overrides]), shape, 10).eval()


def _with_weights_of(model: nn.Module, plain: nn.Sequential) -> nn.Sequential:
    """Copy the weights; the layers have the same order."""
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    return plain.eval()


def forward(model: nn.Module, x: Tensor, times: int = 1) -> Moments:
    """Run deterministic passes, and return the moments of the last one."""
    with torch.no_grad():
        for _ in range(times):
            probabilities = model(x).softmax(1)
    return Moments(probabilities, torch.zeros_like(probabilities))


def moments(logits: Tensor) -> Moments:
    """Compute the moments of logits (samples, rows, classes)."""
    probabilities = logits.softmax(-1)
    return Moments(probabilities.mean(0), probabilities.std(0, correction=0))


def with_active_dropout(model: nn.Module) -> nn.Module:
    """Return a copy with dropouts in training mode, and everything else in eval mode."""
    model = deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ == "StochasticDepth":
            module.train()
    return model


def plain_loop(model: nn.Module, x: Tensor, samples: int) -> Callable[[], Moments]:
    model = with_active_dropout(model)

    def run() -> Moments:
        with torch.no_grad():
            return moments(torch.stack([model(x) for _ in range(samples)]))

    return run


def baal_loop(model: nn.Module, x: Tensor, samples: int) -> Callable[[], Moments]:
    from baal import ModelWrapper
    from baal.bayesian.dropout import MCDropoutModule
    from baal.modelwrapper import TrainingArgs

    arguments = TrainingArgs(use_cuda=False, replicate_in_memory=False)
    wrapper = ModelWrapper(MCDropoutModule(deepcopy(model)).eval(), arguments)
    return lambda: moments(wrapper.predict_on_batch(x, iterations=samples).movedim(-1, 0))


def torch_uncertainty(
    model: nn.Module, x: Tensor, samples: int, on_batch: bool, rows_at_once: int | None = None
) -> Callable[[], Moments]:
    from torch_uncertainty.methods.mc_dropout import mc_dropout

    wrapper = mc_dropout(deepcopy(model), num_estimators=samples, on_batch=on_batch).eval()
    at_once = rows_at_once or (max(1, BATCH_MODE_ROWS // samples) if on_batch else len(x))

    def run() -> Moments:
        with torch.no_grad():
            parts = [moments(wrapper(rows).unflatten(0, (samples, len(rows)))) for rows in x.split(at_once)]
        return Moments(*map(torch.cat, zip(*parts, strict=True)))

    return run


def regtorch_predictor(
    model: nn.Module, x: Tensor, samples: int, masks: Literal["shared", "independent"]
) -> Callable[[], Moments]:
    predictor = regtorch.MCPredictor(model, samples=samples, masks=masks, progress=False)

    def run() -> Moments:
        predicted = predictor(x)
        return Moments(predicted.mean, predicted.std)

    return run


class Keras:
    """A child process in Keras' own environment, which computes on command."""

    def __init__(self, child: subprocess.Popen[str], errors: Path) -> None:
        self._child, self._errors = child, errors
        self.versions = self._answer()

    def run(self, command: Literal["forward", "samples"]) -> None:
        """Compute, and wait for the end."""
        self._ask(command)

    def moments(self) -> Moments:
        """Fetch the moments of the latest run."""
        answer = self._ask("moments")
        return Moments(torch.tensor(answer["mean"]), torch.tensor(answer["std"]))

    def _ask(self, command: str) -> dict[str, list[list[float]]]:
        assert self._child.stdin is not None
        print(command, file=self._child.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, list[list[float]]]:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.startswith("{"):
                answer: dict[str, list[list[float]]] = json.loads(line)
                return answer
        raise RuntimeError(f"Keras' process ended with {self._child.wait()}:\n{self._errors.read_text()}")


@contextmanager
def keras_process(python: str, network: Network, x: Tensor, samples: int) -> Iterator[Keras]:
    """Start Keras' Python with the same network and weights."""
    arrays = {"x": np.ascontiguousarray(x.movedim(1, -1)) if x.ndim == 4 else x.numpy()}
    arrays |= {f"{layer}.{part}": w for layer, ws in enumerate(_for_keras(network.plain)) for part, w in enumerate(ws)}
    script = Path(__file__).with_name("mc_keras.py")
    with tempfile.TemporaryDirectory() as folder:
        request = Path(folder, "request.npz")
        np.savez(request, network=network.kind, drop_prob=network.drop_prob, samples=samples, **arrays)  # type: ignore[arg-type]
        command, errors = [python, str(script), str(request)], Path(folder, "errors.txt")
        with (
            errors.open("w") as file,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True) as child,
        ):
            yield Keras(child, errors)


def _for_keras(plain: nn.Sequential) -> Iterator[list[np.ndarray]]:
    """The weights of each layer with weights, in Keras' order: channels last."""
    channels = 0
    for layer in plain:
        weights = [weight.detach() for weight in layer.state_dict().values()][:4]
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
            weights[0] = weights[0].permute(2, 3, 1, 0)
        elif isinstance(layer, nn.Linear):
            if channels:  # the order of flattened features differs
                side = isqrt(layer.in_features // channels)
                weights[0] = weights[0].unflatten(1, (channels, side, side)).movedim(1, -1).flatten(1)
                channels = 0
            weights[0] = weights[0].T
        if weights:
            yield [np.ascontiguousarray(weight.numpy()) for weight in weights]


def torch_contenders(network: Network, x: Tensor, samples: int) -> list[Contender]:
    """All contenders except Keras, for the installed libraries."""
    loop = plain_loop(network.plain, x, samples)
    expected = loop()
    contenders = [
        Contender("regtorch, one forward", lambda: forward(network.model, x), forward(network.plain, x), slow=False),
        Contender(
            "regtorch, shared masks", regtorch_predictor(network.model, x, samples, "shared"), expected, slow=False
        ),
        Contender(
            "regtorch, independent masks",
            regtorch_predictor(network.model, x, samples, "independent"),
            expected,
            slow=False,
        ),
        Contender("torch, plain loop", loop),
    ]
    if find_spec("baal"):
        others = expected if network.ordinary is network.plain else plain_loop(network.ordinary, x, samples)()
        name = "baal" if network.ordinary is network.plain else "baal (ordinary dropout)"
        contenders.append(Contender(name, baal_loop(network.ordinary, x, samples), others))
    if find_spec("torch_uncertainty"):
        for name, on_batch in (("loop", False), ("batch", True)):
            run = torch_uncertainty(network.plain, x, samples, on_batch)
            contenders.append(Contender(f"torch-uncertainty, {name}", run, expected))
    return contenders


def not_installed(keras: str | None) -> list[str]:
    missing = [name for name in ("baal", "torch_uncertainty") if not find_spec(name)]
    return missing if keras else [*missing, "keras (its Python: --keras)"]
