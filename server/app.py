"""The application: routes, errors, and the layers around them."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware

from jaxpaged import AsyncLLM, __version__
from server.batches.runner import BatchRunner
from server.batches.schema import BatchRequest
from server.batches.store import BatchStore
from server.errors import install_error_handlers
from server.files.store import FileStore
from server.flags import ServerOptions
from server.http.admission import Admission
from server.http.auth import Auth
from server.http.boundary import ErrorBoundary
from server.http.deadline import Deadline
from server.http.head import HeadAsGet
from server.http.metrics import HttpMetrics, Measuring
from server.http.middleware import add_middleware
from server.http.portions import Portions
from server.http.record import Recording
from server.http.request_id import RequestId
from server.messages.errors import AnthropicErrors
from server.messages.schema import CountTokensRequest, MessagesRequest
from server.openai.chat_batch import BatchChatRequest
from server.openai.generate import GenerateRequest
from server.openai.schema import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest
from server.pooling.schema import ClassifyRequest, EmbeddingRequest, PoolingRequest, RerankRequest, ScoreRequest
from server.responses.schema import ResponsesRequest
from server.routes.batches import batches_router
from server.routes.chat import chat_router
from server.routes.completions import completions_router
from server.routes.dev import AbortRequest, UpdateWeightsRequest, dev_router
from server.routes.files import files_router
from server.routes.generate import generate_router
from server.routes.invocations import invocations_router
from server.routes.messages import messages_router
from server.routes.models import models_router
from server.routes.openapi import install_openapi
from server.routes.operations import operations_router
from server.routes.page import page_router
from server.routes.pooling import pooling_router
from server.routes.responses import responses_router
from server.routes.tokens import tokens_router
from server.serving import Serving

_ROUTERS = (
    completions_router,
    chat_router,
    generate_router,
    invocations_router,
    responses_router,
    messages_router,
    pooling_router,
    models_router,
    tokens_router,
)
_BODIES: list[type[BaseModel]] = [
    CompletionRequest,
    ChatRequest,
    BatchChatRequest,
    GenerateRequest,
    ResponsesRequest,
    MessagesRequest,
    CountTokensRequest,
    EmbeddingRequest,
    PoolingRequest,
    ClassifyRequest,
    ScoreRequest,
    RerankRequest,
    BatchRequest,
    TokenizeRequest,
    DetokenizeRequest,
]


def build_app(llm: AsyncLLM, options: ServerOptions | None = None) -> FastAPI:
    """An ASGI application in front of `llm`, whose owner ends it."""
    options = options or ServerOptions()
    serving = Serving.of(llm, options)
    app = FastAPI(
        title="jaxpaged",
        version=__version__,
        root_path=options.root_path,
        docs_url="/docs" if options.docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if options.docs else None,
        redirect_slashes=False,
    )
    http = HttpMetrics()
    for router in _ROUTERS:
        app.include_router(router(serving))
    app.include_router(operations_router(serving, http))
    _include_batches(app, serving)
    if options.page:
        app.include_router(page_router())
    if options.dev_routes:
        app.include_router(dev_router(serving))
    install_openapi(app, [*_BODIES, UpdateWeightsRequest, AbortRequest] if options.dev_routes else _BODIES, serving)
    install_error_handlers(app)
    _add_middleware(app, llm, options, http)
    return app


def _add_middleware(app: FastAPI, llm: AsyncLLM, options: ServerOptions, http: HttpMetrics) -> None:
    """The last one added is the outermost."""
    app.add_middleware(HeadAsGet)
    app.add_middleware(Deadline, seconds=options.request_timeout)
    app.add_middleware(Admission, llm=llm)
    app.add_middleware(Auth, api_keys=options.api_keys)
    app.add_middleware(ErrorBoundary)
    if options.record_sinks:
        app.add_middleware(Recording, model=llm.model_name, sinks=options.record_sinks)
    app.add_middleware(Measuring, metrics=http)
    app.add_middleware(RequestId)
    app.add_middleware(AnthropicErrors)
    if options.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(options.allowed_origins),
            allow_methods=list(options.allowed_methods),
            allow_headers=list(options.allowed_headers),
            allow_credentials=options.allow_credentials,
        )
    for middleware in options.middleware:
        add_middleware(app, middleware)
    app.add_middleware(Portions)


def _include_batches(app: FastAPI, serving: Serving) -> None:
    options = serving.options
    files = FileStore(options.files_dir, options.max_files_bytes)
    batches = BatchStore(files, persistent=options.files_dir is not None)
    app.include_router(files_router(options, files))
    app.include_router(batches_router(options, batches, BatchRunner(serving, files, batches)))
