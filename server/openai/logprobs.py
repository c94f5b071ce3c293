"""Log probabilities in the shapes of OpenAI's two protocols and of vLLM's prompt_logprobs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from jaxpaged import Logprob, SamplingParams

Position = dict[int, Logprob] | None
LOWEST = -9999.0  # stands for -inf and NaN, which JSON does not have


def completion_logprobs(
    positions: Sequence[Position], offset: int, *, as_ids: bool, first: tuple[int, str] = (0, "")
) -> tuple[dict[str, list[Any]], int]:
    """/v1/completions: parallel lists, and the offset of what follows.

    `offset` is where the first token begins in the text of all tokens, in characters. `first` is the id and text of a
    prompt's first token, which nothing predicts (its position is None).
    """
    lists: dict[str, list[Any]] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
    for position in positions:
        lists["text_offset"].append(offset)
        if position is None:
            chosen = Logprob(0.0, decoded_token=first[1])
            lists["tokens"].append(_spelling(first[0], chosen, as_ids))
            lists["token_logprobs"].append(None)
            lists["top_logprobs"].append(None)
        else:
            token_id, chosen = next(iter(position.items()))
            lists["tokens"].append(_spelling(token_id, chosen, as_ids))
            lists["token_logprobs"].append(finite(chosen.logprob))
            lists["top_logprobs"].append(_by_spelling(position, as_ids))
        offset += len(chosen.decoded_token or "")
    return lists, offset


def shown_alternatives(params: SamplingParams) -> int | None:
    """How many alternatives a token is shown with; None for all that are there."""
    return None if params.logprob_token_ids or params.logprobs == -1 else params.logprobs


def chat_logprobs(positions: Sequence[Position], *, as_ids: bool, top: int | None) -> dict[str, list[Any]]:
    """/v1/chat/completions: one object per token, with its `top` alternatives (None: all that are there)."""
    content = []
    for position in positions:
        if position is None:
            continue
        entries = [_entry(token_id, logprob, as_ids) for token_id, logprob in position.items()]
        best = sorted(entries, key=lambda entry: -entry["logprob"])[:top]
        content.append({**entries[0], "top_logprobs": best})
    return {"content": content}


class PromptLogprob(msgspec.Struct, gc=False):
    """What a token of the prompt, or one that could have stood there, has in an answer.

    A long prompt has a hundred thousand: as dictionaries they would hold the event loop for garbage collections.
    """

    logprob: float
    rank: int | None
    decoded_token: str | None


def prompt_logprobs(positions: Sequence[Position]) -> list[dict[str, PromptLogprob] | None]:
    """vLLM's prompt_logprobs: for each prompt token, token id -> {logprob, rank, decoded_token}."""
    return [
        None
        if position is None
        else {
            str(token_id): PromptLogprob(finite(entry.logprob), entry.rank, entry.decoded_token)
            for token_id, entry in position.items()
        }
        for position in positions
    ]


def finite(logprob: float) -> float:
    """A number that JSON has."""
    return logprob if math.isfinite(logprob) else LOWEST


def _entry(token_id: int, logprob: Logprob, as_ids: bool) -> dict[str, Any]:
    token = _spelling(token_id, logprob, as_ids)
    own = token.encode("utf-8", "replace") if logprob.token_bytes is None else logprob.token_bytes
    return {"token": token, "logprob": finite(logprob.logprob), "bytes": list(own)}


def _by_spelling(position: dict[int, Logprob], as_ids: bool) -> dict[str, float]:
    """Tokens of one spelling stay apart: the later ones go by their bytes, as OpenAI has it, or else by their ids."""
    found: dict[str, float] = {}
    for token_id, entry in position.items():
        names = (_spelling(token_id, entry, as_ids), _as_bytes(entry), f"token_id:{token_id}")
        found[next(name for name in names if name is not None and name not in found)] = finite(entry.logprob)
    return found


def _as_bytes(entry: Logprob) -> str | None:
    if not entry.token_bytes:
        return None
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in entry.token_bytes)


def _spelling(token_id: int, logprob: Logprob, as_ids: bool) -> str:
    return f"token_id:{token_id}" if as_ids else logprob.decoded_token or ""
