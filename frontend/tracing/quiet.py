"""Keep the tracer from printing what it raises or what its users cannot change."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

_CHATTY = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes", "transformers")


@contextmanager
def quietly() -> Iterator[None]:
    """Silence deprecations, and what the tracer prints of errors that it raises anyway."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
