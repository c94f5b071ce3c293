"""/v1/files."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from server.errors import ApiError, json_response
from server.files.store import FileStore, StoredFile
from server.files.upload import Upload, read_upload
from server.flags import ServerOptions
from server.http.auth import owner_of
from server.http.paging import page_of

log = logging.getLogger("jaxpaged.server")
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": ["batch"]},
                    },
                }
            }
        },
    }
}


def files_router(options: ServerOptions, files: FileStore) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])

    @router.post("/v1/files", openapi_extra=_FORM)
    async def upload_file(request: Request) -> Response:
        """Keep a file."""
        files.check_room(0)
        upload = await read_upload(request, options.max_file_bytes)
        try:
            files.check_room(upload.file.size or 0)
            stored = files.new(
                owner_of(request, options.api_keys), upload.filename, upload.purpose, upload.expires_after
            )
            await _write(files, stored, upload)
        finally:
            await upload.form.close()
        return json_response(200, files.keep(stored).body())

    @router.get("/v1/files")
    async def list_files(request: Request) -> Response:
        """The files of one key, the newest first."""
        found = files.list(owner_of(request, options.api_keys))
        purpose = request.query_params.get("purpose")
        wanted = [stored for stored in found if purpose in (None, stored.purpose)]
        return json_response(200, page_of(request, wanted, default=10_000, most=10_000))

    @router.get("/v1/files/{file_id}")
    async def retrieve_file(file_id: str, request: Request) -> Response:
        """What is known of a file."""
        return json_response(200, files.get(owner_of(request, options.api_keys), file_id).body())

    @router.get("/v1/files/{file_id}/content")
    async def file_content(file_id: str, request: Request) -> Response:
        """What is in a file."""
        stored = files.get(owner_of(request, options.api_keys), file_id)
        return FileResponse(files.path(stored), media_type="application/octet-stream", filename=stored.filename)

    @router.delete("/v1/files/{file_id}")
    async def delete_file(file_id: str, request: Request) -> Response:
        """Forget a file."""
        stored = files.get(owner_of(request, options.api_keys), file_id)
        files.remove(stored)
        return json_response(200, {"id": stored.id, "object": "file", "deleted": True})

    return router


async def _write(files: FileStore, stored: StoredFile, upload: Upload) -> None:
    try:
        await upload.copy_to(files.path(stored))
    except OSError as error:
        log.error("a file could not be written: %s", error)
        files.remove(stored)
        raise ApiError(507, "The file could not be written.", headers={"x-should-retry": "false"}) from error
