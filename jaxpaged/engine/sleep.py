"""How deep an engine may sleep and what may wake up alone, in vLLM's words."""

from __future__ import annotations

from collections.abc import Sequence

from jaxpaged.errors import RequestError

SLEEP_LEVELS = (0, 1, 2)
WAKE_TAGS = ("weights", "kv_cache", "scheduling")


def check_level(level: int) -> int:
    """The level. Raises RequestError for another one."""
    if isinstance(level, bool) or level not in SLEEP_LEVELS:
        raise RequestError(
            f"level is {level!r}; 0 keeps everything, 1 keeps the weights on the host and 2 drops them.", "level"
        )
    return level


def check_tags(tags: Sequence[str] | None) -> tuple[str, ...]:
    """The tags, all of them for None. Raises RequestError for unknown ones."""
    if isinstance(tags, str):
        raise RequestError(f"tags is the text {tags!r}; give a list of {', '.join(WAKE_TAGS)}.", "tags")
    wanted = WAKE_TAGS if tags is None else tuple(tags)
    if unknown := [tag for tag in wanted if tag not in WAKE_TAGS]:
        raise RequestError(f"tags has {unknown[0]!r}; give any of {', '.join(WAKE_TAGS)}.", "tags")
    return wanted
