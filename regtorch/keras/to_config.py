"""The configuration for ``train.py`` that builds the same network with the same rules, if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from regtorch.dropout.base import Noise
from regtorch.errors import SettingError
from regtorch.keras.network import Entry
from regtorch.keras.optimizer import optimizer_node
from regtorch.keras.plan import Plan, Weight
from regtorch.keras.pooling import Global
from regtorch.keras.rules import initializer_node, make_constraint, make_regularizer, rule_of
from regtorch.registry import create
from regtorch.registry.configurable import Configurable

NONE = {"name": "none"}

#: one layer with a kernel: its linear map or convolution, and the modules between it and the next one
Block = tuple[Any, list[nn.Module]]


def equivalent_config(config: Any, plan: Plan) -> dict[str, Any]:
    """Return the nodes of ``model``, ``activation``, ``initializer``, dropouts, rules and optimizer.

    Args:
        config: the configuration in the file.
        plan: the plan of the network that was built from it.

    Raises:
        SettingError: no ``mlp`` or ``cnn`` is equal to the network; the message names the first difference.
    """
    modules = [step.module for step in plan.steps if not isinstance(step.module, (Entry, nn.Identity))]
    blocks, entry = _blocks(plan, modules)
    if any(not layer.trainable for layer in plan.graph.layers):
        raise _no_config("a layer is frozen")
    _check_ends(config, plan)
    _check_types_and_initial_values(plan)
    found: dict[str, Any] = _architecture(blocks, entry)
    found |= _initializers(plan)
    node = optimizer_node(config)
    _compare(found, plan, modules)
    found |= _rules(plan)
    found = found if node is None else {**found, "optimizer": node}
    return {key: _shortest(value) for key, value in found.items()}


def _no_config(reason: str) -> SettingError:
    return SettingError(f"to_config: no configuration builds this network, as {reason}")


def _shortest(node: Any) -> Any:
    """Shorten numbers to what the user typed: Keras stores 0.001 as the nearest float32, 0.0010000000474974513."""
    if isinstance(node, dict):
        return {key: _shortest(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_shortest(value) for value in node]
    return float(str(np.float32(node))) if isinstance(node, float) and np.float32(node) == node else node


def _blocks(plan: Plan, modules: list[nn.Module]) -> tuple[list[Block], list[nn.Module]]:
    """The layers with kernels, each with the modules after it, and the modules before the first one."""
    chain = len(plan.inputs) == 1 and plan.graph.single and all(layer.calls == 1 for layer in plan.graph.layers)
    if not chain or any(len(step.inputs) != 1 for step in plan.steps):
        raise _no_config("it is not a chain of layers from one input to one output")
    entry: list[nn.Module] = []
    blocks: list[Block] = []
    for module in modules:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            blocks.append((module, []))
        else:
            (blocks[-1][1] if blocks else entry).append(module)
    if len(blocks) < 2 or blocks[-1][1] or not isinstance(blocks[-1][0], nn.Linear):
        raise _no_config("it does not consist of hidden layers and a last dense layer that returns the logits")
    return blocks, entry


def _check_ends(config: Any, plan: Plan) -> None:
    """Check that the input is flattened as in an ``mlp``, and that the output is that of a classifier."""
    entry = next(step.module for step in plan.steps if isinstance(step.module, Entry))
    flattens = any(isinstance(step.module, (nn.Flatten, Global)) for step in plan.steps)
    if plan.results[0].layout.rank != 1 or (len(entry.sizes) > 1 and not flattens):
        raise _no_config("it is not flattened, and returns one row of logits for each position")
    if "sigmoid" in plan.split.values():
        raise _no_config(
            "it ends in a sigmoid, and the model of a configuration is a classifier that ends in a softmax"
        )
    compiled = config.get("compile_config")
    loss = compiled.get("loss") if isinstance(compiled, dict) else None
    name = str(loss.get("class_name") if isinstance(loss, dict) else loss)
    if loss is not None and "categoricalcrossentropy" not in name.lower().replace("_", ""):
        raise _no_config(f"it was compiled with the loss {name}, and that of a configuration is cross-entropy")


#: initializers of the weights other than kernels in the model of a configuration
_FIXED_INITIALIZERS = {
    "bias": "Zeros",
    "beta": "Zeros",
    "moving_mean": "Zeros",
    "alpha": "Zeros",
    "gamma": "Ones",
    "moving_variance": "Ones",
}


def _check_types_and_initial_values(plan: Plan) -> None:
    for layer in plan.graph.layers:
        policy = layer.settings.get("dtype")
        name = policy.get("config", {}).get("name") if isinstance(policy, dict) else policy
        if layer.class_name != "InputLayer" and name not in (None, "float32"):
            raise _no_config(f"{layer} computes in {name}")
    for weight in plan.weights:
        node, wanted = rule_of(weight, "initializer"), _FIXED_INITIALIZERS.get(weight.name)
        found = node.get("class_name") if isinstance(node, dict) else node
        if wanted is not None and found is not None and str(found).lower() != wanted.lower():
            raise _no_config(f"{weight.layer} initializes its {weight.name} by {found}")


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def _is_activation(module: nn.Module) -> bool:
    return isinstance(module, (Configurable, nn.PReLU)) and not isinstance(module, Noise)


def _node(module: nn.Module) -> dict[str, Any]:
    """The node of a registered module. The model itself determines the number of slopes of a PReLU."""
    if isinstance(module, nn.PReLU):
        return {"name": "prelu"}
    if not isinstance(module, Configurable) or "registered_as" not in vars(type(module)):
        raise _no_config(f"{type(module).__name__} has no name in the configuration")
    return module.to_config()


def _common(kind: str, nodes: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """The node that all layers have in common."""
    if any(node != nodes[0] for node in nodes):
        raise _no_config(f"its layers differ in their {kind}: {nodes}")
    return nodes[0] if nodes and nodes[0] is not None else NONE


def _first(modules: list[nn.Module], wanted: Any) -> nn.Module | None:
    return next((module for module in modules if wanted(module)), None)


def _is_dropout(module: nn.Module) -> bool:
    return isinstance(module, Noise)


def _position(block: Block) -> str | None:
    """The position of batch normalization in a layer; None if both "after" and "after_dropout" are right."""
    following = block[1]
    norm = next((i for i, module in enumerate(following) if _is_norm(module)), None)
    if norm is None:
        return "none"
    before = following[:norm]
    if not any(map(_is_activation, before)):
        return "before"
    if any(map(_is_dropout, before)):
        return "after_dropout"
    return "after" if any(map(_is_dropout, following)) else None


def _architecture(blocks: list[Block], entry: list[nn.Module]) -> dict[str, Any]:
    hidden = blocks[:-1]
    convs = [block for block in hidden if isinstance(block[0], nn.Conv2d)]
    dense = [block for block in hidden if isinstance(block[0], nn.Linear)]
    positions = {_position(block) for block in (convs or dense)}
    if entry[:1] and any(map(_is_dropout, entry)) and any(map(_is_norm, entry)):
        first_dropout = _is_dropout(next(m for m in entry if _is_dropout(m) or _is_norm(m)))
        positions.add("after_dropout" if first_dropout else None)
    known = positions - {None}
    if len(known) > 1:
        raise _no_config("batch normalization is not at the same position in all its layers")
    order = known.pop() if known else "after"
    normed = {_position(block) != "none" for block in dense} if convs else set()
    if len(normed) > 1:
        raise _no_config("some of its dense layers have batch normalization and some do not")
    norms = [m for m in (*entry, *(m for block in hidden for m in block[1])) if _is_norm(m)]
    model: dict[str, Any] = {"name": "cnn" if convs else "mlp"}
    model |= {"batch_norm": order, "input_batch_norm": any(map(_is_norm, entry))}
    if norms:
        settings = {(round(1 - float(m.momentum), 12), float(m.eps)) for m in norms}  # type: ignore[arg-type]
        if len(settings) > 1:
            raise _no_config("its batch normalizations differ in their momentum or epsilon")
        model["momentum"], model["epsilon"] = settings.pop()
    biases = {block[0].bias is not None for block in hidden}
    if len(biases) > 1 or blocks[-1][0].bias is None:
        raise _no_config("some of its layers have a bias and some do not")
    model["bias"] = biases.pop()
    if convs:
        model |= _cnn(convs, dense, normed)
    else:
        model["hidden"] = [block[0].out_features for block in dense]
    at_conv = [_first(block[1], _is_dropout) for block in convs]
    at_dense = [_first(block[1], _is_dropout) for block in dense]
    dropouts = [m for m in (*at_conv, *at_dense) if m is not None]
    if convs and dropouts:
        model["dropout_at"] = "both" if any(at_conv) and any(at_dense) else "conv" if any(at_conv) else "dense"
    placed = [*(at_conv if any(at_conv) else ()), *(at_dense if any(at_dense) else ())]
    acts = [_first(block[1], _is_activation) for block in hidden]
    drop = _first(entry, _is_dropout)
    return {
        "model": model,
        "activation": _common("activation", [{"name": "identity"} if m is None else _node(m) for m in acts]),
        "dropout": _common("dropout", [None if m is None else _node(m) for m in placed]) if placed else NONE,
        "input_dropout": NONE if drop is None else _node(drop),
    }


def _cnn(convs: list[Block], dense: list[Block], normed: set[bool]) -> dict[str, Any]:
    sizes = {block[0].kernel_size for block in convs}
    pools = [_first(block[1], lambda m: isinstance(m, (nn.MaxPool2d, nn.AvgPool2d))) for block in convs[:-1]]
    kinds: set[Any] = {type(pool) for pool in pools}
    if len(sizes) > 1 or len(kinds) > 1:
        raise _no_config("its convolutions differ in the size of their kernels, or in the pooling after them")
    pooling = {nn.MaxPool2d: "max", nn.AvgPool2d: "average"}.get(kinds.pop(), "none") if kinds else "max"
    return {
        "channels": [block[0].out_channels for block in convs],
        "kernel_size": sizes.pop()[0],
        "pooling": pooling,
        "head": [block[0].out_features for block in dense],
        "global_pooling": any(isinstance(m, Global) for m in convs[-1][1]),
        "dense_batch_norm": normed == {True},
    }


def _initializers(plan: Plan) -> dict[str, Any]:
    kernels = [weight for weight in plan.weights if weight.name == "kernel"]
    nodes = [initializer_node(rule_of(weight, "initializer")) for weight in kernels]
    if any(node is None for node in nodes):
        raise _no_config("an initializer has no name in the configuration")
    hidden = _common("initializer", nodes[:-1])
    return {"initializer": hidden} | ({} if nodes[-1] == hidden else {"head_initializer": nodes[-1]})


def _compare(found: dict[str, Any], plan: Plan, modules: list[nn.Module]) -> None:
    """Build the model of the configuration on the meta device, and compare it with the network."""
    parts = {key: found[key] for key in ("activation", "dropout", "input_dropout")}
    entry = next(step.module for step in plan.steps if isinstance(step.module, Entry))
    shape, classes = entry.sizes, plan.results[0].layout.shape[-1]
    if None in shape:
        raise _no_config("the size of its input is not fixed")
    try:
        with torch.device("meta"):
            built = create("model", **found["model"], shape=shape, classes=classes, **parts)
    except SettingError as error:
        raise _no_config(f"{error}") from error
    for ours, theirs in zip(_features(built.modules()), _features(modules), strict=False):
        if ours != theirs:
            raise _no_config(f"where an {found['model']['name']} has {ours}, it has {theirs}")
    if len(_features(built.modules())) != len(_features(modules)):
        raise _no_config(f"an {found['model']['name']} has other layers")


def _features(modules: Any) -> list[Any]:
    """The properties of each module that define what it computes; modules that only reshape are skipped."""
    found: list[Any] = []
    for m in modules:
        name = type(m).__name__
        if isinstance(m, nn.Conv2d):
            same = tuple(k // 2 for k in m.kernel_size) if m.padding == "same" else m.padding
            found.append(("Conv2d", m.weight.shape, m.stride, same, m.dilation, m.groups, m.bias is None))
        elif isinstance(m, nn.Linear):
            found.append(("Linear", m.weight.shape, m.bias is None))
        elif isinstance(m, (nn.MaxPool2d, nn.AvgPool2d)):
            window = m.kernel_size if isinstance(m.kernel_size, tuple) else (m.kernel_size,) * 2
            stride = m.stride if isinstance(m.stride, tuple) else (m.stride,) * 2
            found.append((name, window, stride, m.padding in (0, (0, 0))))
        elif isinstance(m, nn.modules.batchnorm._BatchNorm):
            found.append((name, m.num_features, m.weight is None, m.bias is None))
        elif isinstance(m, (nn.AdaptiveAvgPool2d, Global)):
            found.append("global average" if not getattr(m, "largest", False) else "global maximum")
        elif isinstance(m, nn.PReLU):
            found.append(("PReLU", m.num_parameters))
        elif not isinstance(m, (nn.Flatten, nn.Sequential, nn.ModuleList, nn.Identity)) and not any(m.children()):
            found.append((name, m.extra_repr()))
    return found


def _rules(plan: Plan) -> dict[str, Any]:
    kernels = [weight for weight in plan.weights if weight.name == "kernel"]
    biases = [weight for weight in plan.weights if weight.name == "bias"]
    for weight in plan.weights:
        for kind in ("regularizer", "constraint"):
            if weight not in kernels and weight not in biases and rule_of(weight, kind) is not None:
                raise _no_config(f"a {weight.name} has a {kind}")
    return {
        "regularizer": _placed("kernel", [_regularizer(plan, w) for w in kernels]),
        "bias_regularizer": _placed("bias", [_regularizer(plan, w) for w in biases]),
        "activity_regularizer": _placed("layer", _activities(plan, kernels)),
        "constraint": _placed("kernel", [_constraint(plan, w) for w in kernels]),
        "bias_constraint": _placed("bias", [_constraint(plan, w) for w in biases]),
    }


def _regularizer(plan: Plan, weight: Weight) -> dict[str, Any] | None:
    node = rule_of(weight, "regularizer")
    if node is None:
        return None
    return make_regularizer(str(weight.layer), node, plan.custom, weight.arrangement).to_config()


def _constraint(plan: Plan, weight: Weight) -> dict[str, Any] | None:
    node = rule_of(weight, "constraint")
    if node is None:
        return None
    rule = make_constraint(str(weight.layer), node, plan.custom, weight.arrangement)
    found = rule.to_config()
    rank = len(weight.arrangement.torch_shape)
    if found.get("dims") == (list(range(1, rank)) if rank > 1 else [0]):
        found["dims"] = None  # the default
    return found


def _activities(plan: Plan, kernels: list[Weight]) -> list[dict[str, Any] | None]:
    owners = [weight.layer for weight in kernels]
    found: list[dict[str, Any] | None] = [None] * len(kernels)
    for layer in plan.graph.layers:
        node = layer.settings.get("activity_regularizer")
        if layer.class_name == "ActivityRegularization" or (node is not None and layer not in owners):
            raise _no_config(f"{layer} has an activity regularizer and no kernel")
        if node is not None and layer is not owners[-1] and layer.settings.get("activation") in (None, "linear"):
            raise _no_config(
                f"{layer} has an activity regularizer before its activation, while a configuration has it after"
            )
        if node is not None:
            if layer is owners[-1] and any(plan.split.values()):
                raise _no_config(f"{layer} has an activity regularizer after the final activation")
            found[owners.index(layer)] = make_regularizer(str(layer), node, plan.custom).to_config()
    return found


def _placed(kind: str, nodes: list[dict[str, Any] | None]) -> dict[str, Any]:
    """One node for all layers or for the hidden layers only, or one node for each layer that has a rule."""
    if not any(nodes):
        return NONE
    *hidden, head = nodes
    if kind != "layer":
        if nodes[0] is not None and all(node == nodes[0] for node in nodes):
            return {**nodes[0], "where": kind}
        if hidden[0] is not None and head is None and all(node == hidden[0] for node in hidden):
            return {**hidden[0], "where": f"{kind}:hidden.*"}
    places = [*(f"hidden.{index}" for index in range(len(hidden))), "head"]
    wheres = places if kind == "layer" else [f"{kind}:{place}.*" for place in places]
    rules = [{**node, "where": where} for node, where in zip(nodes, wheres, strict=True) if node is not None]
    return rules[0] if len(rules) == 1 else {"name": "several", "rules": rules}
