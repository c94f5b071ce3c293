"""POST /tokenize and /detokenize, GET /tokenizer_info, and prompts as the model sees them (render)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from jaxpaged import ChatOptions, tokenizer_info, with_special_tokens
from server.answers.tools.choice import tool_use
from server.errors import bad_request, json_response
from server.http.body import read_body
from server.openai.parse import chat_messages
from server.openai.render import render_chat_body, render_completion_body
from server.openai.schema import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest
from server.routes.openapi import takes
from server.serving import Serving


def tokens_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["tokens"])
    llm, limit = serving.llm, serving.options.max_body_bytes

    @router.post("/tokenize", openapi_extra=takes(TokenizeRequest))
    async def tokenize(request: Request) -> Response:
        """The token ids of a prompt or of a conversation."""
        body = await read_body(request, TokenizeRequest, limit)
        serving.check_model(body.model)
        ids = await _token_ids(serving, body)
        answer: dict[str, Any] = {"count": len(ids), "max_model_len": llm.info.max_model_len, "tokens": ids}
        answer["token_strs"] = llm.token_strings(ids) if body.return_token_strs else None
        return json_response(200, answer)

    @router.post("/detokenize", openapi_extra=takes(DetokenizeRequest))
    async def detokenize(request: Request) -> Response:
        """The text of token ids."""
        body = await read_body(request, DetokenizeRequest, limit)
        serving.check_model(body.model)
        outside = [token for token in body.tokens if not 0 <= token < llm.info.vocab_size]
        if outside:
            raise bad_request(f"Token id {outside[0]} is not in the vocabulary.", "tokens")
        return json_response(200, {"prompt": llm.decode(body.tokens)})

    @router.post("/v1/completions/render", openapi_extra=takes(CompletionRequest))
    async def render_completion(request: Request) -> Response:
        """The prompts of a completion as bodies for /inference/v1/generate."""
        body = await read_body(request, CompletionRequest, limit)
        return json_response(200, await render_completion_body(serving, body))

    @router.post("/v1/chat/completions/render", openapi_extra=takes(ChatRequest))
    async def render_chat_completion(request: Request) -> Response:
        """A conversation as a body for /inference/v1/generate."""
        body = await read_body(request, ChatRequest, limit)
        return json_response(200, await render_chat_body(serving, body))

    if serving.options.tokenizer_info:

        @router.get("/tokenizer_info")
        async def show_tokenizer() -> Response:
            """What the tokenizer was made from, its chat template included."""
            return json_response(200, tokenizer_info(llm.get_tokenizer()))

    return router


async def _token_ids(serving: Serving, body: TokenizeRequest) -> list[int]:
    if (body.prompt is None) == (body.messages is None):
        raise bad_request("Give either prompt or messages.", "prompt")
    if body.mm_processor_kwargs:
        raise bad_request("mm_processor_kwargs is not served by this version; leave it out.", "mm_processor_kwargs")
    if body.prompt is not None and body.chat_template is not None:
        raise bad_request("chat_template is for messages; leave it out.", "chat_template")
    if body.prompt is not None:
        return await serving.llm.encode_text(body.prompt, add_special_tokens=body.add_special_tokens is not False)
    continues = bool(body.continue_final_message)
    if continues and body.add_generation_prompt:
        raise bad_request(
            "add_generation_prompt and continue_final_message exclude each other.", "continue_final_message"
        )
    options = ChatOptions(
        add_generation_prompt=body.add_generation_prompt is not False and not continues,
        continue_final_message=continues,
        tools=tool_use(body.tools).tools or None,
        chat_template=body.chat_template,
        template_kwargs=body.chat_template_kwargs,
    )
    options.validate()
    ids = (await serving.render(chat_messages(body.messages or []), options)).token_ids
    return with_special_tokens(serving.llm.get_tokenizer(), ids) if body.add_special_tokens else ids
