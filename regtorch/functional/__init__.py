"""Pure functions of tensors. Each file contains one formula, under its own name."""

from pathlib import Path as _Path

from regtorch.lazy_package import make_lazy as _make_lazy

#: files with code that several formulas share
_SHARED = {
    "generator_kwargs",
    "full_precision",
    "keep_mask",
    "masked",
    "rounding",
    "scaled",
    "sharded",
    "summed",
    "transformed",
    "unit_norms",
}
#: functions that fill a weight in place; their names end with an underscore, as in torch
_IN_PLACE = {"identity_kernel", "orthogonal_matrix", "truncated_normal", "variance_scaling"}

_files = sorted(_path.stem for _path in _Path(__file__).parent.glob("[!_]*.py") if _path.stem not in _SHARED)
_make_lazy(__name__, {f"{_name}_" if _name in _IN_PLACE else _name: f"{__name__}.{_name}" for _name in _files})
