"""Monte Carlo prediction of public models, compared with the usual loop.

    python benchmarks/mc_models.py [--samples 1500] [--only NAME ...]

Each model has a tiny configuration and random weights. The table shows the ratio of the mean standard deviation to that of a
loop in training mode (normalization layers in eval mode), the ratio of the time of 100 samples to that of the loop, the share
of a pass that is computed once for all samples, and whether the model is split, or the reason why not. Needs torchvision, timm
and transformers.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import regtorch

Made = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]
TIMED = 100


def images(size: int, rows: int = 4) -> tuple[Tensor]:
    return (torch.randn(rows, 3, size, size),)


def from_torchvision(name: str, size: int = 64, **settings: Any) -> Callable[[], Made]:
    def make() -> Made:
        import torchvision

        return getattr(torchvision.models, name)(num_classes=5, **settings), images(size), {}

    return make


def from_timm(name: str, size: int = 64, **settings: Any) -> Callable[[], Made]:
    def make() -> Made:
        import timm

        return timm.create_model(name, num_classes=5, **settings), images(size), {}

    return make


def from_transformers(model: str, config: str, inputs: str = "input_ids", **settings: Any) -> Callable[[], Made]:
    def make() -> Made:
        import transformers

        transformers.logging.set_verbosity_error()
        made = getattr(transformers, model)(getattr(transformers, config)(**settings))
        x = images(16)[0] if inputs == "pixel_values" else torch.randint(3, 50, (4, 12))
        return made, (), {inputs: x}

    return make


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
TEXT = {"vocab_size": 50, "initializer_range": 0.3, **SMALL}
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 2}

# residual branches start at zero in some of these models, so that noise in them would not change the output
MODELS: dict[str, Callable[[], Made]] = {
    "torchvision alexnet": from_torchvision("alexnet"),
    "torchvision vgg11": from_torchvision("vgg11", 32),
    "torchvision squeezenet1_1": from_torchvision("squeezenet1_1"),
    "torchvision densenet121": from_torchvision("densenet121", 32, drop_rate=0.2),
    "torchvision mobilenet_v2": from_torchvision("mobilenet_v2", 32),
    "torchvision mobilenet_v3_small": from_torchvision("mobilenet_v3_small", 32),
    "torchvision mnasnet0_5": from_torchvision("mnasnet0_5", 32),
    "torchvision efficientnet_b0": from_torchvision("efficientnet_b0", 32),
    "torchvision convnext_tiny": from_torchvision("convnext_tiny", 32, layer_scale=1.0),
    "torchvision swin_t": from_torchvision("swin_t", 32),
    "timm vit, attention dropout": from_timm("vit_tiny_patch16_224", 32, attn_drop_rate=0.3, **VIT),
    "timm vit, drop path": from_timm("vit_tiny_patch16_224", 32, drop_path_rate=0.3, **VIT),
    "timm vit, patch dropout": from_timm("vit_tiny_patch16_224", 32, patch_drop_rate=0.3, **VIT),
    "timm convnext_atto": from_timm("convnext_atto", 32, drop_path_rate=0.3, ls_init_value=1.0),
    "timm resnet18, DropBlock": from_timm("resnet18", drop_block_rate=0.1, zero_init_last=False),
    "timm mixer_s32": from_timm(
        "mixer_s32_224", 64, img_size=64, drop_rate=0.1, drop_path_rate=0.2
    ),
    "BERT": from_transformers("BertForSequenceClassification", "BertConfig", **TEXT),
    "BERT, classifier only": from_transformers(
        "BertForSequenceClassification", "BertConfig", classifier_dropout=0.5, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, **TEXT
    ),
    "RoBERTa": from_transformers("RobertaForSequenceClassification", "RobertaConfig", **TEXT),
    "DistilBERT": from_transformers(
        "DistilBertForSequenceClassification", "DistilBertConfig", vocab_size=50, dim=32, n_layers=2, n_heads=2,
        hidden_dim=48, initializer_range=0.3
    ),
    "GPT-2": from_transformers(
        "GPT2ForSequenceClassification", "GPT2Config", vocab_size=50, n_embd=32, n_layer=2, n_head=2, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, initializer_range=0.3
    ),
    "ViT of transformers": from_transformers(
        "ViTForImageClassification", "ViTConfig", "pixel_values", image_size=16, patch_size=4, hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.2, initializer_range=0.3, **SMALL
    ),
}  # fmt: skip


def logits(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.logits


def loop(model: nn.Module, args: Any, kwargs: Any, samples: int) -> Tensor:
    """The usual loop."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.eval()
    with torch.no_grad():
        return torch.stack([logits(model(*args, **kwargs)) for _ in range(samples)])


def row(name: str, samples: int) -> str:
    torch.manual_seed(0)
    model, args, kwargs = MODELS[name]()
    model.eval()
    with torch.no_grad():  # with the default statistics of random weights, the outputs would hardly vary
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_var is not None:
                module.running_var.fill_(0.3)
        for weight in model.parameters():
            if weight.ndim > 1 and not weight.any():  # a head of zeros lets no noise through
                nn.init.normal_(weight, std=0.1)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    spread = loop(model, args, kwargs, samples).std(0)
    model.eval()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictor = regtorch.MCPredictor(model, samples=samples, transform=None)
        ratio = (predictor(*args, **kwargs).std.mean() / spread.mean()).item()
    same = all(torch.equal(value, state[key]) for key, value in model.state_dict().items()) and not model.training
    why = [str(w.message) for w in caught if str(w.message).startswith(f"{type(model).__name__} ")]
    predictor.samples = TIMED
    seconds = []
    for run in (lambda: predictor(*args, **kwargs), lambda: loop(model, args, kwargs, TIMED)):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
            model.eval()
        seconds.append(min(times))
    split = "split" if not why else why[0].partition(": ")[2]
    return f"| {name} | {ratio:.3f} | {seconds[0] / seconds[1]:.2f} | {predictor.reused:.0%} | {split} | {'yes' if same else 'NO'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    arguments = parser.parse_args()
    print(
        "| model | std / std of loop | time / time of loop | computed once | how | state unchanged |\n|---|---|---|---|---|---|"
    )
    for name in arguments.only:
        print(row(name, arguments.samples), flush=True)


if __name__ == "__main__":
    main()
