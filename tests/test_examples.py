"""The examples run unchanged; and the behavior with models that were written without regtorch."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regtorch

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
THIRD_PARTY = ("timm", "transformers", "peft", "accelerate", "torchvision")


def run(arguments: list[str], folder: Path) -> None:
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env=offline)
    assert done.returncode == 0, done.stderr


def test_there_are_examples_and_the_documentation_names_each() -> None:
    assert len(EXAMPLES) == 8
    page = (ROOT / "docs/libraries.md").read_text(encoding="utf-8")
    assert all(f"examples/{path.name}" in page for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example(path: Path, tmp_path: Path) -> None:
    imported = re.findall(r"^(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert "hydra" not in imported
    for package in THIRD_PARTY:
        if package in imported:
            pytest.importorskip(package)
    if "transformers" in imported:
        pytest.importorskip("accelerate")
    run([str(path)], tmp_path)


def test_use_in_plain_torch_imports_neither_lightning_nor_hydra_nor_torchvision(tmp_path: Path) -> None:
    program = """
import sys, torch, regtorch
model = torch.nn.Sequential(torch.nn.Linear(4, 4), regtorch.Dropout(drop_prob=0.5), torch.nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.5)).attach(optimizer)
(model(torch.ones(3, 4)).sum() + regtorch.WeightPenalty(model, regtorch.L1L2(l1=0.1, l2=0.1))()).backward()
optimizer.step()
regtorch.MCPredictor(regtorch.convert_dropout(model), samples=4)(torch.ones(3, 4)).mean
heavy = {"lightning", "pytorch_lightning", "hydra", "omegaconf", "torchvision", "torchmetrics", "sklearn", "matplotlib"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    run(["-c", program], tmp_path)


def resnet18() -> tuple[nn.Module, Tensor]:
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.resnet18(weights=None, num_classes=10), torch.randn(2, 3, 32, 32)


def timm_model() -> tuple[nn.Module, Tensor]:
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 10}
    return timm.create_model("vit_tiny_patch16_224", drop_rate=0.2, **sizes), torch.randn(2, 3, 32, 32)


def convnext() -> tuple[nn.Module, Tensor]:
    timm = pytest.importorskip("timm")
    return timm.create_model("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)), torch.randn(2, 3, 64, 64)


def bert() -> tuple[nn.Module, Tensor]:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=50, **sizes)
    return transformers.BertForSequenceClassification(config), torch.randint(50, (2, 8))


def gpt2() -> tuple[nn.Module, Tensor]:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, pad_token_id=0)
    return transformers.GPT2ForSequenceClassification(config), torch.randint(1, 50, (2, 8))


MODELS: list[Any] = [resnet18, timm_model, convnext, bert, gpt2]


def is_documented_kernel(module: nn.Module, name: str, w: Tensor) -> bool:
    """The documented rule: the weight of a linear or convolution layer; transformers' Conv1D is a linear layer."""
    linear = isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)) or type(module).__name__ == "Conv1D"
    return linear and name == "weight" and w.ndim >= 2


@pytest.mark.parametrize("build", MODELS)
def test_kernels_of_models_of_other_libraries(build: Any) -> None:
    model, _ = build()
    expected = {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        for name, w in module.named_parameters(recurse=False)
        if is_documented_kernel(module, name, w)
    }
    assert len(expected) >= 8
    assert set(regtorch.WeightPenalty(model, regtorch.L2(1.0)).names) == expected
    for name, w in model.named_parameters():  # other parameters with two dimensions are embeddings
        assert (
            w.ndim < 2
            or name in expected
            or any(part in name for part in ("embed", "wte", "wpe", "cls_token"))
            or (w.numel() == max(w.shape))
        ), name


@pytest.mark.parametrize("build", MODELS)
def test_the_penalized_gradient_equals_that_of_the_formula(build: Any) -> None:
    torch.manual_seed(0)
    model, x = build()
    penalty = regtorch.WeightPenalty(model, regtorch.L1L2(l1=0.01, l2=0.1))
    kernels = [w for name, w in model.named_parameters() if name in penalty.names]

    def gradients(extra: Any) -> list[Tensor]:
        output = model.eval()(x)
        output = output if isinstance(output, Tensor) else output.logits
        found = torch.autograd.grad(output.square().mean() + extra(), list(model.parameters()), allow_unused=True)
        return [torch.zeros(()) if g is None else g for g in found]

    plain = gradients(lambda: sum(0.01 * w.abs().sum() + 0.1 * w.square().sum() for w in kernels))
    for ours, theirs in zip(gradients(penalty), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_the_units_of_transformers_linear_layer_are_its_second_dimension() -> None:
    model, _ = gpt2()
    regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.05)).project()
    norms = model.transformer.h[0].attn.c_attn.weight.norm(dim=0)  # (in, out)
    assert norms.shape == (48,)
    torch.testing.assert_close(norms, torch.full((48,), 0.05))


def test_a_converted_timm_model_is_equivalent() -> None:
    model, x = timm_model()
    before = model.eval()(x)
    torch.testing.assert_close(regtorch.convert_dropout(model)(x), before)
    assert model.head_drop.drop_prob == model.head_drop.p == 0.2
    model.train()(x).sum().backward()  # its attention reads `p` of the dropout


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_hugging_face_trainer_matches_the_hand_written_loop(accumulate: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    trainer_class = runpy.run_path(str(ROOT / "examples/hugging_face.py"))["RegularizedTrainer"]
    rows = [{"input_ids": torch.randint(50, (8,)), "labels": i % 2} for i in range(8)]

    def build() -> tuple[nn.Module, Any, Any]:
        torch.manual_seed(0)
        model = bert()[0].double()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        where = "kernel:classifier.*"
        constraint = regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.05), where=where)
        return model, regtorch.WeightPenalty(model, regtorch.L1L2(l1=0.01, l2=0.1)), constraint

    model, penalty, constraint = build()
    arguments = transformers.TrainingArguments(
        tmp_path, num_train_epochs=1, per_device_train_batch_size=2, gradient_accumulation_steps=accumulate,
        optim="sgd", learning_rate=0.1, lr_scheduler_type="constant", max_grad_norm=0.5, weight_decay=0.0,
        train_sampling_strategy="sequential", report_to="none", use_cpu=True, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = trainer_class(model, arguments, train_dataset=rows)
    trainer.penalty, trainer.constraint = penalty, constraint
    trainer.train()

    hand, penalty, constraint = build()
    optimizer = torch.optim.SGD(hand.parameters(), lr=0.1)
    constraint.attach(optimizer)
    batches = [rows[i : i + 2] for i in range(0, len(rows), 2)]
    hand.train()
    for start in range(0, len(batches), accumulate):
        window = batches[start : start + accumulate]
        # the Trainer does not divide the loss of models that accept loss keyword arguments; this model's means add up
        parts = 1 if trainer.model_accepts_loss_kwargs else len(window)
        optimizer.zero_grad()
        for batch in window:
            ids = torch.stack([row["input_ids"] for row in batch])
            labels = torch.tensor([row["labels"] for row in batch])
            (hand(ids, labels=labels).loss / parts).backward()
        penalty().backward()
        nn.utils.clip_grad_norm_(hand.parameters(), 0.5)
        optimizer.step()
    for ours, theirs in zip(model.parameters(), hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
