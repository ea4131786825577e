"""Layouts and arrangements against NumPy, with random shapes, orders and flattenings."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from regtorch.keras.layout import Arrangement, Layout
from regtorch.keras.padding import same_padding, symmetric_same

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@st.composite
def layouts(draw) -> Layout:
    shape = draw(shapes)
    return Layout(tuple(shape), tuple(draw(st.permutations(range(len(shape))))))


def in_torch(keras: np.ndarray, layout: Layout) -> np.ndarray:
    """A batch of one in torch's order."""
    return keras.transpose(0, *(1 + axis for axis in layout.order))


@given(layouts())
def test_sizes_and_dims_are_those_of_the_transposed_tensor(layout):
    keras = np.zeros((1, *layout.shape))
    assert in_torch(keras, layout).shape[1:] == layout.sizes
    for axis in range(layout.rank):
        assert layout.sizes[layout.dim(axis) - 1] == layout.shape[axis]
        assert layout.dim(axis - layout.rank) == layout.dim(axis)


@given(layouts(), st.data())
def test_features_map_flattened_entries_to_keras(layout, data):
    before = data.draw(st.permutations(range(layout.rank)))
    keras = np.arange(np.prod(layout.shape)).reshape(1, *layout.shape)
    flat_in_keras = keras.transpose(0, *(1 + axis for axis in before)).reshape(-1)
    flat_in_torch = in_torch(keras, layout).reshape(-1)
    flat = layout.flattened(before)
    if layout.rank == 1:
        assert flat is layout
    elif flat.features is None:
        np.testing.assert_array_equal(flat_in_torch, flat_in_keras)
    else:
        np.testing.assert_array_equal(flat_in_torch, flat_in_keras[flat.features])


@given(layouts(), st.data())
def test_to_keras_inverts_to_torch(layout, data):
    shape = tuple(int(size) for size in layout.shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    places = np.array(data.draw(st.permutations(range(shape[axis]))))
    flat = (int(np.prod(shape)),) if data.draw(st.booleans()) else None
    arrangement = Arrangement(shape, layout.order, flat, ((axis, places),))
    array = torch.arange(float(np.prod(shape))).reshape(shape)
    parameter = arrangement.to_torch(array)
    assert parameter.shape == arrangement.torch_shape
    np.testing.assert_array_equal(
        parameter, array.numpy().take(places, axis).transpose(layout.order).reshape(arrangement.torch_shape)
    )
    assert torch.equal(arrangement.to_keras(parameter), array)


@given(layouts(), st.data())
def test_norms_over_axes_are_norms_over_dims(layout, data):
    shape = tuple(int(size) for size in layout.shape)
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    arrangement = Arrangement(shape, layout.order)
    array = torch.randn(shape, dtype=torch.float64)
    ours = torch.linalg.vector_norm(arrangement.to_torch(array), dim=arrangement.dims(sorted(axes)), keepdim=True)
    theirs = arrangement.to_torch(torch.linalg.vector_norm(array, dim=sorted(axes), keepdim=True).expand(shape))
    torch.testing.assert_close(ours.expand(arrangement.torch_shape), theirs)


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 5), st.integers(1, 3))
def test_same_padding_results_in_the_right_number_of_windows(size, kernel, stride, dilation):
    before, after = same_padding(size, kernel, stride, dilation)
    reach = dilation * (kernel - 1) + 1
    assert after - before in (0, 1)
    if before + after + size >= reach:
        windows = (size + before + after - reach) // stride + 1
        assert windows == -(-size // stride)
    symmetric = symmetric_same([size], [kernel], [stride], [dilation])
    assert symmetric == ((before,) if before == after else None)
