import pytest

from prunec.backends.tensorrt.progress import BuildTracker


def test_nested_phases_become_one_fraction() -> None:
    seen: list[tuple[str, float]] = []
    tracker = BuildTracker(lambda phase, fraction: seen.append((phase, fraction)))
    tracker.start("build", None, 2)
    tracker.start("parse", "build", 5)
    assert all(tracker.step("parse") for _ in range(5))
    tracker.finish("parse")
    tracker.step("build")
    tracker.start("time", "build", 2)
    tracker.step("time")
    assert seen[4] == ("parse", pytest.approx(0.5))
    assert seen[-1] == ("time", 0.75)
    assert [fraction for _, fraction in seen] == sorted(fraction for _, fraction in seen)


def test_a_phase_that_comes_twice_never_goes_back() -> None:
    seen: list[float] = []
    tracker = BuildTracker(lambda phase, fraction: seen.append(fraction))
    tracker.start("build", None, 1)
    for _ in range(3):
        tracker.start("tactics", "build", 2)
        tracker.step("tactics")
        tracker.finish("tactics")
    assert seen == [0.5]


def test_a_cancelled_build_stops_at_its_next_step() -> None:
    tracker = BuildTracker(None)
    tracker.start("build", None, 2)
    assert tracker.step("build")
    tracker.cancel()
    assert not tracker.step("build")


def test_what_the_callback_raises_stops_the_build_and_is_kept() -> None:
    def stop(phase: str, fraction: float) -> None:
        raise RuntimeError("enough")

    tracker = BuildTracker(stop)
    tracker.start("build", None, 2)
    assert not tracker.step("build")
    assert str(tracker.error) == "enough"


def test_steps_of_an_unknown_phase_count_nothing() -> None:
    assert BuildTracker(None).step("never started")
