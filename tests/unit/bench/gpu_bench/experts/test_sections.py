import json

from support.gpu_cases import case, check_speed, part


def test_the_case_is_described_with_its_bounds() -> None:
    found = json.loads(json.dumps(part("experts.sections").describe_case(case())))
    assert found["units"] == [[48, 96], [48, 96]]
    sizes = found["decode_bytes"]
    assert sizes["dense"] - sizes["chosen"] == found["gathered_bytes"]
    assert found["bounds"]["24"]["weights"] == sizes["dense"] / sizes["chosen"]


def test_keeping_all_units_compares_the_dense_program_with_itself() -> None:
    whole = case(experts_keep=1.0)
    found = part("experts.sections").describe_case(whole)
    assert found["units"] == []
    assert found["bounds"][24]["weights"] == 1
    check_speed(part("experts.torch").measure(whole, "cpu")["eager"])
