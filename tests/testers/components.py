"""All registered components with valid settings, for tests over all of them."""

from __future__ import annotations

from typing import Any

from regtorch import available, create

#: settings of components that need some
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "regularizer": {
        "activity": {"regularizer": {"name": "l1", "l1": 0.1}},
        "several": {"rules": [{"name": "l1", "l1": 0.1}, {"name": "group_lasso", "strength": 0.2}]},
    },
    "constraint": {"several": {"rules": [{"name": "soft_threshold"}, {"name": "max_norm", "max_value": 1.0}]}},
}


def made(kind: str, name: str) -> Any:
    """A component of this name."""
    return create(kind, name, **SETTINGS.get(kind, {}).get(name, {}))


REGULARIZERS = available("regularizer")
CONSTRAINTS = available("constraint")
OPTIMIZERS = available("optimizer")
