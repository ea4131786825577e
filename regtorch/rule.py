"""The common base of regularizers and constraints: settings, and the place where they are bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from regtorch.registry.configurable import Configurable
from regtorch.tensor_ops.arguments import check_tensor

#: where a rule is bound: "kernel", "bias", "all", a glob over names, "kernel:<glob>", or a callable
Where = str | Callable[[nn.Module, str, nn.Parameter], bool]


class Rule(Configurable, nn.Module):
    """A function of one tensor with settings, and optionally the place (`where`) to bind it."""

    #: the place given in a configuration; a binding without `where=` uses it, or else "kernel"
    where: Where | None = None
    #: whether the formula reads a weight as one row per output unit, so that transposed convolutions are permuted first
    by_unit: ClassVar[bool] = False

    if TYPE_CHECKING:

        def __call__(self, w: Tensor) -> Tensor:
            """Call `forward`."""
    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Apply the rule to one tensor.

            Raises:
                SettingError: the argument is not a tensor.
            """
            if args:
                check_tensor(args[0], type(self).__name__)
            return super().__call__(*args, **kwargs)

    @classmethod
    def from_config(cls, *, where: Where | None = None, **settings: Any) -> Any:
        """Build one from a configuration node's settings, `where` among them."""
        rule = super().from_config(**settings)
        rule.where = where
        return rule

    def extra_repr(self) -> str:
        """The settings, as the constructor takes them."""
        shown = {key: value for key, value in self.settings().items() if key != "rules"}  # they are shown as submodules
        shown = shown if self.where is None else {**shown, "where": self.where}
        return ", ".join(f"{key}={value}" for key, value in shown.items())
