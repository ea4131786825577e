"""Interpolations (``${...}``) in configurations: those from a run's folder are resolved without running a resolver."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from regtorch.errors import DataError
from regtorch.system.untrusted import check_bounded

if TYPE_CHECKING:
    from omegaconf import DictConfig

#: a reference to another key of the same configuration, from its root
_KEY = re.compile(r"(?<!\\)\$\{(\w+(?:\.\w+)*)\}")
_RESOLVER = re.compile(r"(?<!\\)\$\{")  # after references to keys have been removed
_MOST_STEPS = 8  # references from one key to the next
_MOST_CHARACTERS = 1_000_000  # of all resolved strings together


def resolve_references(config: Any) -> Any:
    """Resolve references between keys in a configuration of plain containers.

    Resolvers such as ``${oc.env:NAME}``, which reads the environment, are left as they are, because the folder may be
    untrusted.

    Raises:
        DataError: references form a long chain or a cycle, name a missing key, or expand to too much text.

    Example:
        >>> resolve_references({"seed": 3, "data": {"split_seed": "${seed}", "path": "${oc.env:HOME}/rows-${seed}.npz"}})
        {'seed': 3, 'data': {'split_seed': 3, 'path': '${oc.env:HOME}/rows-3.npz'}}
    """
    left = _MOST_CHARACTERS

    def of_key(key: str) -> Any:
        node = config
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                raise DataError(f"${{{key}}} refers to a missing key")
            node = node[part]
        return node

    def walk(node: Any, steps: int) -> Any:
        nonlocal left
        left -= len(node) + 1 if isinstance(node, str) else 1
        if left < 0 or steps > _MOST_STEPS:
            raise DataError("its interpolations form a cycle or a long chain, or expand to too much text")
        if isinstance(node, dict):
            return {key: walk(value, steps) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value, steps) for value in node]
        if not isinstance(node, str):
            return node
        if reference := _KEY.fullmatch(node):
            return walk(of_key(reference[1]), steps + 1)
        return _KEY.sub(lambda found: str(walk(of_key(found[1]), steps + 1)), node).replace("\\${", "${")

    found = walk(config, 0)
    check_bounded(found)
    return found


def runs_resolver(text: str) -> bool:
    r"""Whether a string has an interpolation other than a reference to a key.

    Example:
        >>> runs_resolver("${seed}"), runs_resolver("${oc.env:HOME}"), runs_resolver("${a.${b}}"), runs_resolver("a$b")
        (False, True, True, False)
        >>> runs_resolver(r"\${oc.env:HOME}")  # escaped, but resolving once removes the escape
        True
    """
    return "${" in _KEY.sub("", text)


def without_resolvers(config: DictConfig) -> Any:
    """Return a configuration as stored in a run's folder: resolvers are replaced by their values, key references stay.

    Exception: the URL of a database of trials stays unresolved, because it may hold a password from the environment.
    """
    from omegaconf import OmegaConf

    written = OmegaConf.to_container(config, resolve=False)

    def walk(node: Any, key: str) -> Any:
        if isinstance(node, dict):
            return {name: walk(value, f"{key}.{name}" if key else str(name)) for name, value in node.items()}
        if isinstance(node, list):
            return [walk(value, f"{key}[{index}]") for index, value in enumerate(node)]
        if isinstance(node, str) and _RESOLVER.search(_KEY.sub("", node)) and key != "hparams_search.storage":
            value = OmegaConf.select(config, key)
            return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        return node

    return walk(written, "")
