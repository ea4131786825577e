"""The base class that regtorch's optimizers add to torch's."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from regtorch.errors import SettingError, as_one_line
from regtorch.registry.configurable import Configurable
from regtorch.settings import check
from regtorch.tensor_ops.arguments import described

if TYPE_CHECKING:
    _Base = Optimizer
else:
    _Base = object  # a mixin before a torch optimizer


class KerasOptimizer(Configurable, _Base):
    """A mixin for torch optimizers: settings named as in Keras, and the fused kernel on the CPU.

    On the CPU the fused kernel needs about half the time of the others. It is chosen per group. It does not unscale
    gradients: a step that a ``GradScaler`` skips is not called at all.

    Parameter groups use the same names: ``Adam([{"params": kernels, "lr": 1e-4, "beta1": 0.8}])``.

    A sparse gradient, as of ``nn.Embedding(sparse=True)``, yields the same step as a dense one: by torch's sparse code if
    the optimizer supports it, else the gradient is made dense first.

    A subclass must not call ``super().step()``: torch wraps ``step`` on each class, so the hooks of both would run.

    Raises:
        SettingError: `params` is invalid.
    """

    not_settings = frozenset({"params"})

    def __init__(self, params: ParamsT, *args: Any, **kwargs: Any) -> None:
        if isinstance(params, (nn.Module, str, bytes)) or not isinstance(params, Iterable):
            raise SettingError(
                f"params={described(params)} is not allowed: it must contain parameters, or groups of them, such as "
                "model.parameters()"
            )
        try:
            super().__init__(params, *args, **kwargs)
        except (TypeError, ValueError) as error:
            if isinstance(error, SettingError):
                raise
            raise SettingError(f"params={described(params)} is not allowed: {as_one_line(error)}") from None

    def settings(self) -> dict[str, Any]:
        """Name -> value of every constructor argument except the parameters."""
        values = dict(self.defaults)
        values["epsilon"] = values.get("eps")
        values["rho"] = values.get("rho", values.get("alpha"))
        values["beta1"], values["beta2"] = values.get("betas", (None, None))
        return {
            name: values[name] for name in inspect.signature(type(self)).parameters if name not in self.not_settings
        }

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with the settings that the group overrides.

        Raises:
            SettingError: a value outside its range.
        """
        group = dict(param_group)
        check(**{key: value for key, value in group.items() if key != "params"})
        for ours, torchs in (("epsilon", "eps"), ("rho", "alpha")):
            if ours in group and torchs in self.defaults:
                group[torchs] = group.pop(ours)
        if "betas" in self.defaults:
            beta1, beta2 = group.get("betas", self.defaults["betas"])
            group["betas"] = (group.pop("beta1", beta1), group.pop("beta2", beta2))
        super().add_param_group(group)
        _choose_kernel(self.param_groups[-1])

    def _init_group(self, group: dict[str, Any], *tensors: list[Tensor]) -> Any:
        # torch's step calls this to collect the tensors
        try:
            found = super()._init_group(group, *tensors)  # type: ignore[misc]
        except RuntimeError:
            if not _make_dense(group):
                raise
            return self._collect_again(group, *tensors)
        gradients = tensors[1]
        if (group.get("fused") or group["weight_decay"]) and any(gradient.is_sparse for gradient in gradients):
            group["fused"] = None
            if group["weight_decay"] and _make_dense(group):  # torch cannot add weight decay to a sparse gradient
                return self._collect_again(group, *tensors)
        return found

    def _collect_again(self, group: dict[str, Any], *tensors: list[Tensor]) -> Any:
        for collected in tensors:
            collected.clear()
        return super()._init_group(group, *tensors)  # type: ignore[misc]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a checkpoint may come from another device
            _choose_kernel(group)


def _make_dense(group: dict[str, Any]) -> bool:
    """Make the sparse gradients of a group dense; return whether there were any."""
    found = [w for w in group["params"] if w.grad is not None and w.grad.is_sparse]
    for w in found:
        w.grad = w.grad.to_dense()
    return bool(found)


def _choose_kernel(group: dict[str, Any]) -> None:
    if "fused" in group:
        group["fused"] = all(map(_fits_fused, group["params"])) or None


def _fits_fused(w: Tensor) -> bool:
    return type(w) in (Tensor, nn.Parameter) and w.device.type == "cpu" and torch.is_floating_point(w)
