"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.schedulers.base import Scheduler
from regtorch.schedulers.cosine import CosineScheduler
from regtorch.schedulers.exponential import ExponentialScheduler
from regtorch.schedulers.linear_warmup import LinearWarmupScheduler
from regtorch.schedulers.none import NoScheduler
from regtorch.schedulers.one_cycle import OneCycleScheduler
from regtorch.schedulers.plateau import PlateauScheduler
from regtorch.schedulers.step import StepScheduler
from regtorch.schedulers.warmup_cosine import WarmupCosineScheduler

__all__ = [
    "CosineScheduler",
    "ExponentialScheduler",
    "LinearWarmupScheduler",
    "NoScheduler",
    "OneCycleScheduler",
    "PlateauScheduler",
    "Scheduler",
    "StepScheduler",
    "WarmupCosineScheduler",
]
