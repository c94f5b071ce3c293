"""Bodies of other dialects as bodies of /v1/chat/completions, so that every check is made once, in parse.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from jaxpaged import JaxPagedError
from server.errors import ApiError, as_api_error, bad_request
from server.openai.schema import ChatRequest, Sampling

# fields of Sampling that ask for more than one answer or for what only OpenAI's older protocols can show
_NOT_HERE: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "use_beam_search": (None, False),
    "prompt_logprobs": (None,),
    "return_token_ids": (None, False),
}


def check_names(body: Sampling, names: Mapping[str, str]) -> None:
    """Refuse what is not served here, and chats' fields (the keys of `names`) that the dialect has by another name."""
    for name, nothing in _NOT_HERE.items():
        if getattr(body, name) not in nothing:
            raise bad_request(f"{name} is not served here; use /v1/chat/completions.", name)
    for name in sorted(body.model_fields_set & names.keys() & Sampling.model_fields.keys()):
        if getattr(body, name) is not None:
            raise bad_request(f"{name} is called {names[name]} here.", name)


def as_chat(body: Sampling, fields: Mapping[str, Any]) -> ChatRequest:
    """A chat of `fields` and of the sampling fields that `body` shares with chats.

    It is always streamed: dialects made of blocks add deltas up themselves. Raises ValidationError.
    """
    shared = body.model_fields_set & Sampling.model_fields.keys() - _NOT_HERE.keys() - {"stream_options"}
    sent = {name: value for name, value in fields.items() if value is not None}
    chat = ChatRequest.model_validate({**sent, "stream": True})
    # what the body shares with chats has been validated with it, and may be large
    return chat.model_copy(update={name: getattr(body, name) for name in shared - {"stream", *sent}})


@contextmanager
def errors_name(names: Mapping[str, str]) -> Iterator[None]:
    """Let errors about a field of chats name the field (`names`: chat's name -> the dialect's) that it came from."""
    try:
        yield
    except (ApiError, JaxPagedError, ValidationError) as error:
        raise _renamed(as_api_error(error), names) from error


def _renamed(error: ApiError, names: Mapping[str, str]) -> ApiError:
    first, _, rest = (error.param or "").partition(".")
    name = names.get(first)
    if name is None:
        return error
    message = name + error.message.removeprefix(first) if error.message.startswith(first) else error.message
    param = f"{name}.{rest}" if rest and name != "input" else name
    return ApiError(error.status, message, param=param, code=error.code, headers=error.headers)
