"""Whose something is: what one API key has stored, another one does not see."""

from __future__ import annotations

import hashlib

from fastapi import Request

from server.auth import presented_keys
from server.serving import ServerOptions


def owner_of(request: Request, options: ServerOptions) -> str:
    """A name for the key that a request has presented; the same for everybody where the server has no keys."""
    if not options.api_keys:
        return ""
    digest = hashlib.sha256()
    for key in presented_keys(request.scope["headers"]):
        digest.update(key)
    return digest.hexdigest()
