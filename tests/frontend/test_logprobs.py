"""Log probabilities carry the text that each token adds."""

from __future__ import annotations

import pickle

import pytest

from jaxpaged.engine.messages import TokenLogprobs
from jaxpaged.frontend.logprobs import SpelledPrompt, position_logprobs
from jaxpaged.outputs import CompletionOutput, Logprob, RequestOutput
from jaxpaged.text.vocabulary import Vocabulary
from tests.text.samples import EOS, byte_fallback_backend, byte_level_backend

BACKENDS = pytest.mark.parametrize(
    "backend", [byte_level_backend(), byte_fallback_backend()], ids=["level", "fallback"]
)


@BACKENDS
def test_decoded_tokens_join_to_the_text(backend) -> None:
    """Characters that span several tokens are spelled at the token that completes them."""
    vocabulary = Vocabulary(backend)
    text = "hello 你好 é🙂!"
    ids = backend.encode(text, add_special_tokens=False).ids
    spelled = [vocabulary.token_text_after(ids[max(0, i - 4) : i], token_id) for i, token_id in enumerate(ids)]
    assert "".join(spelled).strip() == text
    assert "" in spelled


def test_special_tokens_are_spelled() -> None:
    vocabulary = Vocabulary(byte_level_backend())
    assert vocabulary.token_text(byte_level_backend().token_to_id(EOS)) == EOS
    assert vocabulary.token_text(511) == ""


def test_a_piece_keeps_its_space() -> None:
    backend = byte_fallback_backend()
    assert Vocabulary(backend).token_text(backend.token_to_id("▁world")) == " world"


def test_the_token_comes_first_then_the_best() -> None:
    entry = TokenLogprobs(token_id=9, logprob=-3.0, rank=5, top_ids=[4, 7], top_logprobs=[-0.1, -1.0])
    position = position_logprobs(entry, None)
    assert list(position) == [9, 4, 7]
    assert position == {9: Logprob(-3.0, 5), 4: Logprob(-0.1, 1), 7: Logprob(-1.0, 2)}
    within = TokenLogprobs(token_id=7, logprob=-1.0, rank=2, top_ids=[4, 7], top_logprobs=[-0.1, -1.0])
    assert position_logprobs(within, None) == {7: Logprob(-1.0, 2), 4: Logprob(-0.1, 1)}


def test_nothing_predicts_the_first_token_of_a_prompt() -> None:
    assert SpelledPrompt([scored(2)], [1, 2], None) == [None, {2: Logprob(-0.5, 1)}]


def test_a_prompt_is_read_as_a_list() -> None:
    backend = byte_level_backend()
    ids = backend.encode("hello 你好 é🙂!", add_special_tokens=False).ids
    entries = [scored(token_id) for token_id in ids[1:]]
    spelled = SpelledPrompt(entries, ids, Vocabulary(backend))
    texts = "".join(next(iter(position.values())).decoded_token or "" for position in spelled if position)
    assert backend.decode(ids[:1]) + texts == "hello 你好 é🙂!"
    assert len(spelled) == len(ids)
    assert spelled[-1] == list(spelled)[-1] != spelled[1]
    assert spelled[1:3] == list(spelled)[1:3]
    assert spelled == list(spelled) == SpelledPrompt(entries, ids, Vocabulary(backend))
    assert spelled != list(spelled)[:-1]
    assert repr(spelled) == repr(list(spelled))
    with pytest.raises(IndexError):
        spelled[len(ids)]


def test_a_prompt_travels_without_its_tokenizer() -> None:
    spelled = SpelledPrompt([scored(2)], [1, 2], Vocabulary(byte_level_backend()))
    copied = pickle.loads(pickle.dumps(spelled))
    assert copied == spelled
    assert isinstance(copied, list)


def test_an_output_knows_how_many_log_probabilities_it_holds() -> None:
    spelled = SpelledPrompt([scored(2), scored(3)], [1, 2, 3], None)
    position = {5: Logprob(-0.5), 6: Logprob(-1.0)}
    answers = [CompletionOutput(0, "", [5], None, [position] * 4), CompletionOutput(1, "", [5], None, None)]
    assert RequestOutput("a", None, None, None, answers, True).num_logprobs() == 8
    assert RequestOutput("a", None, None, spelled, answers, True).num_logprobs() == 8 + 3
    assert RequestOutput("a", None, None, SpelledPrompt([], [1], None), [], True).num_logprobs() == 0


def scored(token_id: int) -> TokenLogprobs:
    return TokenLogprobs(token_id=token_id, logprob=-0.5, rank=1, top_ids=[], top_logprobs=[])
