"""Chat messages to a prompt, with the model's own Jinja template in transformers' sandbox.

Special tokens spelled in a message, a tool or a template argument ("<|im_end|>") stay plain text: they are taken out
before the template runs and tokenized apart, so a user cannot forge a role or end a turn. Templates that look for
markers such as "</think>" still work, because those are added tokens but not special ones. (vLLM and transformers parse
them all.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from jinja2 import Environment, TemplateSyntaxError

from jaxpaged.errors import ConfigError, RequestError
from jaxpaged.text.conversation import normal_conversation
from jaxpaged.text.message_forms import ContentFormat, Conversation, fitted, forms, system_texts
from jaxpaged.text.spelled_tokens import SpelledTokens, Spellings, spellings_of
from jaxpaged.text.system_tools import with_system_tools, with_written_calls
from jaxpaged.text.template_abilities import TEMPLATE_FAULTS, TemplateAbilities, template_abilities

Message = Mapping[str, Any]

_LONGEST_REASON = 300  # characters of what a template says: some show the whole conversation
_RESERVED = frozenset(
    "self conversation conversations messages tools chat_template add_generation_prompt continue_final_message "
    "tokenize padding truncation max_length return_tensors return_dict return_assistant_tokens_mask tokenizer_kwargs "
    "sanitize_control_tokens".split()
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How to render a conversation; the fields are vLLM's arguments of chat().

    `content_format`: contents as texts ("string"), as lists of parts ("openai"), or as the template asks ("auto").
    """

    chat_template: str | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    tools: Sequence[Mapping[str, Any]] | None = None
    template_kwargs: Mapping[str, Any] | None = None
    content_format: ContentFormat = "auto"

    def validate(self) -> None:
        if self.add_generation_prompt and self.continue_final_message:
            raise RequestError(
                "add_generation_prompt and continue_final_message exclude each other; set one to False.",
                "continue_final_message",
            )
        if self.content_format not in get_args(ContentFormat):
            names = ", ".join(get_args(ContentFormat))
            raise RequestError(f"chat_template_content_format must be one of {names}.", "chat_template_content_format")
        reserved = sorted(_RESERVED & set(self.template_kwargs or ()))
        if reserved:
            raise RequestError(f"chat_template_kwargs may not set {', '.join(reserved)}.", "chat_template_kwargs")


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """The prompt as text and as the token ids that the model sees."""

    prompt: str
    token_ids: list[int]


def read_chat_template(template: Path | str) -> str:
    """A template as text: `template` is the text itself (it has a brace in it) or the path of a file that holds it."""
    if isinstance(template, str) and "{" in template:
        return _checked(template, "that was given")
    try:
        return _checked(Path(template).read_text(encoding="utf-8"), str(template))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"The chat template {template} cannot be read ({why}); give a file or Jinja text.") from error


def _checked(template: str, name: str) -> str:
    """The same. Raises ConfigError for what is not Jinja; {% generation %} is a tag of transformers' own."""
    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except TemplateSyntaxError as error:
        if "generation" not in str(error.message):
            where = f"line {error.lineno}: {error.message}"
            raise ConfigError(f"The chat template {name} is not Jinja ({where.rstrip('.')}); mend it.") from error
    except RecursionError as error:
        raise ConfigError(f"The chat template {name} is nested too deeply; give another one.") from error
    return template


def render_chat(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], options: ChatOptions | None = None
) -> RenderedChat:
    """Apply the chat template and tokenize. Raises RequestError for bad messages or a template that refuses them."""
    options = options or ChatOptions()
    options.validate()
    template = _template(tokenizer, options)
    conversation = normal_conversation(messages)
    if not conversation:
        raise RequestError("messages is empty; give at least one message.", "messages")
    try:
        abilities = _abilities(tokenizer, template)
        fit = fitted(conversation, abilities, options.content_format)
        spelled, rendered = _Rendering(tokenizer, template, fit, options, spellings_of(tokenizer), abilities).run()
    except RecursionError as error:
        raise RequestError("The messages or tools are nested too deeply.", "messages") from error
    return RenderedChat(spelled.put_back(rendered), _tokenize(tokenizer, rendered, spelled))


@dataclass(frozen=True, slots=True)
class _Rendering:
    """One conversation, fitted to the template, on its way to a prompt."""

    tokenizer: PreTrainedTokenizerFast
    template: str
    conversation: Conversation
    options: ChatOptions
    spellings: Spellings
    abilities: TemplateAbilities

    def run(self) -> tuple[SpelledTokens, str]:
        """What was rendered, and what was taken out before. Raises RequestError and RecursionError."""
        spelled, rendered = self._render(edges=False)
        if spelled.has_edges:
            apart, rendered_apart = self._render(edges=True)
            if apart.tokens_in(rendered_apart) != spelled.tokens_in(rendered):  # two texts have made a token together
                return apart, rendered_apart
        return spelled, rendered

    def _render(self, *, edges: bool) -> tuple[SpelledTokens, str]:
        spelled = SpelledTokens(self.spellings, edges=edges)
        conversation = [spelled.take_out_of_message(message) for message in self.conversation]
        tools = [spelled.take_out(tool) for tool in self.options.tools or ()]
        if self.abilities.system_tools:  # after what the client spells was taken out: these marks are the template's
            conversation = with_system_tools(conversation, tools)
        if self.abilities.written_calls:
            conversation = with_written_calls(conversation)
        kwargs = {name: spelled.take_out(value) for name, value in (self.options.template_kwargs or {}).items()}
        return spelled, self._shown(spelled, conversation, tools, kwargs)

    def _shown(
        self, spelled: SpelledTokens, conversation: Conversation, tools: list[Any], kwargs: dict[str, Any]
    ) -> str:
        """The first form that the template renders with all system messages; else the first that it renders at all."""
        said = system_texts(conversation)
        rendered: str | None = None
        reason: Exception | None = None
        for form in forms(conversation):
            try:
                text = self._apply(form, tools, kwargs)
            except TEMPLATE_FAULTS as error:
                reason = reason or error
                continue
            if all(part in text for part in said):
                return text
            rendered = text if rendered is None else rendered
        if rendered is None:
            why = spelled.put_back(str(reason))[:_LONGEST_REASON]
            raise RequestError(f"The chat template does not accept these messages: {why}", "messages") from reason
        return rendered

    def _apply(self, conversation: Conversation, tools: list[Any], kwargs: dict[str, Any]) -> str:
        rendered: str = self.tokenizer.apply_chat_template(
            conversation,
            tools=tools or None,
            chat_template=self.template,
            add_generation_prompt=self.options.add_generation_prompt,
            continue_final_message=self.options.continue_final_message,
            tokenize=False,
            **kwargs,
        )
        return rendered


def study_templates(tokenizer: PreTrainedTokenizerFast) -> None:
    """Find out what the model's own templates take before the first request has to wait for it."""
    templates = tokenizer.chat_template or {}
    for template in [templates] if isinstance(templates, str) else templates.values():
        _abilities(tokenizer, template)
    spellings_of(tokenizer)


def _abilities(tokenizer: PreTrainedTokenizerFast, template: str) -> TemplateAbilities:
    names = tokenizer.special_tokens_map.items()
    return template_abilities(template, tuple((name, token) for name, token in names if isinstance(token, str)))


def _template(tokenizer: PreTrainedTokenizerFast, options: ChatOptions) -> str:
    """The template's text: a tokenizer may have several, one of them for tools."""
    if options.chat_template is None and tokenizer.chat_template is None:
        raise RequestError(
            "This model has no chat template. Use generate() / v1/completions, or give a template with chat_template=.",
            "messages",
        )
    try:
        template: str = tokenizer.get_chat_template(options.chat_template, options.tools or None)
        return template
    except ValueError as error:
        raise RequestError(f"There is no such chat template: {error}", "chat_template") from error


def _tokenize(tokenizer: PreTrainedTokenizerFast, rendered: str, spelled: SpelledTokens) -> list[int]:
    token_ids: list[int] = []
    plain: dict[str, list[int]] = {}
    for piece, was_taken in spelled.pieces(rendered):
        if was_taken:
            if piece not in plain:
                plain[piece] = _plain_ids(tokenizer, piece)
            token_ids += plain[piece]
        elif piece:
            token_ids += tokenizer.encode(piece, add_special_tokens=False)
    return token_ids


def _plain_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The ids of a text that spells a control token, which is not among them."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    if len(text) > 1 and any(token_id in tokenizer.added_tokens_decoder for token_id in ids):
        halves = (text[:1], text[1:])  # an added token that is not special is found in any case
        ids = [token_id for half in halves for token_id in _plain_ids(tokenizer, half)]
    return ids
