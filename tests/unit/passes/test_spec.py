from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunec.passes.analysis.importance import Score
from prunec.passes.contract import Pass
from prunec.passes.pipelines import CLEAN
from prunec.passes.plan import Allocate
from prunec.passes.repair import Refit
from prunec.passes.spec import SpecError, build_pass, format_pipeline, parse_pipeline
from prunec.passes.surgery import RemoveStructures

kinds = st.sampled_from([("ffn-channel",), ("kv-group", "ffn-channel")])
passes = st.one_of(
    st.builds(Score, st.sampled_from(["magnitude", "activation", "taylor"]), kinds),
    st.builds(Allocate, st.floats(0.01, 1), kinds, st.integers(1, 64), st.floats(0, 1)),
    st.builds(
        Allocate,
        kv_bytes=st.none() | st.floats(0.01, 1),
        method=st.just("global"),
        multiples=st.sampled_from([(), ("ffn-channel=16", "qk-dim=8")]),
        protect=st.lists(st.integers(-9, 9) | st.just("heads/*"), max_size=3).map(tuple),
        kind_weights=st.sampled_from([(), ("kv-group=2.0",)]),
    ),
    st.builds(RemoveStructures, st.sampled_from(["", "plan.json", "a folder/plan.json"])),
    st.builds(Refit, st.floats(1e-6, 10)),
)


@given(st.lists(passes, max_size=5))
def test_text_and_pipeline_round_trip(pipeline: list[Pass]) -> None:
    assert parse_pipeline(format_pipeline(pipeline)) == tuple(pipeline)


def test_a_named_pipeline_stands_for_its_passes() -> None:
    assert parse_pipeline("clean,refit") == (*CLEAN, Refit())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("refti", "did you mean 'refit'"),
        ("refit{rigde=1}", "did you mean 'ridge'.*allowed: ridge"),
        ("refit{ridge=much}", "ridge='much'.*valid number"),
        ("refit{ridge=0}", "must be above 0"),
        ("allocate{keep=1.5}", "keep=1.5 is not"),
        ("score{criterion=luck}", "choose one of"),
        ("refit refit", "separated by commas"),
        ("refit{ridge}", "write key=value"),
    ],
)
def test_bad_text_says_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_pipeline(text)


def test_options_may_be_values_as_in_a_recipe_file() -> None:
    assert build_pass("allocate", {"keep": 0.5, "kinds": ["ffn-channel"]}) == Allocate(
        0.5, ("ffn-channel",)
    )
