"""A session whose inputs and outputs are bound where they stay, to be run again and again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from prunec.backends.ort.cache import Values

Feeds = Mapping[str, np.ndarray]
"""Arrays by the name of the input."""


class Binding:
    """What a session reads and writes; only what changes is bound anew for a run.

    Args:
        session: Of ONNX Runtime.
        cache: Inputs that stay, by name.
        handed_on: Further ones.
        outputs: Values to write to, by name.
        fresh: Names of further outputs, which every run allocates.
        device: Where; the logits are always on the CPU.
    """

    def __init__(
        self,
        session: Any,
        cache: Values,
        handed_on: Values | None,
        outputs: Values,
        fresh: Collection[str],
        device: str,
    ) -> None:
        self._session = session
        self._handed_on = handed_on
        self._binding = session.io_binding()
        self._devices = {name: "cpu" if name == "logits" else device for name in fresh}
        self._names = [*outputs, *fresh]
        for name, value in {**cache, **(handed_on or {})}.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def serves(self, session: Any, handed_on: Values | None) -> bool:
        """Whether this is that session, given the same values."""
        return self._session is session and self._handed_on is handed_on

    def run(self, feeds: Feeds) -> dict[str, Any]:
        """The fresh outputs for these further inputs; nothing but them is copied."""
        for name, array in feeds.items():
            self._binding.bind_cpu_input(name, array)
        for name, device in self._devices.items():
            self._binding.bind_output(name, device)
        self._session.run_with_iobinding(self._binding)
        found = zip(self._names, self._binding.get_outputs(), strict=True)
        return {name: value for name, value in found if name in self._devices}
