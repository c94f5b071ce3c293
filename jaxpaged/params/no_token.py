"""Parameters that forbid tokens may together forbid all of them. A request learns so by the names of its fields."""

from __future__ import annotations

from collections.abc import Sequence

from jaxpaged.errors import RequestError
from jaxpaged.params.sampling import SamplingParams


def no_token_left(params: SamplingParams) -> str | None:
    """The sentence for a request that can generate nothing more; None where nothing in it forbids tokens."""
    fields = forbidding_fields(params)
    if not fields:
        return None
    named = " and ".join(filter(None, [", ".join(fields[:-1]), fields[-1]]))
    return f"{named} together leave no token to generate" if len(fields) > 1 else f"{named} leaves no token to generate"


def forbidding_fields(params: SamplingParams) -> list[str]:
    """The fields of a request that forbid tokens, as its client knows them."""
    form = params.structured_outputs
    fields = [] if form is None else [form._param]
    fields += [name for name in ("allowed_token_ids", "bad_words") if getattr(params, name)]
    if params.min_tokens:
        fields.append("min_tokens")
    if params.stop_token_ids and (params.min_tokens or form is not None):
        fields.append("stop_token_ids")
    if params.thinking_token_budget is not None:
        fields.append("thinking_token_budget")
    return fields


def forbidden_first(params: SamplingParams, eos_token_ids: Sequence[int]) -> set[int]:
    """Tokens that an answer may not begin with: single tokens that are bad words, and before min_tokens all ends."""
    forbidden = {sequence[0] for sequence in params._bad_words_token_ids or () if len(sequence) == 1}
    if params.min_tokens:
        forbidden |= {*(params.stop_token_ids or ()), *eos_token_ids}
    return forbidden


def check_first_token(params: SamplingParams, eos_token_ids: Sequence[int], vocab_size: int) -> None:
    """Raise RequestError when no answer can begin, whatever the model says. Grammars are not looked at."""
    forbidden, allowed = forbidden_first(params, eos_token_ids), params.allowed_token_ids
    if allowed is None:
        left = any(token not in forbidden for token in range(min(vocab_size, len(forbidden) + 1)))
    else:
        left = any(token not in forbidden for token in allowed)
    if not left:
        plain = [name for name in forbidding_fields(params) if name in ("allowed_token_ids", "bad_words", "min_tokens")]
        raise RequestError(f"{no_token_left(params)}; let one of them allow more.", plain[0] if plain else None)
