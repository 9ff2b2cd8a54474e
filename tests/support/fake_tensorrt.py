"""A stand-in for the ``tensorrt`` package: the names that a build and a load use, recorded.

Its classes and members are those of the 11.4 bindings. What 10 has besides is not used, and what
only ``tensorrt_rtx`` has (``ComputeCapability``) is absent, so a wrong name fails here as there.
"""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any

import pytest
import torch


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = Severity

    def log(self, severity: enum.Enum, text: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, name: str) -> None:
        raise NotImplementedError


class BuilderFlag(enum.IntEnum):
    VERSION_COMPATIBLE = 12


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class HardwareCompatibilityLevel(enum.Enum):
    NONE = 0
    AMPERE_PLUS = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ComputeCapability(enum.Enum):
    """Only ``tensorrt_rtx`` has it: a test that plays it adds it to the module."""

    NONE = 0
    CURRENT = 1
    SM89 = 89
    SM120 = 120


class ParserError:
    def __init__(self, description: str, node: str, operator: str) -> None:
        self.desc = lambda: description
        self.node_name = lambda: node
        self.node_operator = lambda: operator
        self.node = lambda: 7


class OptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(
        self, name: str, least: tuple[int, ...], best: tuple[int, ...], most: tuple[int, ...]
    ) -> None:
        self.shapes[name] = (least, best, most)


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+timed"


class BuilderConfig:
    def __init__(self) -> None:
        self.flags: list[BuilderFlag] = []
        self.profiles: list[OptimizationProfile] = []
        self.pool_limits: dict[MemoryPoolType, int] = {}
        self.builder_optimization_level = 3
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.progress_monitor: IProgressMonitor | None = None
        self._timing_cache: TimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.append(flag)

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_memory_pool_limit(self, pool: MemoryPoolType, limit: int) -> None:
        self.pool_limits[pool] = limit

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self._timing_cache = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self._timing_cache


class FakeTensorRT(ModuleType):
    """The module object: put it into ``sys.modules`` under the name ``tensorrt``.

    Attributes:
        config: Of the last build.
        creation_flags: Of the last network.
        parser_errors: What the next parse reports; it fails where there is one.
        build_error: What the next build logs before it gives nothing.
    """

    ILogger = ILogger
    IProgressMonitor = IProgressMonitor
    BuilderFlag = BuilderFlag
    NetworkDefinitionCreationFlag = NetworkDefinitionCreationFlag
    HardwareCompatibilityLevel = HardwareCompatibilityLevel
    MemoryPoolType = MemoryPoolType

    def __init__(self, version: str) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.__spec__ = __spec__  # so that it is found as an installed package is
        self.config = BuilderConfig()
        self.creation_flags = 0
        self.parser_errors: list[ParserError] = []
        self.build_error = ""
        self.host_code_allowed = False

    def Builder(self, logger: Any) -> Any:  # noqa: N802 - the library's name
        return _Builder(self, logger)

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        return _Parser(self.parser_errors)

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        return _Runtime(self, logger)


class _Parser:
    def __init__(self, errors: list[ParserError]) -> None:
        self._errors = errors
        self.num_errors = len(errors)

    def parse_from_file(self, path: str) -> bool:
        return not self._errors

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class _Builder:
    def __init__(self, module: FakeTensorRT, logger: ILogger) -> None:
        self._module = module
        self._logger = logger

    def create_network(self, flags: int) -> object:
        self._module.creation_flags = flags
        return object()

    def create_builder_config(self) -> BuilderConfig:
        self._module.config = BuilderConfig()
        return self._module.config

    def create_optimization_profile(self) -> OptimizationProfile:
        return OptimizationProfile()

    def build_serialized_network(self, network: object, config: BuilderConfig) -> bytes | None:
        if self._module.build_error:
            self._logger.log(Severity.ERROR, self._module.build_error)
            return None
        monitor = config.progress_monitor
        assert monitor is not None
        monitor.phase_start("Building engine", None, 4)
        for step in range(4):
            if not monitor.step_complete("Building engine", step):
                return None
        monitor.phase_finish("Building engine")
        return b"engine of " + self._module.__version__.encode()


class _Runtime:
    def __init__(self, module: FakeTensorRT, logger: ILogger) -> None:
        self.engine_host_code_allowed = False
        self._module = module
        self._logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> object | None:
        self._module.host_code_allowed = self.engine_host_code_allowed
        if not content.startswith(b"engine of "):
            self._logger.log(Severity.ERROR, "magic tag does not match")
            return None
        return content


def set_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None) -> None:
    """Make PyTorch report a GPU of this compute capability, or none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA L4")
