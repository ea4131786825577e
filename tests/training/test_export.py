"""Exported networks take stored rows or scaled rows, as described in their metadata."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import regtorch
from regtorch.data.base import DataSet
from regtorch.data.batches import BatchDataset
from regtorch.data.further_rows import NetworkInput
from regtorch.training.export import Preprocess, export
from tests.testers.tiers import every

RNG = np.random.default_rng(0)
#: stored rows, their standardization, and the expected metadata
CASES = {
    "years, which are large beside their deviation": (RNG.normal(2e4, 1e-1, (40, 5)), "train", "(x - mean) / std"),
    "floats as they are": (RNG.normal(3, 2, (40, 5)), "none", ""),
    "pixels": (RNG.integers(0, 256, (40, 3, 8, 8), np.uint8), "none", "x / 255"),
    "standardized pixels": (RNG.integers(0, 256, (40, 3, 8, 8), np.uint8), "all", "(x - mean) / std"),
    "standardized pixels of vectors": (RNG.integers(0, 256, (40, 6), np.uint8), "train", "(x - mean) / std"),
    "channels last": (RNG.integers(0, 256, (40, 6, 7, 3), np.uint8), "none", "x / 255, nhwc to nchw"),
    "channels last, standardized": (RNG.normal(3, 2, (40, 6, 7, 4)), "train", "(x - mean) / std, nhwc to nchw"),
    "channels last, as they are": (RNG.normal(3, 2, (40, 6, 7, 3)), "none", "x, nhwc to nchw"),
    "gray": (RNG.integers(0, 256, (40, 6, 7), np.uint8), "all", "(x - mean) / std, nhw to nchw"),
    "gray, as they are": (RNG.normal(3, 2, (40, 6, 7)), "none", "x, nhw to nchw"),
}

IMAGES = [case for case in CASES if CASES[case][0].ndim > 2]


def data_of(folder: Path, rows: np.ndarray, standardize: str) -> DataSet:
    y = np.arange(40) % 3
    np.savez(folder / "my.npz", x_train=rows, y_train=y, x_test=rows, y_test=y)
    data: DataSet = regtorch.create("data", "arrays", path=str(folder / "my.npz"), standardize=standardize)
    return data


@pytest.mark.parametrize(("rows", "standardize", "formula"), CASES.values(), ids=CASES)
def test_stored_rows_become_the_network_s_input(
    rows: np.ndarray, standardize: str, formula: str, tmp_path: Path
) -> None:
    data = data_of(tmp_path, rows, standardize)
    preprocessing = data.preprocessing()
    assert preprocessing is not None
    expected = BatchDataset(data.load().test).__getitems__(range(40))[0]
    torch.testing.assert_close(
        Preprocess(preprocessing)(torch.from_numpy(rows.astype("f4"))), expected, rtol=1e-5, atol=1e-6
    )


def opened(path: Path) -> tuple[Any, dict[str, str]]:
    """Return a function of rows, and the metadata."""
    if path.suffix == ".pt2":
        files = {"metadata.json": ""}
        module = torch.export.load(path, extra_files=files).module()
        return lambda x: module(torch.from_numpy(x)).detach().numpy(), json.loads(files["metadata.json"])
    runtime = pytest.importorskip("onnxruntime", reason="an extra of its own: pip install 'regtorch[onnx]'")
    session = runtime.InferenceSession(str(path))
    return lambda x: session.run(None, {"x": x})[0], session.get_modelmeta().custom_metadata_map


@pytest.mark.parametrize(
    ("case", "suffix", "preprocess"),
    every(
        3, product(["floats as they are", "standardized pixels of vectors", *IMAGES], [".pt2", ".onnx"], [True, False])
    ),
)
def test_files_take_rows_as_they_say(case: str, suffix: str, preprocess: bool, tmp_path: Path) -> None:
    rows, standardize, formula = CASES[case]
    data = data_of(tmp_path, rows, standardize)
    model = regtorch.create("model", "mlp", shape=data.load().shape, classes=3, hidden=[4]).eval()
    export(model, NetworkInput.of(data), tmp_path / f"model{suffix}", preprocess=preprocess)
    function, about = opened(tmp_path / f"model{suffix}")
    scaled = BatchDataset(data.load().test).__getitems__(range(40))[0]
    expected = model(scaled).detach().numpy()
    given = rows.astype("f4") if preprocess else scaled.numpy()
    np.testing.assert_allclose(function(given), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(function(given[:3]), expected[:3], rtol=1e-4, atol=1e-5)
    assert json.loads(about["class_names"]) == ["0", "1", "2"]
    assert about["output_transform"] == "softmax"
    included = "included: " if preprocess else "not included: "
    assert about["preprocessing"] == (included + formula if formula else "none")
    assert ("mean" in about) == ("mean" in formula)
    assert json.loads(about["input_shape"]) == ["batch", *given.shape[1:]]
    layout = {3: "nhw", 4: "nhwc" if "nhwc" in formula else "nchw"}.get(rows.ndim)
    assert about.get("stored_layout") == layout
    assert about.get("input_layout") == (layout if preprocess or layout is None else "nchw")


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_layout_that_is_given_is_that_of_the_file(layout: str, tmp_path: Path) -> None:
    rows = RNG.integers(0, 256, (40, 3, 6, 3), np.uint8)  # its shape does not tell
    y = np.arange(40) % 3
    np.savez(tmp_path / "my.npz", x_train=rows, y_train=y, x_test=rows, y_test=y)
    data = regtorch.create("data", "arrays", path=str(tmp_path / "my.npz"), layout=layout)
    described = {"shape": list(data.load().shape), "classes": 3, "data": {"name": "arrays"}, **data.described()}
    network = NetworkInput.of_checkpoint(described)
    assert network is not None
    assert network.preprocessing is not None
    expected = BatchDataset(data.load().test).__getitems__(range(40))[0]
    assert Preprocess(network.preprocessing)(torch.from_numpy(rows.astype("f4"))).equal(expected)


def test_weights_have_the_scaling_in_their_metadata(tmp_path: Path) -> None:
    data = data_of(tmp_path, CASES["pixels"][0], "train")
    model = regtorch.create("model", "mlp", shape=data.load().shape, classes=3, hidden=[4])
    export(model, NetworkInput.of(data), tmp_path / "model.pt", preprocess=True)
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    regtorch.plain(model).load_state_dict(weights)
    assert weights._metadata["regtorch"]["preprocessing"] == "not included: (x - mean) / std"
