"""Predictions, penalties, training and predictions after training, against Keras, layer by layer."""

import numpy as np
import pytest
import torch

from regtorch.keras import KerasPort
from tests.keras.reference import arrays_of, cases, inputs_of, listed, loss_of, port_of, several, silence

MODELS = [name for name, case in cases().items() if case["kind"] == "model"]
OPTIMIZERS = [name for name, case in cases().items() if case["kind"] == "optimizer"]

#: Keras rounds in layers of half precision, while the ported model computes in float32
HALF = {"mixed_bfloat16": 5e-2, "bfloat16": 5e-2, "mixed_float16": 5e-3, "float16": 5e-3}


def close(ours: list[np.ndarray], keras: list[np.ndarray], tolerance: float) -> None:
    for mine, theirs in zip(ours, keras, strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_array_less(np.abs(mine - theirs) / np.maximum(1, np.abs(theirs)), tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_predicts_and_trains_as_in_keras(name, tmp_path):
    case, arrays, port = cases()[name], arrays_of(name), port_of(name, tmp_path)
    inputs = inputs_of(port, arrays)
    policy = str(case.get("policy"))
    tolerance = next((bound for half, bound in HALF.items() if half in policy), 1e-5)
    close(listed(port.predict(inputs)), several(arrays, "predicted"), tolerance)

    port.model.eval()
    tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in inputs]
    port.model(*tensors)
    if "losses" in arrays and tolerance == 1e-5:
        assert port.penalty().item() == pytest.approx(float(arrays["losses"]), rel=1e-6, abs=1e-9)
    if "trajectory" not in arrays or case.get("unstable"):
        return
    optimizer = torch.optim.SGD(port.model.parameters(), lr=case["lr"])
    losses = train(port, case, optimizer, tensors, several(arrays, "y"), steps=10)
    close([np.array(losses)], [arrays["trajectory"]], 1e-4)
    close(listed(port.predict(inputs)), several(arrays, "predicted_after"), 1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_optimizer_resumes_as_in_keras(name, tmp_path):
    case, arrays, port = cases()[name], arrays_of(name), port_of(name, tmp_path)
    inputs = inputs_of(port, arrays)
    close(listed(port.predict(inputs)), several(arrays, "predicted"), 1e-5)
    tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in inputs]
    losses = train(port, case, port.optimizer, tensors, several(arrays, "y"), steps=5)
    close([np.array(losses)], [arrays["opt_trajectory"]], 1e-4)
    close(listed(port.predict(inputs)), several(arrays, "predicted_after"), 1e-4)


def train(
    port: KerasPort, case: dict, optimizer: torch.optim.Optimizer, inputs: list, targets: list, steps: int
) -> list[float]:
    silence(port)
    for constraint in port.constraints:
        constraint.attach(optimizer)
    port.model.train()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(case, port, inputs, targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_every_translator_is_exercised():
    """The reference contains every supported layer."""
    from regtorch.keras.translation import TRANSLATORS

    seen = {layer for case in cases().values() for layer in case["layers"]}
    assert set(TRANSLATORS) - seen == set()
