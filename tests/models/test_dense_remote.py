"""Dense families that transformers has no class for, against numpy."""

from typing import Any

import pytest

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.registry import spec_from_config
from tests.models.case import PROMPT_LEN
from tests.models.references import exaone, internlm2, llama
from tests.models.remote_cases import DENSE_REMOTE, REMOTE_CASE
from tests.models.remote_code import RemoteCase
from tests.models.test_first_remote import assert_equal

REFERENCES = {"exaone": exaone, "internlm2": internlm2}
REMOTE = {
    case.name: RemoteCase(case, reference.shapes, reference.logits)
    for case in DENSE_REMOTE
    for reference in [REFERENCES.get(case.name, llama)]
}


@pytest.mark.parametrize("name", REMOTE)
def test_logits_and_greedy_tokens_equal_those_of_the_reference(name: str) -> None:
    tokens, expected = REMOTE[name].continued()
    served = REMOTE[name].served(tokens)
    assert_equal(served, expected)
    assert served[PROMPT_LEN - 1 : -1].argmax(-1).tolist() == tokens[PROMPT_LEN:].tolist()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("solar", {"bskcn_1": [12, 20, 32, 44]}, "bskcn_1="),
        ("minicpm", {"num_experts": 8}, "num_experts=8"),
        ("exaone", {"num_layers": None}, "lacks num_layers"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        spec_from_config({**REMOTE_CASE[name].config, **changes})
