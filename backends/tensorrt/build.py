"""Build an engine from an ONNX file with whichever TensorRT library is installed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from prunec.backends.tensorrt.library import EngineError, Library, gpu_capability
from prunec.backends.tensorrt.manifest import EngineManifest, file_sha256, manifest_path
from prunec.backends.tensorrt.messages import Messages
from prunec.backends.tensorrt.onnx_file import OnnxFile, read_onnx
from prunec.backends.tensorrt.options import EngineOptions, Profile, require_buildable
from prunec.backends.tensorrt.progress import BuildProgress, BuildTracker, attach
from prunec.passes.ir import replaced_file


def build_engine(
    onnx: Path,
    engine: Path,
    options: EngineOptions | None = None,
    progress: BuildProgress | None = None,
) -> EngineManifest:
    """Build an engine and write it with its manifest, ``<engine>.json``, beside it.

    The network is strongly typed: the engine computes in the precision of the ONNX file. An
    interrupt stops the build at its next step and leaves what was there before.

    Args:
        onnx: The model; weights may lie in files beside it.
        engine: Where to write.
        options: What to build; the defaults where not given.
        progress: Told the phase and the fraction done.

    Raises:
        EngineError: the library is missing, cannot do what is asked, or rejects the model.
    """
    options = options or EngineOptions()
    library = require_buildable(options)
    source = read_onnx(onnx)
    _require_kernels(library, source)
    started = time.monotonic()
    serialized = _build(library, source, options, progress)
    seconds = time.monotonic() - started
    with replaced_file(engine) as engine_file, replaced_file(manifest_path(engine)) as side_file:
        with engine_file.open("wb") as file:
            file.write(serialized)
        manifest = _describe(library, source, options, engine_file, seconds)
        side_file.write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _require_kernels(library: Library, source: OnnxFile) -> None:
    if source.float32_attention and not library.has_float32_attention:
        raise EngineError(
            f"{source.path} has {len(source.float32_attention)} Attention nodes in float32 "
            f"(the first is {source.float32_attention[0]}) and {library.name} has no kernel for "
            "them: export the program in bfloat16 or float16, or with the rewrites FOR_TENSORRT of "
            "prunec.backends.onnx"
        )


def _build(
    library: Library, source: OnnxFile, options: EngineOptions, progress: BuildProgress | None
) -> Any:
    trt = library.module
    messages = Messages(trt)
    builder = trt.Builder(messages.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt, network, messages, source)
    config = builder.create_builder_config()
    _configure(library, config, options)
    for profile in options.profiles:
        config.add_optimization_profile(
            _shape_profile(builder.create_optimization_profile(), profile, source)
        )
    tracker = BuildTracker(progress)
    config.progress_monitor = attach(tracker, trt)
    serialized = _run_interruptibly(builder, network, config, tracker)
    if tracker.error is not None:
        raise tracker.error
    if serialized is None:
        raise EngineError(f"{library.name} could not build {source.path}: {messages.quoted()}")
    _save_timing_cache(library, config, options)
    return serialized


def _parse(trt: Any, network: Any, messages: Messages, source: OnnxFile) -> None:
    parser = trt.OnnxParser(network, messages.logger)
    if parser.parse_from_file(str(source.path)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    reasons = [
        f"node {e.node_name() or e.node()} ({e.node_operator() or 'unknown operator'}): {e.desc()}"
        for e in errors
    ]
    reason = "; ".join(reasons) or messages.quoted()
    raise EngineError(f"{source.path} has what the parser does not take: {reason}")


def _configure(library: Library, config: Any, options: EngineOptions) -> None:
    trt = library.module
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.optimisation_level is not None:
        config.builder_optimization_level = options.optimisation_level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.targets:
        config.num_compute_capabilities = len(options.targets)
        for index, target in enumerate(options.targets):
            config.set_compute_capability(library.known_targets()[target], index)
    if options.timing_cache is not None and library.has_timing_cache:
        known = options.timing_cache.read_bytes() if options.timing_cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(known), False)


def _shape_profile(profile: Any, ranges: Profile, source: OnnxFile) -> Any:
    for spec in source.inputs:
        if all(isinstance(size, int) for size in spec.shape):
            continue
        profile.set_shape(spec.name, *ranges.shapes(spec.shape))
    return profile


def _run_interruptibly(builder: Any, network: Any, config: Any, tracker: BuildTracker) -> Any:
    # The library would meet an interrupt inside its own frames if it ran on this thread.
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(builder.build_serialized_network, network, config)
        try:
            return running.result()
        except BaseException:  # an interrupt too: the builder would go on in its thread
            tracker.cancel()
            raise


def _save_timing_cache(library: Library, config: Any, options: EngineOptions) -> None:
    if options.timing_cache is None or not library.has_timing_cache:
        return
    with replaced_file(options.timing_cache) as temporary:
        temporary.write_bytes(config.get_timing_cache().serialize())


def _describe(
    library: Library, source: OnnxFile, options: EngineOptions, engine: Path, seconds: float
) -> EngineManifest:
    targets = options.targets
    if not library.has_targets and not options.hardware_compatible:
        targets = (str(gpu_capability()),)
    devices = " or ".join(targets) if targets else "8.0 and later"
    versions = " or later" if options.version_compatible else ""
    return EngineManifest(
        library=library.name,
        library_version=library.version,
        runs_on=f"NVIDIA GPUs of compute capability {devices}, "
        f"with {library.name} {library.version}{versions}",
        targets=targets,
        device=torch.cuda.get_device_name() if gpu_capability() else "",
        precision=source.precision,
        profiles=options.profiles,
        inputs=source.inputs,
        outputs=source.outputs,
        options={
            "workspace_bytes": options.workspace_bytes,
            "optimisation_level": options.optimisation_level,
            "version_compatible": options.version_compatible,
            "hardware_compatible": options.hardware_compatible,
        },
        onnx_sha256=source.sha256(),
        engine_sha256=file_sha256(engine),
        size_bytes=engine.stat().st_size,
        seconds=round(seconds, 3),
    )
