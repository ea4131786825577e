"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.schedules.base import Schedule
from regtorch.schedules.constant import ConstantSchedule
from regtorch.schedules.cosine_annealing import CosineSchedule
from regtorch.schedules.linear_warmup import LinearWarmupSchedule
from regtorch.schedules.step_decay import StepSchedule

__all__ = ["ConstantSchedule", "CosineSchedule", "LinearWarmupSchedule", "Schedule", "StepSchedule"]
