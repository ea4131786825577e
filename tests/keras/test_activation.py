"""Activations at, just above and just below their breakpoints, against Keras' values.

``tests/reference/activations.npz`` contains ``x`` and the results of Keras 3.15.1 (TensorFlow 2.21): functions under their
names, layers as ``NAME {settings}``; ThresholdedReLU is from tf_keras 2.21.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import regtorch
from tests.keras.mutated_files import archive_of, members_of
from tests.keras.reference import unpack

with np.load(Path(__file__).parent.parent / "reference" / "activations.npz") as _arrays:
    VALUES = dict(_arrays)
X = VALUES.pop("x")


@pytest.mark.parametrize("name", VALUES)
def test_an_activation_matches_keras_at_its_breakpoints(name, tmp_path):
    kind, _, settings = name.partition(" ")
    layer = {
        "module": "keras.layers",
        "class_name": kind if settings else "Activation",
        "config": {"name": "layer", **(json.loads(settings) if settings else {"activation": kind})},
    }
    entry = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, len(X)]}}
    identity = {"module": "keras.layers", "class_name": "Identity", "config": {"name": "end"}}
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "model", "layers": [entry, layer, identity]},
    }
    members = members_of(unpack("a_dense_sequential.keras", tmp_path).read_bytes())
    path = tmp_path / "activation.keras"
    path.write_bytes(archive_of({**members, "config.json": json.dumps(config).encode()}))
    np.testing.assert_allclose(regtorch.from_keras(path).predict(X[None])[0], VALUES[name], rtol=1e-6, atol=1e-6)


def test_every_activation_has_reference_values():
    from regtorch.keras.activation import _ELEMENTWISE

    other_names = {"linear", "swish", "hard_swish"}
    assert set(_ELEMENTWISE) - other_names == {name for name in VALUES if " " not in name}


def test_a_threshold_works_for_other_types(tmp_path):
    from regtorch.keras.activation import ClippedReLU

    x = torch.tensor([4.0, 5.0, 6.0], dtype=torch.bfloat16)
    assert ClippedReLU(None, 0.0, 5.0)(x).tolist() == [0.0, 0.0, 6.0]
    assert ClippedReLU(None, 0.0, 5.0)(x).dtype == torch.bfloat16
