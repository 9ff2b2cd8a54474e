import pytest

from support.gpu_cases import part


@pytest.mark.parametrize("text", ["Failed to allocate memory for requested buffer", "OutOfMemory"])
def test_a_library_without_memory_is_skipped(text: str) -> None:
    skips = part("memory").out_of_memory_skips
    with pytest.raises(part("guard").SkippedError, match=text), skips():
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="no such operator"), skips():
        raise RuntimeError("no such operator")
