"""TokenLogprobs of the engine to the dictionaries that vLLM's users know."""

from __future__ import annotations

from collections.abc import Sequence

from jaxpaged.engine.garbage import collector_paused
from jaxpaged.engine.messages import TokenLogprobs
from jaxpaged.outputs import Logprob, PositionLogprobs, PromptLogprobs
from jaxpaged.text.vocabulary import Vocabulary


def position_logprobs(
    entry: TokenLogprobs, vocabulary: Vocabulary | None, context: Sequence[int] = (), *, named: bool = False
) -> PositionLogprobs:
    """One position: the token itself first, then the best ones with ranks 1, 2, ... (or `named` ones, without ranks).

    `context` are the ids before it (the last four matter): with them, a token that completes a character split over
    several tokens is spelled as that character, and the tokens before it as "".
    """
    entries = {entry.token_id: Logprob(entry.logprob, entry.rank)}
    for rank, (token_id, logprob) in enumerate(zip(entry.top_ids, entry.top_logprobs, strict=True), start=1):
        if token_id != entry.token_id:
            entries[token_id] = Logprob(logprob, None if named else rank)
    if vocabulary is not None:
        for token_id, found in entries.items():
            found.decoded_token = vocabulary.token_text_after(context, token_id)
            found.token_bytes = vocabulary.token_bytes(token_id)
    return entries


def prompt_logprobs(
    entries: Sequence[TokenLogprobs], prompt_token_ids: Sequence[int], vocabulary: Vocabulary | None
) -> PromptLogprobs:
    """Positions 1..len(prompt)-1 of the prompt, after a None for the first token."""
    positions: PromptLogprobs = [None]
    with collector_paused():  # a hundred thousand objects, none of them garbage: looking for it took 3/4 of the time
        for position, entry in enumerate(entries, start=1):
            positions.append(position_logprobs(entry, vocabulary, prompt_token_ids[max(0, position - 4) : position]))
    return positions
