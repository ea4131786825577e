"""Names -> components: register, available, create."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import regtorch
from regtorch import registry
from regtorch.errors import NameTakenError, SettingError, UnknownNameError


def test_available_lists_all_names() -> None:
    assert regtorch.available("regularizer") == sorted(regtorch.available("regularizer"))
    assert {"l1", "l2", "l1_l2", "none"} <= set(regtorch.available("regularizer"))
    for kind in registry.PACKAGES:
        assert regtorch.available(kind)


def test_listing_imports_no_torch() -> None:
    code = "import sys, regtorch; [regtorch.available(k) for k in regtorch.registry.PACKAGES]; dir(regtorch)"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)


def test_every_listed_component_is_importable_under_its_python_name() -> None:
    for kind in registry.PACKAGES:
        for name in regtorch.available(kind):
            found = registry.component(kind, name)
            if found.module.startswith("regtorch."):
                assert getattr(regtorch, found.attribute) is found.load()


def test_importing_regtorch_imports_neither_lightning_nor_hydra() -> None:
    code = "import sys, regtorch; regtorch.L1, regtorch.Dropout, regtorch.WeightPenalty, regtorch.MCPredictor"
    bad = "{'lightning', 'hydra', 'torchvision', 'torchmetrics'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"{code}; assert not {bad}, {bad}"], check=True)


def test_a_registered_class_is_available_by_name() -> None:
    @regtorch.register("regularizer", "test_huber")
    class Huber(regtorch.Regularizer):
        def __init__(self, strength: float = 0.5) -> None:
            super().__init__()
            self.strength = strength

        def forward(self, w: torch.Tensor) -> torch.Tensor:
            return self.strength * torch.nn.functional.huber_loss(w, torch.zeros_like(w), reduction="sum")

    assert "test_huber" in regtorch.available("regularizer")
    rule = regtorch.create("regularizer", "test_huber", strength=2.0)
    assert rule.to_config() == {"name": "test_huber", "strength": 2.0}
    assert regtorch.WeightPenalty(torch.nn.Linear(2, 2), rule)().item() > 0


def test_a_duplicate_name_reports_both_owners() -> None:
    with pytest.raises(NameTakenError) as caught:

        @regtorch.register("regularizer", "l1")
        class Impostor(regtorch.Regularizer):
            pass

    assert "regtorch.regularizers.l1_l2.L1" in str(caught.value)
    assert "Impostor" in str(caught.value)
    assert type(regtorch.create("regularizer", "l1")) is regtorch.L1


def test_two_local_classes_are_distinct_owners() -> None:
    def declare() -> type:
        @regtorch.register("regularizer", "test_twin")
        class Twin(regtorch.Regularizer):
            pass

        return Twin

    first = declare()
    with pytest.raises(NameTakenError, match="test_twin"):
        declare()
    assert registry.component("regularizer", "test_twin").load() is first


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"regularizer=l1l2 .*did you mean l1_l2"):
        regtorch.create("regularizer", "l1l2")
    with pytest.raises(UnknownNameError, match="did you mean regularizer"):
        regtorch.available("regulariser")
    with pytest.raises(AttributeError, match="no attribute 'L3'"):
        _ = regtorch.L3


def test_an_unknown_setting_lists_the_known_ones() -> None:
    with pytest.raises(SettingError, match="l3=1: regularizer l1_l2 has no such setting; it has: l1, l2"):
        regtorch.create("regularizer", "l1_l2", l3=1)


def test_a_node_can_be_built_directly() -> None:
    node = {"name": "l1_l2", "l1": 1e-5, "l2": 1e-4, "where": "kernel"}
    assert regtorch.create("regularizer", **node).to_config() == node


def test_an_unregistered_class_has_no_node() -> None:
    class Mine(regtorch.Regularizer):
        pass

    class Derived(regtorch.L1):
        pass

    for cls in (Mine, Derived):
        with pytest.raises(TypeError, match="is not registered"):
            cls().to_config()
