"""What every route needs: the model behind the server and how the server was set up."""

from __future__ import annotations

from dataclasses import dataclass

from jaxpaged import AsyncLLM
from jaxpaged.input_processor import PreparedRequest
from server.assistant import AssistantParser, PlainText
from server.body import MAX_BODY_BYTES
from server.errors import ApiError
from server.parse import ChatCall, parse_chat
from server.schema import ChatRequest


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The server's own settings; the engine's are in EngineConfig. Times are in seconds."""

    api_keys: tuple[str, ...] = ()
    max_body_bytes: int = MAX_BODY_BYTES
    force_include_usage: bool = False
    docs: bool = True
    root_path: str = ""
    allowed_origins: tuple[str, ...] = ()
    shutdown_timeout: float = 0.0
    max_stored_responses: int = 1024
    max_stored_response_bytes: int = 64 * 2**20
    files_dir: str | None = None
    max_file_bytes: int = 200 * 2**20
    max_files_bytes: int = 10 * 2**30
    batch_concurrency: int = 64


@dataclass(frozen=True, slots=True)
class Serving:
    """An AsyncLLM and the options of the server in front of it."""

    llm: AsyncLLM
    options: ServerOptions

    def check_model(self, name: str | None) -> None:
        """Requests may leave the model out; another one than ours is 404."""
        if name is not None and name != self.llm.model_name:
            shown = name if len(name) <= 100 else name[:100] + "..."
            raise ApiError(
                404,
                f"The model {shown!r} does not exist; this server has {self.llm.model_name!r}.",
                param="model",
                code="model_not_found",
            )

    def parse_chat(self, body: ChatRequest) -> ChatCall:
        """A chat, for this model and this server. Raises ApiError and RequestError, naming the field."""
        return parse_chat(body, self.llm.sampling_defaults, force_usage=self.options.force_include_usage)

    def assistant_parser(self, call: ChatCall, prepared: PreparedRequest) -> AssistantParser:
        """A fresh parser for one answer to `call`, whose prompt is that of `prepared`."""
        return PlainText()
