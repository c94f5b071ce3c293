"""Free text in which a trigger starts a tag."""

from __future__ import annotations

from jaxpaged.structured import tag_fields as fields
from jaxpaged.structured.tag_fields import Format, mistake
from jaxpaged.structured.tag_rules import FOLLOWED, Ends, TagRules


def triggered(rules: TagRules, form: Format, ends: Ends) -> str:
    """May ask for `at_least_one` tag, which comes first, and to `stop_after_first`."""
    fields.only(form, "triggers", "tags", "at_least_one", "stop_after_first", "excludes")
    excludes = fields.texts(form, "excludes", default=[])
    first, anywhere = [], []
    for trigger, tags in _by_trigger(form).items():
        body = rules.rule(rules.any_of([_rest(rules, tag, trigger, FOLLOWED if ends else ()) for tag in tags]))
        first.append(f"{rules.spelled(trigger)} {body}")
        anywhere.append(f"{rules.free_text((trigger,), excludes)} {body}")
    now, once = rules.then(f"({' | '.join(first)})", ends), fields.flag(form, "stop_after_first")
    if fields.flag(form, "at_least_one") and once:
        return now
    inside, close = " | ".join(anywhere), rules.free_text(ends, excludes)
    if fields.flag(form, "at_least_one"):
        return f"({' | '.join(first)}) (({inside})* {close}){'' if ends else '?'}"
    return f"({rules.then(f'({inside})', ends)} | {close})" if once else f"({inside})* {close}"


def _by_trigger(form: Format) -> dict[str, list[Format]]:
    """The tags by the longest trigger that they begin with."""
    triggers = fields.texts(form, "triggers")
    found: dict[str, list[Format]] = {}
    for tag in fields.forms(form, "tags"):
        begin = fields.text(tag, "begin")
        trigger = max((one for one in triggers if begin.startswith(one)), key=len, default="")
        if not trigger:
            raise mistake(f"the tag {begin[:50]!r} begins with none of the triggers")
        found.setdefault(trigger, []).append(tag)
    return found


def _rest(rules: TagRules, tag: Format, trigger: str, ends: Ends) -> str:
    fields.only(tag, "begin", "content", "end")
    content = rules.write_at(f"the tag {tag['begin'][:50]!r}", tag.get("content"), fields.ends(tag) or ends)
    return f"({rules.spelled(fields.text(tag, 'begin')[len(trigger) :])} {content})"
