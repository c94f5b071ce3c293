"""The application: routes, errors, and the layers around them."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from jaxpaged import AsyncLLM, __version__
from server.auth import Auth
from server.boundary import ErrorBoundary
from server.errors import install_error_handlers
from server.openapi import install_openapi
from server.request_id import RequestId
from server.routes.chat import chat_router
from server.routes.completions import completions_router
from server.routes.models import models_router
from server.routes.operations import operations_router
from server.routes.tokens import tokens_router
from server.schema import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest
from server.serving import ServerOptions, Serving


def build_app(llm: AsyncLLM, options: ServerOptions | None = None) -> FastAPI:
    """An ASGI application in front of `llm`, whose owner ends it."""
    options = options or ServerOptions()
    serving = Serving(llm, options)
    app = FastAPI(
        title="jaxpaged",
        version=__version__,
        root_path=options.root_path,
        docs_url="/docs" if options.docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if options.docs else None,
        redirect_slashes=False,
    )
    for router in (completions_router, chat_router, models_router, tokens_router, operations_router):
        app.include_router(router(serving))
    install_openapi(app, [CompletionRequest, ChatRequest, TokenizeRequest, DetokenizeRequest], llm)
    install_error_handlers(app)
    # the last one added is the outermost
    app.add_middleware(Auth, api_keys=options.api_keys)
    app.add_middleware(ErrorBoundary)
    app.add_middleware(RequestId)
    if options.allowed_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(options.allowed_origins), allow_methods=["*"], allow_headers=["*"]
        )
    return app
