"""Beams: requests that branch together. All of a group are on rows of one shard, or all wait; never a part of it.

A beam that continues another one shares all of that one's pages; the last, partly filled one is copied when it is
written to. The first beam leads the others as a sample leads its children, so that their rows are kept for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxpaged.scheduling.intake import lead
from jaxpaged.scheduling.request import BeamGroup, Request
from jaxpaged.scheduling.rows import HASHED, NUM_TOKENS, PLANNED_TOKENS
from jaxpaged.scheduling.shard import Shard


def is_sampled(shard: Shard, group: BeamGroup) -> bool:
    """Whether the next token of every beam is known; before the first choice there is one beam."""
    known = shard.rows.num_tokens
    return all(
        member.finish_reason is not None or (member.row and known[member.row] > group.num_tokens)
        for member in _beams(group)
    )


def choose(shard: Shard, group: BeamGroup, choices: Sequence[tuple[int, int]], now: float) -> None:
    """Continue with these beams: (index of a present one, its next token) for each of the group's members.

    Call when is_sampled(). The first that continues a beam takes over its row; the others fork it on the rows of
    members that are not continued.
    """
    members, num_tokens = group.members, group.num_tokens
    parents = [members[parent] for parent, _ in choices]
    spare = [member for member in members if member not in parents]
    for member in spare:
        if member.row:
            shard.vacate(np.array([member.row], np.intp))
            member.row = 0
        else:
            shard.leave_parent(member)
    last_tokens = {}
    for index, (parent, (_, token)) in enumerate(zip(parents, choices, strict=True)):
        if parent not in last_tokens:
            last_tokens[parent] = token
            continue
        child = spare.pop()
        _copy_tokens(shard, parent, child, num_tokens, token)
        shard.fork(parent.row, child, num_tokens, now)
        parents[index] = child
    for parent, token in last_tokens.items():
        shard.rows.history[parent.row, num_tokens] = token
        shard.rows.resume(parent.row)
    group.members, group.num_tokens = parents, num_tokens + 1


def preempt(shard: Shard, group: BeamGroup, now: float) -> Request:
    """Take all beams off their rows, as they were at the last choice. Returns their new parent, to be queued."""
    members = sorted((member for member in group.members if member.finish_reason is None), key=lambda m: m.rank)
    for member in members:
        if member.row:
            shard.preempt(member.row, now)
            member.tokens = member.tokens[: group.num_tokens]
        elif member.parent is not None:
            shard.leave_parent(member)
    parent, *others = members
    lead(parent, others)
    if len(_beams(group)) > 1:
        tokens = np.stack([member.tokens for member in members])
        same = (tokens == tokens[0]).all(axis=0)
        group.num_shared = len(same) if same.all() else int(same.argmin())
    return parent


def _beams(group: BeamGroup) -> list[Request]:
    """The members that have tokens of their own, or any at all."""
    return group.members if group.num_tokens > group.members[0].prompt_len else group.members[:1]


def _copy_tokens(shard: Shard, parent: Request, child: Request, num_tokens: int, token: int) -> None:
    known = shard.rows.history[parent.row, :num_tokens]
    child.tokens = np.append(known, np.int32(token))
    child.row_words[NUM_TOKENS : PLANNED_TOKENS + 1] = len(child.tokens)
    child.row_words[HASHED] = shard.rows.hashed[parent.row]
    child.page_digests = shard.rows.page_digests(parent.row)
