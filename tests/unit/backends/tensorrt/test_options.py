import pytest

from prunec.backends.tensorrt import (
    AxisRange,
    EngineError,
    EngineOptions,
    Profile,
    language_profiles,
    require_buildable,
)
from support.fake_tensorrt import FakeTensorRT, set_gpu


def test_the_mask_covers_past_and_new_tokens() -> None:
    prefill, decode = language_profiles(batch_size=4, new_tokens=64, max_length=128)
    assert prefill.require_range("total_sequence_length") == AxisRange(1, 32, 64)
    assert decode.require_range("total_sequence_length") == AxisRange(2, 65, 129)
    assert decode.require_range("past_sequence_length + sequence_length") == AxisRange(2, 65, 129)
    assert decode.shapes(["batch_size", 3, "past_sequence_length", 16]) == (
        (1, 3, 1, 16),
        (4, 3, 64, 16),
        (4, 3, 127, 16),
    )


def test_a_profile_accepts_what_lies_in_its_ranges() -> None:
    prefill, decode = language_profiles(new_tokens=64, max_length=128)
    prompt = {"batch_size": 1, "sequence_length": 7, "past_sequence_length": 0}
    assert prefill.accepts(prompt)
    assert not decode.accepts(prompt)
    assert decode.accepts({"sequence_length": 1, "past_sequence_length": 127})
    assert not decode.accepts({"sequence_length": 1, "past_sequence_length": 128})


def test_an_axis_without_a_range_is_named() -> None:
    with pytest.raises(EngineError, match=r"'still' has no range .* 'height'; it has \['width'\]"):
        Profile("still", {"width": AxisRange(1, 2, 3)}).require_range("height")


def test_ranges_ascend() -> None:
    with pytest.raises(EngineError, match="must ascend"):
        AxisRange(4, 2, 8)


def test_an_unknown_target_is_refused_with_the_known_ones(fake_rtx: FakeTensorRT) -> None:
    options = EngineOptions(library="tensorrt_rtx", targets=("8.9", "9.0"))
    with pytest.raises(EngineError, match=r"does not know the target 9\.0; it knows 8\.9, 12\.0"):
        require_buildable(options)
    assert require_buildable(EngineOptions("tensorrt_rtx", targets=("12.0",))).extra == "rtx"


def test_options_of_the_other_library_are_refused(
    fake: FakeTensorRT, fake_rtx: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match="no version_compatible or hardware_compatible"):
        require_buildable(EngineOptions("tensorrt_rtx", hardware_compatible=True))
    set_gpu(monkeypatch, (8, 9))
    with pytest.raises(EngineError, match="takes no targets"):
        require_buildable(EngineOptions("tensorrt", targets=("8.9",)))


def test_tensorrt_is_refused_where_there_is_no_gpu(
    fake: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_gpu(monkeypatch, None)
    with pytest.raises(EngineError, match="there is no NVIDIA GPU here"):
        require_buildable(EngineOptions("tensorrt"))


def test_an_engine_needs_a_profile(fake: FakeTensorRT) -> None:
    with pytest.raises(EngineError, match="at least one optimisation profile"):
        require_buildable(EngineOptions("tensorrt", profiles=()))
