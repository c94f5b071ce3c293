"""Inputs: embeddings in place of tokens give the same answers, and are part of a cached prefix's identity."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import EngineRequest
from jaxpaged.errors import RequestError
from tests.engine import tiny
from tests.engine.dense import Oracle
from tests.engine.drive import ask, preemptions, rescheduled, run
from tests.engine.tiny import VOCAB
from tests.names import name_of

LENGTHS = (1, 7, 8, 9, 16, 17, 40, 64)


def prompt(length: int) -> list[int]:
    return [(7 * i * i + 5 * length) % VOCAB for i in range(length)]


def embedded(name: str, rows: np.ndarray, **params: object) -> EngineRequest:
    """As the input processor makes it: zeros stand for the tokens."""
    return ask(name, [0] * len(rows), embeds=rows.astype(np.float32).tobytes(), **params)


@pytest.fixture(scope="module")
def table(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return tensors["model.embed_tokens.weight"]


@pytest.mark.parametrize("options", [{}, {"pages": 9}])
def test_rows_of_the_embedding_table_stand_for_their_tokens(
    engine: Engine, oracle: Oracle, table: np.ndarray, options: dict[str, int]
) -> None:
    """In one batch with requests that bring tokens, in chunks of 8, and after preemption."""
    view = rescheduled(engine, **options)
    requests = [ask(f"tokens {n}", prompt(n), max_tokens=20) for n in LENGTHS]
    requests += [embedded(f"embeds {n}", table[prompt(n)], max_tokens=20) for n in LENGTHS]
    answers = run(view, requests)
    for n in LENGTHS:
        assert answers[f"embeds {n}"].content == answers[f"tokens {n}"].content
        oracle.assert_greedy(prompt(n), answers[f"embeds {n}"].tokens)
    if options:
        assert preemptions(view) > 0


def test_their_hash_is_a_dimension_of_the_prefix_cache(engine: Engine, table: np.ndarray) -> None:
    view = rescheduled(engine)
    rows = table[prompt(40)]
    other = rows.copy()
    other[0, 0] += 1e-3

    def cached(request: EngineRequest) -> int:
        answer = run(view, [request])[name_of(request.request_id)]
        assert answer.last is not None
        return answer.last.num_cached_tokens

    assert cached(embedded("first", rows)) == 0
    assert cached(embedded("the same", rows)) == 32
    assert cached(embedded("another", other)) == 0
    assert cached(ask("tokens that stand for them", [0] * 40)) == 0
    assert cached(ask("tokens they come from", prompt(40))) == 0


def test_bad_embeddings_are_refused_by_name(engine: Engine) -> None:
    rows = np.zeros((4, tiny.LLAMA["hidden_size"]), np.float32)
    for bad, message in [(rows[:, :-1], "float32"), (np.full_like(rows, np.inf), "NaN or infinity")]:
        with pytest.raises(RequestError, match=message) as caught:
            engine.add(embedded("bad", bad))
        assert caught.value.param == "prompt_embeds"
    assert not engine.has_work()
