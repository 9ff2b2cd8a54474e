"""Build TensorRT engines from ONNX files, check them before loading, and run them."""

from prunec.backends.tensorrt.build import build_engine
from prunec.backends.tensorrt.build_experts import build_experts_engines
from prunec.backends.tensorrt.experts_runner import ExpertsTensorRTRunner
from prunec.backends.tensorrt.library import EngineError, Library, require_library
from prunec.backends.tensorrt.load import LoadedEngine, load_engine
from prunec.backends.tensorrt.manifest import EngineManifest, manifest_path, read_manifest
from prunec.backends.tensorrt.options import (
    AxisRange,
    EngineOptions,
    Profile,
    language_profiles,
    require_buildable,
)
from prunec.backends.tensorrt.program_profiles import program_profiles
from prunec.backends.tensorrt.runner import TensorRTRunner

__all__ = [
    "AxisRange",
    "EngineError",
    "EngineManifest",
    "EngineOptions",
    "ExpertsTensorRTRunner",
    "Library",
    "LoadedEngine",
    "Profile",
    "TensorRTRunner",
    "build_engine",
    "build_experts_engines",
    "language_profiles",
    "load_engine",
    "manifest_path",
    "program_profiles",
    "read_manifest",
    "require_buildable",
    "require_library",
]
