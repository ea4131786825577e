"""Masks stored with a rollout: the updated policy is the one that acted."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

import regtorch
from regtorch.errors import NothingBoundError, SettingError


def policy(drop: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 64), nn.Tanh(), drop, nn.Linear(64, 64), nn.Tanh(), drop, nn.Linear(64, 4))


def log_prob(net: nn.Module, states: Tensor, actions: Tensor) -> Tensor:
    return net(states).log_softmax(dim=1).gather(1, actions[:, None])[:, 0]


def test_the_on_policy_ratio_is_one_only_with_consistent_dropout() -> None:
    torch.manual_seed(1)
    states, actions = torch.randn(128, 6), torch.randint(4, (128,))
    ours, torchs = policy(regtorch.ConsistentDropout(drop_prob=0.3)), policy(nn.Dropout(0.3))
    with regtorch.consistent(ours) as masks:
        acted = log_prob(ours, states, actions)
    with regtorch.consistent(ours, masks):
        again = log_prob(ours, states, actions)
    assert torch.equal((again - acted).exp(), torch.ones(128))
    ratio = (log_prob(torchs, states, actions) - log_prob(torchs, states, actions)).exp()
    assert ((ratio < 0.8) | (ratio > 1.2)).double().mean() > 0.1  # PPO would clip these


def test_minibatches_use_their_rows_of_the_rollouts_masks() -> None:
    net = policy(regtorch.ConsistentDropout(drop_prob=0.3)).double()
    states = torch.randn(5, 8, 6, dtype=torch.float64)  # 5 steps of 8 environments
    steps, acted = [], []
    for step in states:
        with regtorch.consistent(net) as masks:
            acted.append(net(step))
        steps.append(masks)
    rollout = {site: torch.cat([masks[site] for masks in steps]) for site in steps[0]}
    assert {site: (tuple(mask.shape), mask.dtype) for site, mask in rollout.items()} == {
        "2#0": ((40, 64), torch.bool),
        "2#1": ((40, 64), torch.bool),
    }
    assert not torch.equal(rollout["2#0"], rollout["2#1"])
    saved = io.BytesIO()
    torch.save(rollout, saved)
    saved.seek(0)
    rollout = torch.load(saved, weights_only=True)
    for rows in torch.randperm(40).split(16):
        with regtorch.consistent(net, {site: mask[rows] for site, mask in rollout.items()}):
            again = net(states.flatten(0, 1)[rows])
        torch.testing.assert_close(again, torch.cat(acted)[rows], rtol=1e-12, atol=1e-12)


def test_the_gradient_uses_the_masks_of_the_rollout() -> None:
    net, x = policy(regtorch.ConsistentDropout(drop_prob=0.5)), torch.randn(4, 6)
    gradients = []
    with regtorch.consistent(net) as masks:
        gradients.append(torch.autograd.grad(net(x).sum(), net.parameters()))
    with regtorch.consistent(net, masks) as used:
        gradients.append(torch.autograd.grad(net(x).sum(), net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert all(torch.equal(masks[site], used[site]) for site in masks)


def test_outside_the_block_new_masks_are_drawn() -> None:
    net, x = policy(regtorch.ConsistentDropout(drop_prob=0.5)), torch.randn(4, 6)
    with regtorch.consistent(net) as masks:
        inside = net(x)
    assert not torch.equal(net(x), inside)
    assert net[2].masks is None
    with regtorch.consistent(net, masks):
        assert copy.deepcopy(net)[2].masks is None
        assert torch.equal(net(x), inside)


def test_in_evaluation_masks_are_neither_stored_nor_used() -> None:
    net, x = policy(regtorch.ConsistentDropout(drop_prob=0.5)).eval(), torch.randn(4, 6)
    with regtorch.consistent(net) as masks:
        y = net(x)
    assert masks == {}
    with regtorch.consistent(net, {}):
        assert torch.equal(net(x), y)


def test_masks_that_do_not_fit_are_refused() -> None:
    net, x = policy(regtorch.ConsistentDropout(drop_prob=0.5)), torch.randn(4, 6)
    with regtorch.consistent(net) as masks:
        net(x)
    with regtorch.consistent(net, masks), pytest.raises(SettingError, match=r"2#0 has shape \(4, 64\), .*\(3, 64\)"):
        net(x[:3])
    with regtorch.consistent(net, masks):
        net(x)
        with pytest.raises(SettingError, match="there is no mask for 2#2; there are masks for: 2#0"):
            net(x)
    with pytest.raises(SettingError), regtorch.consistent(net, {}):
        net(x)
    assert net[2].masks is None
    with (
        pytest.raises(NothingBoundError, match="Linear has no ConsistentDropout"),
        regtorch.consistent(nn.Linear(2, 2)),
    ):
        pass


def test_compiled_the_masks_are_the_same() -> None:
    torch._dynamo.reset()
    net, x = policy(regtorch.ConsistentDropout(drop_prob=0.5)), torch.randn(4, 6)
    compiled = torch.compile(net, backend="aot_eager")
    with regtorch.consistent(net) as masks:
        acted = compiled(x)
    with regtorch.consistent(net, masks):
        torch.testing.assert_close(compiled(x), acted)
    with regtorch.consistent(net, masks):
        torch.testing.assert_close(net(x), acted)
