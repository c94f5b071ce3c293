"""instructor, in each of its modes."""

from __future__ import annotations

import instructor
import openai
import pytest
from pydantic import BaseModel

from tests.clients.capabilities import needs
from tests.clients.conftest import KEY, MODEL


class Sum(BaseModel):
    """A sum."""

    sum: int


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(instructor.Mode.TOOLS, marks=needs("tools", "structured")),
        pytest.param(instructor.Mode.JSON_SCHEMA, marks=needs("structured")),
    ],
    ids=str,
)
def test_a_model_comes_back(base_url: str, mode: instructor.Mode) -> None:
    with openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as plain:
        client = instructor.from_openai(plain, mode=mode)
        question = [{"role": "user", "content": "Add 12 and 30."}]
        answer = client.chat.completions.create(
            model=MODEL, messages=question, response_model=Sum, temperature=0, max_tokens=60, max_retries=0
        )
    assert isinstance(answer, Sum)
