from pathlib import Path

import pytest
import torch
import yaml

from regtorch import create
from regtorch.errors import SettingError
from regtorch.registry import available

CONF = Path(__file__).parents[2] / "conf/augmentation"
NAMES = available("augmentation")


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.rand(200, 3, 9, 8) + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_conf_and_class_have_the_same_defaults(name):
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert create("augmentation", **node).to_config() == node == create("augmentation", name).to_config()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_shape_type_and_memory_format_are_preserved_and_the_batch_is_not_changed(x, name, dtype, memory):
    x = x.to(dtype).contiguous(memory_format=memory)
    before = x.clone()
    out = create("augmentation", name)(x)
    assert out.shape == x.shape
    assert out.dtype == dtype
    assert out.is_contiguous(memory_format=memory)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_results_depend_on_the_seed(x, name):
    def draw(seed):
        torch.manual_seed(seed)
        return create("augmentation", name)(x)

    assert torch.equal(draw(1), draw(1))
    assert torch.equal(draw(1), draw(2)) == (name == "none")


@pytest.mark.parametrize("name", NAMES)
def test_each_image_has_a_separate_draw(name):
    """A batch of equal images does not become a batch of equal images."""
    torch.manual_seed(0)
    out = create("augmentation", name)(torch.rand(1, 3, 9, 8).repeat(100, 1, 1, 1))
    assert (out == out[:1]).all() == (name == "none")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_vectors_are_an_error(name):
    with pytest.raises(SettingError, match=rf"augmentation={name} needs images .* \(20,\); use augmentation=none"):
        create("augmentation", name)(torch.rand(4, 20))


def test_none_takes_vectors():
    x = torch.rand(4, 20)
    assert create("augmentation", "none")(x) is x


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("flip", {"flip_prob": 1.5}),
        ("crop", {"padding": -1}),
        ("cutout", {"length": 0}),
        ("standard", {"padding": 0.5}),
        ("flip", {"p": 0.5}),
    ],
)
def test_bad_settings_are_named(name, setting):
    with pytest.raises(SettingError, match=next(iter(setting))):
        create("augmentation", name, **setting)


@pytest.mark.parametrize("flip_prob", [0.0, 0.3, 1.0])
def test_flip_flips_images_with_the_given_probability(x, flip_prob):
    out = create("augmentation", "flip", flip_prob=flip_prob)(x)
    flipped = (out == x.flip(-1)).flatten(1).all(1)
    same = (out == x).flatten(1).all(1)
    assert (flipped ^ same).all()
    assert abs(flipped.float().mean() - flip_prob) <= 4 * (flip_prob * (1 - flip_prob) / len(x)) ** 0.5


def test_crop_shifts_and_fills_with_zeros(x):
    padding = 2
    out = create("augmentation", "crop", padding=padding)(x)
    padded = torch.nn.functional.pad(x, (padding,) * 4)
    seen = set()
    for image, source in zip(out, padded, strict=True):
        places = [(i, j) for i in range(5) for j in range(5) if torch.equal(image, source[:, i : i + 9, j : j + 8])]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == 25


def test_crop_without_padding_is_the_identity(x):
    assert torch.equal(create("augmentation", "crop", padding=0)(x), x)


@pytest.mark.parametrize("length", [1, 3, 4, 100])
def test_cutout_zeroes_one_square_in_all_channels(x, length):
    out = create("augmentation", "cutout", length=length)(x)
    gone = out == 0
    assert torch.equal(out, torch.where(gone, 0.0, x))
    assert (gone == gone[:, :1]).all()
    rows, columns = gone[:, 0].any(2), gone[:, 0].any(1)
    assert torch.equal(gone[:, 0], rows[:, :, None] & columns[:, None, :])
    for side in (rows, columns):
        counts, size = side.sum(1), side.shape[1]
        assert counts.max() == min(length, size)
        assert counts.min() >= min(size, length // 2)
        starts = side.float().argmax(1)
        assert all(line[start : start + count].all() for line, start, count in zip(side, starts, counts, strict=True))


def test_cutout_reaches_every_pixel(x):
    torch.manual_seed(0)
    gone = create("augmentation", "cutout", length=1)(torch.ones(5000, 1, 4, 4)) == 0
    torch.testing.assert_close(gone.float().mean(0), torch.full((1, 4, 4), 1 / 16), atol=0.02, rtol=0)
