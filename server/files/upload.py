"""A file that comes as multipart/form-data: bounded while it is read, on disk where it is large."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from server.errors import ApiError, bad_request

IDLE_SECONDS = 60.0
_PURPOSES = ("batch",)
_LONGEST, _SHORTEST = 2_592_000, 3_600  # seconds until a file expires, as OpenAI bounds them
_FORM_BYTES = 64 * 1024  # the form around the file
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f/\\]")


@dataclass(frozen=True, slots=True)
class Upload:
    """A form with one file in it; close it in the end. `expires_after` is in seconds."""

    form: FormData
    file: UploadFile
    filename: str
    purpose: str
    expires_after: int | None

    async def copy_to(self, path: Path) -> None:
        """Write the file's content."""
        await asyncio.to_thread(_copy, self.file, path)


async def read_upload(request: Request, max_bytes: int) -> Upload:
    """The form of a request whose file has at most `max_bytes`. Raises ApiError (400, 408, 413, 415)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise ApiError(415, "Send the file as multipart/form-data, with the fields file and purpose.")
    chunks = _bounded(request, max_bytes + _FORM_BYTES)
    try:
        form = await MultiPartParser(request.headers, chunks, max_files=1, max_fields=8, max_part_size=1024).parse()
    except MultiPartException as error:
        raise bad_request(f"The form cannot be read: {error.message}") from error
    try:
        return _upload(form, max_bytes)
    except ApiError:
        await form.close()
        raise


def _upload(form: FormData, max_bytes: int) -> Upload:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise bad_request("file must be a file with a name.", "file")
    if (file.size or 0) > max_bytes:
        raise _too_large(max_bytes)
    purpose = form.get("purpose")
    if purpose not in _PURPOSES:
        raise bad_request(f"purpose must be one of {', '.join(_PURPOSES)}.", "purpose")
    name = _UNPRINTABLE.sub("_", file.filename or "file")[-255:]
    return Upload(form, file, name, str(purpose), _expires_after(form))


def _expires_after(form: FormData) -> int | None:
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at" or not isinstance(seconds, str) or not re.fullmatch("[0-9]{1,8}", seconds):
        raise bad_request("expires_after needs anchor created_at and a number of seconds.", "expires_after")
    return check_expiry(int(seconds), "expires_after")


def check_expiry(seconds: int, param: str) -> int:
    """`seconds`, where they are a time that a file may be kept for. Raises ApiError."""
    if not _SHORTEST <= seconds <= _LONGEST:
        raise bad_request(f"{param} must be {_SHORTEST} to {_LONGEST} seconds.", param)
    return seconds


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes]:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise _too_large(limit)
    size, stream = 0, request.stream()
    try:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            yield chunk
    except TimeoutError as error:
        raise ApiError(408, "The file took too long to arrive.", headers={"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise bad_request("The connection closed before the file was complete.") from error


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"The file is larger than {limit} bytes.", param="file", headers={"Connection": "close"})


def _copy(file: UploadFile, path: Path) -> None:
    with path.open("xb") as target:
        shutil.copyfileobj(file.file, target)
