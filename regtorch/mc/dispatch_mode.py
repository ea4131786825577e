"""The base of our dispatch modes."""

from torch.utils._python_dispatch import TorchDispatchMode


class QuickDispatchMode(TorchDispatchMode):
    """A dispatch mode that torch's compiler is not asked to leave alone: that would import it, which takes seconds."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
