"""GET /: a chat page in one static file. Its policy lets it run its own script and talk to this server, no more."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

PAGE = Path(__file__).resolve().parents[1] / "page" / "index.html"


def page_router() -> APIRouter:
    router = APIRouter(tags=["operations"])
    content = PAGE.read_text(encoding="utf-8")
    headers = {
        "Content-Security-Policy": content_security_policy(content),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        """Chat with the model in a browser."""
        return Response(content, media_type="text/html", headers=headers)

    return router


def content_security_policy(page: str) -> str:
    """Nothing but what is in the page, known by its digest, and requests to where it came from."""
    sources = {tag: " ".join(_digests(page, tag)) for tag in ("script", "style")}
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {sources['script']}",
            f"style-src {sources['style']}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _digests(page: str, tag: str) -> list[str]:
    texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]
