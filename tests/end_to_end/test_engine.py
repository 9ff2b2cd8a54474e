"""From a program through ONNX to an engine of the installed TensorRT library."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import helper
from transformers import AutoModelForCausalLM

from prunec.backends.onnx import export_onnx
from prunec.backends.onnx.split_top_k import LIMIT
from prunec.backends.runner import generate
from prunec.backends.tensorrt import (
    EngineError,
    EngineOptions,
    Library,
    TensorRTRunner,
    build_engine,
    language_profiles,
    load_engine,
    manifest_path,
    read_manifest,
    require_buildable,
)
from prunec.backends.torch import TorchRunner
from prunec.driver.lowering import build_engines
from prunec.frontend.export import trace_model
from prunec.passes.contract import Context
from prunec.passes.ir import cast
from prunec.passes.surgery import SelectExperts
from support.models import llama_config, random_tokens, small_program
from support.step_onnx import write_step

pytestmark = pytest.mark.tensorrt

PROFILES = language_profiles(batch_size=3, new_tokens=32, max_length=64)
# bfloat16 keeps 8 bits of a logit; kernels that sum in another order differ by a few of the last.
BFLOAT16_RELATIVE = 0.05


@pytest.fixture(scope="module")
def library() -> Library:
    try:
        return require_buildable(EngineOptions(profiles=PROFILES))
    except EngineError as error:
        pytest.skip(f"no TensorRT library builds here: {error}")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(small_program(torch.bfloat16), path)
    return path


def options(library: Library, targets: tuple[str, ...] = ()) -> EngineOptions:
    return EngineOptions(library.name, profiles=PROFILES, targets=targets)


def test_a_bfloat16_engine_of_prefill_and_decode_is_built(
    library: Library, exported: Path, tmp_path: Path
) -> None:
    fractions: list[float] = []
    engine = tmp_path / "model.engine"
    manifest = build_engine(
        exported, engine, options(library), lambda phase, done: fractions.append(done)
    )
    assert manifest.precision == "bfloat16"
    assert manifest.library_version == library.version
    assert manifest.size_bytes == engine.stat().st_size > 100_000
    assert [p.name for p in manifest.profiles] == ["prefill", "decode"]
    assert list(manifest.onnx_sha256) == ["model.onnx", "model.onnx.data"]
    assert read_manifest(engine) == manifest
    assert fractions == sorted(fractions)
    assert 0.5 < fractions[-1] <= 1.0


def test_a_float16_engine_is_built(library: Library, tmp_path: Path) -> None:
    export_onnx(small_program(torch.float16), tmp_path / "model.onnx")
    manifest = build_engine(tmp_path / "model.onnx", tmp_path / "e", options(library))
    assert manifest.precision == "float16"
    assert {spec.dtype for spec in manifest.outputs} == {"float16"}


def test_a_choice_of_more_units_than_an_engine_takes_at_once_is_built(
    library: Library, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        llama_config(intermediate_size=LIMIT + 256, num_hidden_layers=1)
    )
    chosen = SelectExperts(keep=0.95, prior=0.5).apply(
        trace_model(model.eval()), Context(calibration=random_tokens(2, 8))
    )
    program = cast(chosen, torch.bfloat16)
    built = build_engines(program, tmp_path / "engine", options(library), lambda phase, done: None)
    assert set(built) == {"prefill", "decode"}


def test_an_engine_names_its_targets(library: Library, exported: Path, tmp_path: Path) -> None:
    if not library.has_targets:
        pytest.skip(f"{library.name} builds for the GPU that it runs on")
    manifest = build_engine(exported, tmp_path / "e", options(library, ("8.6", "8.9")))
    assert manifest.targets == ("8.6", "8.9")
    assert "capability 8.6 or 8.9" in manifest.runs_on
    with pytest.raises(EngineError, match=r"does not know the target 3\.5; it knows 7\.5, 8\.0"):
        build_engine(exported, tmp_path / "e", options(library, ("3.5",)))


def test_float32_attention_is_refused_before_the_build(library: Library, tmp_path: Path) -> None:
    if library.has_float32_attention:
        pytest.skip(f"{library.name} has a kernel for it")
    export_onnx(small_program(torch.float32), tmp_path / "model.onnx")
    with pytest.raises(EngineError, match="2 Attention nodes in float32"):
        build_engine(tmp_path / "model.onnx", tmp_path / "e", options(library))


def test_the_parser_names_the_node_that_it_rejects(library: Library, tmp_path: Path) -> None:
    path = write_step(tmp_path / "model.onnx")
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Unheard", ["scaled"], ["unread"], "strange"))
    model.graph.output.append(
        helper.make_tensor_value_info("unread", onnx.TensorProto.BFLOAT16, ["batch_size"])
    )
    onnx.save(model, path)
    with pytest.raises(EngineError, match=r"node strange \(Unheard\)"):
        build_engine(path, tmp_path / "e", options(library))


def test_an_interrupted_build_leaves_nothing(
    library: Library, exported: Path, tmp_path: Path
) -> None:
    def interrupt(phase: str, done: float) -> None:
        if done > 0.1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(exported, tmp_path / "e", options(library), interrupt)
    assert not list(tmp_path.iterdir())


def test_an_engine_is_refused_without_a_gpu(
    library: Library, exported: Path, tmp_path: Path
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    build_engine(exported, tmp_path / "e", options(library))
    with pytest.raises(EngineError, match="there is no NVIDIA GPU here"):
        load_engine(tmp_path / "e")
    manifest_path(tmp_path / "e").unlink()
    with pytest.raises(EngineError, match="build the engine first"):
        TensorRTRunner(tmp_path / "e")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_an_engine_agrees_with_torch(library: Library, exported: Path, tmp_path: Path) -> None:
    build_engine(exported, tmp_path / "e", options(library))
    engine = TensorRTRunner(tmp_path / "e")
    torch_runner = TorchRunner(small_program(torch.bfloat16), "cuda")
    tokens = random_tokens(3, 9)
    mask = torch.ones_like(tokens)
    mask[1, :4] = 0
    expected, expected_cache = torch_runner.step(tokens, mask, None)
    given, cache = engine.step(tokens, mask, None)
    scale = expected[mask.bool()].abs().max()
    assert (given - expected)[mask.bool()].abs().max() < BFLOAT16_RELATIVE * scale
    step, longer = random_tokens(3, 1, seed=1), torch.cat([mask, mask[:, -1:]], dim=1)
    expected, _ = torch_runner.step(step, longer, expected_cache)
    given, _ = engine.step(step, longer, cache)
    assert (given - expected).abs().max() < BFLOAT16_RELATIVE * scale
    assert generate(engine, tokens, mask, new_tokens=4).shape == (3, 4)
