"""Monte Carlo prediction with any module that has dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regtorch.errors import SettingError
from regtorch.mc.moments import RunningMoments
from regtorch.mc.prediction import MCPrediction
from regtorch.mc.switching import switched_on
from regtorch.settings import COUNT, POSITIVE, SEED, one_of

Transform = Literal["softmax", "sigmoid"] | Callable[[Tensor], Tensor] | None

#: with a tolerance, rows are checked first after so many samples, and then after each further so many
MIN_SAMPLES = 16


class MCPredictor:
    """Predicts by the moments over several forward passes with dropout on and everything else in eval mode.

    Sample t is one thinned network: with ``masks="shared"`` its masks have no batch dimension, hold for every row and
    depend on (seed, dropout, t) alone, so a row's result does not depend on the batch it comes in. With
    ``masks="independent"`` each row draws anew, reproducibly for the same batches only. The model's modes and the
    global random state are as before afterwards, also after an exception.

    Args:
        model: any module with dropout, regtorch's or torch's.
        samples: number of forward passes, >= 1.
        transform: of the model's output: ``"softmax"`` (over dimension 1), ``"sigmoid"``, a function, or None.
        seed: of the masks.
        tolerance: a row stops when the standard error of its mean is below this in every entry, checked after
            every 16 samples; None takes all samples.
        masks: ``"shared"`` or ``"independent"``.

    Raises:
        SettingError: a value outside its range.
        NothingBoundError: the model has no dropout.

    Source: Gal and Ghahramani, "Dropout as a Bayesian approximation", 2016.

    Example:
        >>> import regtorch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), regtorch.Dropout(drop_prob=0.5), nn.Linear(8, 3))
        >>> out = MCPredictor(model, samples=20)(torch.zeros(2, 4))
        >>> out.mean.shape, out.samples_used
        (torch.Size([2, 3]), tensor([20, 20]))
    """

    def __init__(
        self,
        model: nn.Module,
        samples: int = 100,
        transform: Transform = "softmax",
        seed: int = 0,
        tolerance: float | None = None,
        masks: Literal["shared", "independent"] = "shared",
    ) -> None:
        COUNT.check("samples", samples)
        SEED.check("seed", seed)
        one_of("shared", "independent").check("masks", masks)
        if tolerance is not None:
            POSITIVE.check("tolerance", tolerance)
        if not callable(transform):
            one_of("softmax", "sigmoid", None).check("transform", transform)
        self.model = model
        self.samples = samples
        self.transform = transform
        self.seed = seed
        self.tolerance = tolerance
        self.masks = masks

    @torch.no_grad()
    def __call__(self, x: Tensor) -> MCPrediction:
        """The moments of the predictions of a batch (batch, ...)."""
        moments, entropies = RunningMoments(len(x)), RunningMoments(len(x))
        active = torch.arange(len(x), device=x.device)
        with switched_on(self.model, shared=self.masks == "shared") as draw:
            for sample in range(self.samples):
                draw(self.seed, sample)
                predicted = self._transformed(self.model(x if len(active) == len(x) else x[active]))
                moments.add(predicted, active)
                if self.transform in ("softmax", "sigmoid"):
                    entropies.add(self._entropy(predicted)[:, None], active)
                if self.tolerance is not None and (sample + 1) % MIN_SAMPLES == 0:
                    active = active[moments.standard_error(active) >= self.tolerance]
                    if not len(active):
                        break
        if entropies.count is None:
            return self._prediction(moments, None, None)
        return self._prediction(moments, self._entropy(moments.mean), entropies.mean[:, 0])

    def _prediction(self, moments: RunningMoments, predictive: Tensor | None, expected: Tensor | None) -> MCPrediction:
        assert moments.count is not None
        mutual = None if predictive is None or expected is None else (predictive - expected).clamp(min=0)
        return MCPrediction(moments.mean, moments.std, moments.std**2, moments.count, predictive, expected, mutual)

    def _transformed(self, output: Any) -> Tensor:
        if callable(self.transform):
            predicted: Tensor = self.transform(output)
            if not torch.isfinite(predicted).all():
                raise SettingError(f"transform={self.transform} is not allowed: it gave numbers that are not finite")
            return predicted.float()
        wide: Tensor = output if output.dtype == torch.float64 else output.float()
        if self.transform is None:
            return wide
        return wide.softmax(1) if self.transform == "softmax" else wide.sigmoid()

    def _entropy(self, probabilities: Tensor) -> Tensor:
        entropy: Tensor = torch.special.entr(probabilities).flatten(1).sum(1)
        if self.transform == "sigmoid":
            entropy = entropy + torch.special.entr(1 - probabilities).flatten(1).sum(1)
        return entropy
