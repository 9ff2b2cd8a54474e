"""The cache in memory with room: growing in place, and what an earlier step still holds."""

from __future__ import annotations

import numpy as np
import onnxruntime

from prunec.backends.ort.cache import Cache, Values

KEY, VALUE = "past_key_values.0.key", "past_key_values.0.value"


def full(tokens: int, start: float = 0.0) -> Cache:
    values = np.arange(2 * 3 * tokens * 4, dtype=np.float32).reshape(2, 3, tokens, 4) + start
    given = {KEY: values, VALUE: -values}
    return Cache.full({n: onnxruntime.OrtValue.ortvalue_from_numpy(v) for n, v in given.items()})


def write(cache: Cache, token: int, number: float) -> None:
    """What a step does to the place of one token."""
    for value in cache.memory.values.values():
        value.numpy()[:, :, token] = number


def arrays(values: Values) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in values.items()}


def same(found: Values, expected: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(found[name].numpy(), array) for name, array in expected.items())


def test_what_is_full_is_handed_on_as_it_is() -> None:
    cache = full(5)
    assert cache.tokens == 5
    assert cache.exact() is cache.memory.values


def test_growing_keeps_what_is_there_and_makes_room_once() -> None:
    cache = full(5)
    expected = arrays(cache.exact())
    grown = cache.grown(1)
    write(grown, 5, 7.0)
    assert same(cache.exact(), expected)
    assert all(np.array_equal(grown.exact()[n].numpy()[:, :, :5], expected[n]) for n in expected)
    assert np.all(grown.exact()[KEY].numpy()[:, :, 5] == 7)
    further = grown.grown(1)
    assert further.memory is grown.memory, "the second token goes into the same memory"
    assert further.tokens == 7


def test_memory_grows_by_a_share_so_that_copies_are_rare() -> None:
    cache, moves = full(1), 0
    for _ in range(2000):
        after = cache.grown(1)
        moves += after.memory is not cache.memory
        cache = after
    assert cache.tokens == 2001
    assert moves < 16


def test_two_steps_from_one_cache_do_not_write_over_each_other() -> None:
    cache = full(5).grown(1)
    write(cache, 5, 1.0)
    one, other = cache.grown(1), cache.grown(1)
    write(one, 6, 2.0)
    write(other, 6, 3.0)
    assert other.memory is not one.memory
    for grown, last in ((one, 2.0), (other, 3.0)):
        found = grown.exact()[VALUE].numpy()
        assert np.all(found[:, :, 5] == 1)
        assert np.all(found[:, :, 6] == last)


def test_a_cache_without_its_last_tokens_leaves_the_longer_one_alone() -> None:
    cache = full(5).grown(2)
    write(cache, 5, 1.0)
    write(cache, 6, 2.0)
    longer = arrays(cache.exact())
    cut = cache.without_last(2)
    assert cut.exact()[KEY].shape() == [2, 3, 5, 4]
    write(cut.grown(1), 5, 9.0)
    assert same(cache.exact(), longer)


def test_an_empty_cache_grows_too() -> None:
    grown = full(0).grown(3)
    assert grown.tokens == 3
    assert grown.exact()[KEY].shape() == [2, 3, 3, 4]
