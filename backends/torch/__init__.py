"""Run programs in PyTorch."""

from prunec.backends.torch.runner import TorchRunner

__all__ = ["TorchRunner"]
