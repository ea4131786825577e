"""Interpolations (``${...}``) in configurations: filled in without running a resolver where they come from a folder."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from regtorch.errors import DataError
from regtorch.untrusted import check_bounded

if TYPE_CHECKING:
    from omegaconf import DictConfig

#: another key of the same configuration, from its root
_KEY = re.compile(r"(?<!\\)\$\{(\w+(?:\.\w+)*)\}")
_RESOLVER = re.compile(r"(?<!\\)\$\{")  # where no reference to a key is left
_MOST_STEPS = 8  # from one key to another
_MOST_CHARACTERS = 1_000_000  # of all texts that are filled in together


def filled_in(config: Any) -> Any:
    """A configuration of plain containers, with references to its other keys filled in.

    Resolvers, such as ``${oc.env:NAME}``, which reads the environment, stay as they are written: the folder may come
    from somebody else.

    Raises:
        DataError: references form a chain or a circle, name no key, or unfold to very much.

    Example:
        >>> filled_in({"seed": 3, "data": {"split_seed": "${seed}", "path": "${oc.env:HOME}/rows-${seed}.npz"}})
        {'seed': 3, 'data': {'split_seed': 3, 'path': '${oc.env:HOME}/rows-3.npz'}}
    """
    left = _MOST_CHARACTERS

    def of_key(key: str) -> Any:
        node = config
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                raise DataError(f"${{{key}}} refers to a key that is not there")
            node = node[part]
        return node

    def walk(node: Any, steps: int) -> Any:
        nonlocal left
        left -= len(node) + 1 if isinstance(node, str) else 1
        if left < 0 or steps > _MOST_STEPS:
            raise DataError("its interpolations form a circle, a long chain, or unfold to very much")
        if isinstance(node, dict):
            return {key: walk(value, steps) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value, steps) for value in node]
        if not isinstance(node, str):
            return node
        if whole := _KEY.fullmatch(node):
            return walk(of_key(whole[1]), steps + 1)
        return _KEY.sub(lambda found: str(walk(of_key(found[1]), steps + 1)), node).replace("\\${", "${")

    found = walk(config, 0)
    check_bounded(found)
    return found


def runs_resolver(text: str) -> bool:
    r"""Whether a text has an interpolation that is more than a reference to another key.

    Example:
        >>> runs_resolver("${seed}"), runs_resolver("${oc.env:HOME}"), runs_resolver("${a.${b}}"), runs_resolver("a$b")
        (False, True, True, False)
        >>> runs_resolver(r"\${oc.env:HOME}")  # it is text, but one round of filling in later it would not be
        True
    """
    return "${" in _KEY.sub("", text)


def without_resolvers(config: DictConfig) -> Any:
    """A configuration as it is kept in a run's folder: the values of resolvers filled in, references to keys as they are.

    But for a database of trials, whose URL may hold a password that comes from the environment.
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
