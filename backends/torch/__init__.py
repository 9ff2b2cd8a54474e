"""Run programs in PyTorch."""

from prunec.backends.torch.experts_runner import ExpertsRunner
from prunec.backends.torch.open_runner import open_runner
from prunec.backends.torch.rereading_runner import RereadingRunner
from prunec.backends.torch.runner import TorchRunner
from prunec.backends.torch.whole_runner import TorchWholeRunner

__all__ = [
    "ExpertsRunner",
    "RereadingRunner",
    "TorchRunner",
    "TorchWholeRunner",
    "open_runner",
]
