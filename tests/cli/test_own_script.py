"""Components that a user's script registers before it calls a command are options, in every process."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

import regtorch
from regtorch import registry
from regtorch.cli import train
from regtorch.cli.help import help_text
from regtorch.errors import ContractError
from regtorch.registry import components
from regtorch.registry.user_script import UserScript, user_script
from regtorch.runs.validate import checked

SMALL = ["data=synthetic", "data.rows=60", "trainer=cpu", "trainer.max_epochs=1", "mc=none"]

SCRIPT = """
import math
import torch
import regtorch
from regtorch.cli.train import main

@regtorch.register("regularizer", "own_quartic")
class Quartic(regtorch.Regularizer):
    def __init__(self, strength: float = 0.01) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, w):
        return self.strength * w.pow(4).sum()

@regtorch.register("model", "own_net")
class Net(torch.nn.Sequential):
    def __init__(self, shape, classes, width=32):
        layers = (torch.nn.Linear(math.prod(shape), width), torch.nn.Linear(width, classes))
        super().__init__(torch.nn.Flatten(), *layers)

{call}
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = dict(components._registered)
    yield
    components._registered.clear()
    components._registered.update(before)


def net(width: object = 32) -> None:
    @regtorch.register("model", "own_net")
    class Net(torch.nn.Sequential):
        def __init__(self, shape: list[int], classes: int, width: object = width) -> None:
            super().__init__(torch.nn.Flatten(), torch.nn.LazyLinear(width), torch.nn.Linear(width, classes))  # type: ignore[arg-type]


def test_a_registered_model_is_an_option_with_its_arguments_as_keys() -> None:
    net()
    assert checked(["model=own_net", *SMALL])["model"] == {"name": "own_net", "width": 32}
    assert checked(["model=own_net", "model.width=7", *SMALL])["model"] == {"name": "own_net", "width": 7}
    assert "own_net" in help_text()
    with pytest.raises(regtorch.SettingError, match=r"^model\.widht=7: there is no such key; did you mean width\?"):
        checked(["model=own_net", "model.widht=7", *SMALL])
    with pytest.raises(regtorch.SettingError, match="did you mean own_net"):
        checked(["model=own_nat", *SMALL])


def test_a_component_registered_again_has_its_new_arguments() -> None:
    """This happens when a notebook cell runs a second time."""
    net(8)
    assert checked(["model=own_net", *SMALL])["model"]["width"] == 8
    components._registered.pop(("model", "own_net"))
    net(16)
    assert checked(["model=own_net", *SMALL])["model"]["width"] == 16


@pytest.mark.parametrize("kind", [kind for kind in registry.PACKAGES if kind not in ("model", "data")])
def test_any_kind_can_be_registered(kind: str) -> None:
    first = next(name for name in regtorch.available(kind) if name not in ("none", "several", "activity", "identity"))
    base = registry.component(kind, first).load()
    regtorch.register(kind, "own_kind")(type("Derived", (base,), {"__doc__": None}) if isinstance(base, type) else base)
    place = "schedule@penalty_schedule" if kind == "schedule" else kind
    besides = {"schedule": "regularizer=l2", "augmentation": "data.row_shape=[1,8,8]"}.get(kind, "seed=1")
    given = checked([f"{place}=own_kind", besides, *SMALL])
    assert given[place.rpartition("@")[2]]["name"] == "own_kind"


def test_a_component_that_breaks_its_contract_is_refused_when_it_is_chosen() -> None:
    @regtorch.register("model", "own_net")
    class Net(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)

    @regtorch.register("regularizer", "own_vector")
    class Vector(regtorch.Regularizer):
        def forward(self, w: torch.Tensor) -> torch.Tensor:
            return w.sum(1)

    assert checked(SMALL)["model"]["name"] == "mlp"
    with pytest.raises(ContractError, match=r"does not accept shape and classes: it is called with shape=, classes="):
        checked(["model=own_net", *SMALL])
    with pytest.raises(ContractError, match=r"returns a tensor of shape \(3,\) for a weight of shape \(3, 4\)"):
        checked(["regularizer=own_vector", *SMALL])


@pytest.mark.parametrize("call", ["main()", 'if __name__ == "__main__":\n    main()', ""])
def test_another_process_runs_the_script_to_register_it_and_trains_nothing(tmp_path: Path, call: str) -> None:
    path, main = tmp_path / "script.py", train.main
    path.write_text(SCRIPT.format(call=call))
    registers = (("model", "own_net"), ("regularizer", "own_quartic"))
    script = pickle.loads(pickle.dumps(UserScript(str(path), False, registers)))
    assert not registry.is_registered("model", "own_net")
    assert partial(script.call, lambda config: [*config, registry.is_registered(*registers[1])])([1]) == [1, True]
    assert registry.is_registered("model", "own_net")
    assert train.main is main
    path.write_text("raise AssertionError('it is there already')")
    script.register_again()


def test_only_components_of_the_user_belong_to_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "script.py", raising=False)  # a test worker has none
    net()
    (found,) = [component for component in registry.user_components() if component.name == "own_net"]
    assert found.kind == "model"
    script = user_script()
    assert script is not None
    assert ("model", "own_net") in script.registers
    assert ("model", "mlp") not in script.registers


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer=ddp_cpu", "hydra.run.dir=0"],
        ["-m", "seed=1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "hydra.sweep.dir=."],
    ],
    ids=["ddp_cpu", "joblib"],
)
def test_in_processes(tmp_path: Path, overrides: list[str]) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(call="main()"))
    command = [sys.executable, "script.py", "model=own_net", "model.width=7", "regularizer=own_quartic"]
    done = subprocess.run([*command, *SMALL, *overrides], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "0" / "results.json").read_text())
    assert results["status"] == "completed"
    assert results["train"]["penalty"] > 0
