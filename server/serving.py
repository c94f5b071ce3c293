"""What every route needs: the model behind the server and how the server was set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxpaged import AsyncLLM, ChatOptions, OutputStream, RenderedChat
from server.answers.answer import Answer, Reply
from server.answers.parsers import NO_PARSERS, AnswerParsers, choose_parsers
from server.answers.running import RunningAnswers
from server.errors import ApiError, bad_request
from server.flags import ServerOptions
from server.http.request_id import current_request_id


@dataclass(frozen=True, slots=True)
class Serving:
    """An AsyncLLM and the options of the server in front of it."""

    llm: AsyncLLM
    options: ServerOptions
    parsers: AnswerParsers = NO_PARSERS
    running: RunningAnswers = field(default_factory=RunningAnswers)

    @classmethod
    def of(cls, llm: AsyncLLM, options: ServerOptions) -> Serving:
        """With the parsers that the options name, or else the chat template shows. Raises ConfigError."""
        if llm.config.model.skip_tokenizer_init:
            return cls(llm, options)
        tokenizer = llm.get_tokenizer()
        templates = tokenizer.chat_template or ""
        template = templates if isinstance(templates, str) else "\n".join(templates.values())
        added = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
        special = frozenset(token.content for token in added if token.special)
        parsers = choose_parsers(
            template, special, tool_parser=options.tool_call_parser, reasoning_parser=options.reasoning_parser
        )
        marks = parsers.marks()
        if marks is not None:
            llm.use_reasoning_marks(*marks)
        return cls(llm, options, parsers)

    async def render(self, messages: Sequence[Mapping[str, Any]], options: ChatOptions) -> RenderedChat:
        """A conversation as the model sees it, with the server's template variables where the request has none."""
        if options.chat_template is not None and not self.options.trust_request_chat_template:
            raise bad_request(
                "chat_template is a program; start with --trust-request-chat-template to run those of requests.",
                "chat_template",
            )
        if self.options.default_template_kwargs:
            kwargs = {**self.options.default_template_kwargs, **(options.template_kwargs or {})}
            options = replace(options, template_kwargs=kwargs)
        if options.content_format == "auto":
            options = replace(options, content_format=self.options.content_format)
        return await self.llm.render(messages, options)

    def submit(self, answer: Answer) -> OutputStream:
        """Give the prompts of an answer to the engine. Raises QueueFullError and EngineDeadError."""
        stream = self.llm.submit(answer.batch)
        self.running.note(answer, current_request_id.get())
        return stream

    def reply(self, reply: Reply) -> Reply:
        """What a request asks of its answer, and what this server does for every one."""
        return replace(reply, tokens_as_ids=True) if self.options.tokens_as_ids else reply

    @property
    def cached_page_size(self) -> int:
        """How many tokens of a prompt the prefix cache keeps at a time, 0 where it keeps none."""
        return self.llm.info.page_size if self.llm.config.cache.enable_prefix_caching else 0

    def check_model(self, name: str | None) -> None:
        """Requests may leave the model out; a name that is none of ours is 404."""
        if name and name not in self.llm.model_names:
            raise self.unknown_model(name)

    def unknown_model(self, name: str) -> ApiError:
        """What to say of a model that is none of ours."""
        shown = name if len(name) <= 100 else name[:100] + "..."
        return ApiError(
            404,
            f"The model {shown!r} does not exist; this server has {self.llm.model_name!r}.",
            param="model",
            code="model_not_found",
        )
