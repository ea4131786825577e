"""The activity penalty of a step is computed from the layers' outputs of this step, however the layers are called."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import regtorch
from regtorch.errors import SettingError

STRENGTH = 0.1


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 3)
        self.decoder = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x).tanh())


class Parts(Autoencoder):
    """The bound model itself is never called."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x).tanh())


@pytest.fixture(params=[Autoencoder, Parts])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return request.param()


def bound(model: nn.Module, where: Any = "encoder") -> regtorch.WeightPenalty:
    return regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(STRENGTH)), where)


def batch(rows: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))


def expected(model: Any, *batches: Tensor) -> float:
    """The expected penalty, computed without calling the layers, which would be another pass."""
    outputs = [(nn.functional.linear(x, model.encoder.weight, model.encoder.bias), len(x)) for x in batches]
    return sum(STRENGTH * out.square().sum().item() / rows for out, rows in outputs)


def check(penalty: regtorch.WeightPenalty, value: float) -> None:
    for _ in range(2):  # reading again adds nothing
        assert penalty().item() == pytest.approx(value, rel=1e-5)
    with torch.no_grad():
        assert penalty().item() == pytest.approx(value, rel=1e-5)


def test_each_step_has_its_own_outputs(model: Any) -> None:
    penalty = bound(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        x = batch(4 + step, step)
        loss = (model(x) - x).square().mean()
        value = expected(model, x)
        check(penalty, value)
        loss = loss + penalty()
        optimizer.zero_grad()
        loss.backward()
        check(penalty, value)
        optimizer.step()
        check(penalty, value)


def test_two_passes_count_twice_also_with_a_read_in_between(model: Any) -> None:
    penalty, x, y = bound(model), batch(5), batch(3, 1)
    first = model(x)
    check(penalty, expected(model, x))
    second = model(y)
    check(penalty, expected(model, x, y))
    (first.mean() + second.mean() + penalty()).backward()
    model(x)
    check(penalty, expected(model, x))


def no_gradients(model: Any, x: Tensor) -> None:
    with torch.no_grad():
        model(x)


def inference(model: Any, x: Tensor) -> None:
    with torch.inference_mode():
        model(x)


def validation(model: Any, x: Tensor) -> None:
    model.eval()
    no_gradients(model, x)
    model.train()


def eval_mode(model: Any, x: Tensor) -> None:
    model.eval()
    model(x).sum().backward()  # for example an adversarial example
    model.train()


@pytest.mark.parametrize("passes", [no_gradients, inference, validation, eval_mode])
@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_passes_outside_training_add_nothing(model: Any, passes: Callable[..., None], when: str) -> None:
    penalty = bound(model)
    for step in range(2):
        x = batch(4, step)
        if when == "before":
            passes(model, batch(7, 9))
        out = model(x)
        if when == "between":
            passes(model, batch(7, 9))
        check(penalty, expected(model, x))
        (out.mean() + penalty()).backward()
        if when == "after":
            passes(model, batch(7, 9))
            check(penalty, expected(model, x))


def test_in_eval_mode_the_value_is_that_of_the_last_pass(model: Any) -> None:
    penalty = bound(model)
    model.eval()
    for step in range(3):
        x = batch(4 + step, step)
        with torch.no_grad():
            model(x)
            check(penalty, expected(model, x))
    model.train()
    x = batch()
    (model(x).mean() + penalty()).backward()
    check(penalty, expected(model, x))
    with torch.inference_mode():
        model.eval()(batch(6, 6))
        check(penalty, expected(model, batch(6, 6)))
    (penalty() + model.decoder.weight.sum()).backward()  # a constant that autograd still accepts


def test_outputs_of_unread_evaluations_do_not_accumulate(model: Any) -> None:
    penalty = bound(model)
    model.eval()
    for step in range(5):
        model(batch(4, step))
    check(penalty, expected(model, batch(4, 4)))


def test_accumulated_micro_batches_have_their_own_values(model: Any) -> None:
    penalty = bound(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(4):
        x = batch(3 + step, step)
        loss = model(x).mean()
        check(penalty, expected(model, x))
        ((loss + penalty()) / 2).backward()
        if step % 2:
            optimizer.step()


def test_several_backward_passes_of_a_step(model: Any) -> None:
    penalty = bound(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        x = batch(5, step)
        out = model(x)
        out.mean().backward(retain_graph=True)
        check(penalty, expected(model, x))
        (out.square().mean() + penalty()).backward(retain_graph=True)
        check(penalty, expected(model, x))
        optimizer.step()


def test_a_gradient_penalty_does_not_end_a_step(model: Any) -> None:
    penalty, x, y = bound(model), batch().requires_grad_(), batch(3, 1)
    (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    out = model(y)
    check(penalty, expected(model, x, y))
    (out.mean() + gradient.square().mean() + penalty()).backward()


def test_adversarial_networks() -> None:
    torch.manual_seed(0)
    generator, critic = Autoencoder(), Autoencoder()
    of_both = nn.ModuleDict({"generator": generator, "critic": critic})
    penalties = [bound(generator), bound(critic), bound(of_both, "*.encoder")]
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.1) for network in (generator, critic)]
    for step in range(3):
        noise, real = batch(4, step), batch(3, 10 + step)
        fake = generator(noise)
        loss = critic(real).mean() - critic(fake.detach()).mean()
        check(penalties[1], expected(critic, real, fake.detach()))
        check(penalties[2], expected(critic, real, fake.detach()) + expected(generator, noise))
        optimizers[1].zero_grad()
        (loss + penalties[1]()).backward()
        optimizers[1].step()

        again = critic(fake).mean()
        check(penalties[0], expected(generator, noise))
        check(penalties[1], expected(critic, fake))
        check(penalties[2], expected(generator, noise) + expected(critic, fake))
        optimizers[0].zero_grad()
        (again + penalties[2]()).backward()
        optimizers[0].step()


def test_a_pass_whose_output_is_detached_is_not_in_the_next_step() -> None:
    generator, critic = Autoencoder(), nn.Linear(4, 1)
    penalty = bound(generator)
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    critic(generator(batch(6, 6)).detach()).mean().backward()
    optimizer.step()
    x = batch()
    loss = critic(generator(x)).mean()
    check(penalty, expected(generator, x))
    (loss + penalty()).backward()


def test_lbfgs_reads_a_step_several_times(model: Any) -> None:
    penalty, x, values = bound(model), batch(), []
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = expected(model, x)
        loss = model(x).square().mean() + penalty()
        values.append((penalty().item(), value))
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(values) > 1
    for found, value in values:
        assert found == pytest.approx(value, rel=1e-5)


def test_begin_step_forgets_a_pass_that_no_backward_pass_follows(model: Any) -> None:
    penalty, x = bound(model), batch()
    model(batch(9, 9))
    penalty.begin_step()
    model(x)
    check(penalty, expected(model, x))


def test_frozen_layers_and_constant_inputs_count_in_their_step(model: Any) -> None:
    model.encoder.requires_grad_(False)
    penalty = bound(model)
    optimizer = torch.optim.SGD(model.decoder.parameters(), lr=0.1)
    for step in range(2):
        x = batch(4, step)
        loss = model(x).mean()
        check(penalty, expected(model, x))
        (loss + penalty()).backward()
        optimizer.step()


# recomputation


class Checkpointed(nn.Module):
    def __init__(self, **how: Any) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 3)
        self.rest = nn.Sequential(nn.Tanh(), nn.Linear(3, 4))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(lambda v: self.rest(self.encoder(v)), x, **self.how)


def test_recomputation_adds_nothing_and_does_not_change_the_gradient() -> None:
    torch.manual_seed(0)
    model = Checkpointed(use_reentrant=False)
    penalty = bound(model, "*encoder")
    for step in range(2):
        x = batch(4, step).requires_grad_()
        model.zero_grad()
        out = model(x)
        check(penalty, expected(model, x))
        (0 * out.sum() + penalty()).backward()
        check(penalty, expected(model, x))
        value = STRENGTH * nn.functional.linear(x, model.encoder.weight, model.encoder.bias).square().sum() / 4
        (gradient,) = torch.autograd.grad(value, model.encoder.weight)
        torch.testing.assert_close(model.encoder.weight.grad, gradient)


def reentrant(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return checkpoint(function, x, use_reentrant=True)


def plain(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return function(x)


def once(run: Any, encoder: nn.Module, rest: nn.Module, x: Tensor) -> Tensor:
    return run(lambda v: rest(encoder(v)), x)


def twice(run: Any, encoder: nn.Module, rest: nn.Module, x: Tensor) -> Tensor:
    return run(lambda v: rest(encoder(rest(encoder(v)))), x)


def two_checkpoints(run: Any, encoder: nn.Module, rest: nn.Module, x: Tensor) -> Tensor:
    return once(run, encoder, rest, once(run, encoder, rest, x))


def nested(run: Any, encoder: nn.Module, rest: nn.Module, x: Tensor) -> Tensor:
    return run(lambda v: two_checkpoints(run, encoder, rest, rest(encoder(v))), x)


def nested_deeper(run: Any, encoder: nn.Module, rest: nn.Module, x: Tensor) -> Tensor:
    return run(lambda v: nested(run, encoder, rest, v), x)


def changed_in_place(run: Any, encoder: nn.Module, rest: nn.Module, x: Tensor) -> Tensor:
    return run(lambda v: rest(encoder(v).relu_()), x)


class InSteps(nn.Module):
    def __init__(self, run: Any, how: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(4, 3)
        self.rest = nn.Sequential(nn.Tanh(), nn.Linear(3, 4))
        self.run, self.how = run, how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self.run, self.encoder, self.rest, x)


def gradients_of_steps(run: Any, how: Any) -> list[Tensor]:
    """Values and gradients over three steps with two accumulated batches each; the loss is scaled, and the value is read twice."""
    model = InSteps(run, how).double()
    penalty = bound(model, "*encoder")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = []
    for step in range(3):
        x = batch(4, step).double().requires_grad_()
        for part in (x[:2], x[2:]):
            loss = model(part).square().mean()
            assert penalty().item() >= 0
            value = penalty()
            (1024 * (loss + 0.5 * value)).backward()
            found.append(value.detach())
        found += [x.grad, *(weight.grad.clone() for weight in model.parameters())]
        optimizer.step()
        optimizer.zero_grad()
    return found


@pytest.mark.parametrize("how", [once, twice, two_checkpoints, nested, nested_deeper, changed_in_place])
def test_reentrant_checkpointing_does_not_change_gradients(how: Any) -> None:
    for found, wanted in zip(gradients_of_steps(reentrant, how), gradients_of_steps(plain, how), strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_retained_graph_is_recomputed_in_each_backward_pass() -> None:
    model = InSteps(reentrant, once)
    penalty = bound(model, "*encoder")
    loss = model(batch().requires_grad_()).mean() + penalty()
    loss.backward(retain_graph=True)
    gradient = model.encoder.weight.grad.clone()
    loss.backward()
    torch.testing.assert_close(model.encoder.weight.grad, 2 * gradient)


def test_reentrant_checkpointing_in_evaluation() -> None:
    model = InSteps(reentrant, once)
    penalty, x = bound(model, "*encoder"), batch()
    for inputs in (x, x.clone().requires_grad_()):
        with torch.no_grad():
            model(inputs)
            check(penalty, expected(model, x))
    model.eval()(x)
    check(penalty, expected(model, x))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_gradients_that_reentrant_checkpointing_cannot_pass_on_are_errors() -> None:
    model = InSteps(reentrant, once)
    penalty = bound(model, "*encoder")
    model(batch())
    with pytest.raises(SettingError, match=r"no gradient for encoder: no input.*use_reentrant=False needs none"):
        penalty()
    penalty.begin_step()
    model(batch().requires_grad_()).mean().backward()
    with pytest.raises(SettingError, match=r"encoder can no longer get a gradient.*before backward\(\)"):
        penalty().backward()
    penalty.begin_step()
    model(batch().requires_grad_())
    penalty().backward()
    with pytest.raises(SettingError, match="the loss does not depend on its output"):
        torch.optim.SGD(model.parameters(), lr=0.1).step()
    torch.optim.SGD(model.parameters(), lr=0.1).step()


# copies, replaced modules, changes in place


def test_copies_read_their_own_model(model: Any) -> None:
    penalty, x = bound(model), batch()
    model(x)
    pairs = [copy.deepcopy((model, penalty))]
    if type(model) is Autoencoder:
        pairs.append(pickle.loads(pickle.dumps((model, penalty))))
    for twin, of_twin in pairs:
        assert of_twin().item() == 0
        nn.init.ones_(twin.encoder.weight)
        twin(batch(3, 3))
        check(of_twin, expected(twin, batch(3, 3)))
    check(penalty, expected(model, x))
    model(x)
    check(penalty, expected(model, x, x))


def test_a_replaced_layer_is_read() -> None:
    model = Autoencoder()
    penalty, x = bound(model), batch()
    model.encoder = nn.Linear(4, 3)
    model(x)
    check(penalty, expected(model, x))
    model.encoder = nn.Linear(4, 3)
    model.encoder(x)
    with pytest.raises(SettingError, match="layers that replaced others"):
        penalty()
    penalty.begin_step()
    model.encoder(x)
    check(penalty, expected(model, x))


@pytest.mark.parametrize("after", [nn.ReLU(inplace=True), nn.Sequential(nn.Identity(), nn.Dropout(0.0, inplace=True))])
def test_an_output_that_is_changed_in_place_afterwards(after: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(4, 3), after)
    penalty = bound(model, "0")
    for step in range(3):
        x = batch(4, step)
        model.zero_grad()
        out = model(x)
        wanted = STRENGTH * nn.functional.linear(x, model[0].weight, model[0].bias).square().sum() / 4
        torch.testing.assert_close(penalty(), wanted)
        (0 * out.sum() + penalty()).backward()
        torch.testing.assert_close(model[0].weight.grad, torch.autograd.grad(wanted, model[0].weight)[0])


def test_memory_of_past_steps_is_freed(model: Any) -> None:
    import gc
    import weakref

    penalty, graphs = bound(model), []
    for step in range(3):
        loss = model(batch(4, step)).mean() + penalty()
        graphs.append(weakref.ref(penalty._activities[0]._step.all[-1]))
        loss.backward()
    del loss
    gc.collect()
    assert [graph() is None for graph in graphs] == [True, True, False]
