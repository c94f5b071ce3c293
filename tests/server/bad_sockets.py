"""Bad input below HTTP's surface (rows 6, 7 and 62): bytes for a real connection, and the codes that may come back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.server.bad_rows import Target

SMUGGLED = b"smuggled"  # a prompt that no engine may ever see
SOCKET_ROWS = (6, 7, 62)


@dataclass(frozen=True)
class Raw:
    """Bytes to send; None where the server must close without having answered. A second answer must not come."""

    what: str
    content: bytes
    allowed: tuple[int, ...]


def raw_cases(number: int, target: Target) -> Iterator[Raw]:
    return {6: _heads, 7: _slow, 62: _smuggling}[number](target)


def head(target: Target, *headers: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    """A request head with the key; the blank line is not part of it."""
    line = b"%b %b %b\r\n" % (target.method.encode(), target.url.encode(), version)
    standard = b"Host: a\r\nAuthorization: Bearer key\r\nContent-Type: application/json\r\n"
    return line + standard + b"".join(header + b"\r\n" for header in headers)


def _heads(target: Target) -> Iterator[Raw]:
    yield Raw("one header of 5 MB", head(target, b"X: " + b"x" * 5_000_000) + b"\r\n", (400, 431))
    yield Raw("10,000 headers", head(target, *[b"X%d: y" % i for i in range(10_000)]) + b"\r\n", (400, 431))
    yield Raw("257 headers", head(target, *[b"X%d: y" % i for i in range(257)]) + b"\r\n", (431,))
    yield Raw("a path of 5 MB", b"GET /" + b"x" * 5_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", (400, 414, 431))


def _slow(target: Target) -> Iterator[Raw]:
    """The deadlines are short in the test."""
    yield Raw("a head that stalls", head(target), (408,))
    if target.body is not None:
        yield Raw("a body that stalls", head(target, b"Content-Length: 10") + b"\r\n{", (408,))


def _smuggling(target: Target) -> Iterator[Raw]:
    body = b'{"prompt": "%b", "max_tokens": 2}' % SMUGGLED
    hidden = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer key\r\n"
    hidden += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    chunked, length = b"Transfer-Encoding: chunked", b"Content-Length: 4"
    refused = (400,)
    yield Raw("length and chunks", head(target, length, chunked) + b"\r\n0\r\n\r\n" + hidden, refused)
    yield Raw("chunks and length", head(target, chunked, length) + b"\r\n0\r\n\r\n" + hidden, refused)
    yield Raw("two lengths", head(target, length, b"Content-Length: 5") + b"\r\nabcd" + hidden, refused)
    yield Raw("a negative length", head(target, b"Content-Length: -1") + b"\r\n" + hidden, refused)
    yield Raw("a length that is none", head(target, b"Content-Length: 4x") + b"\r\nabcd" + hidden, refused)
    yield Raw("chunked twice", head(target, chunked + b", chunked") + b"\r\n0\r\n\r\n" + hidden, refused)
    yield Raw("an unknown coding", head(target, b"Transfer-Encoding: xchunked") + b"\r\n0\r\n\r\n" + hidden, refused)
    yield Raw("a bad chunk size", head(target, chunked) + b"\r\nzz\r\n" + hidden, refused)
    yield Raw("a space in a header", head(target, b"Content-Length : 4") + b"\r\nabcd" + hidden, refused)
    yield Raw("line feeds only", head(target).replace(b"\r\n", b"\n") + b"\n\n" + hidden, refused)
    yield Raw("HTTP/0.9", b"%b %b\r\n\r\n" % (target.method.encode(), target.url.encode()) + hidden, refused)
    yield Raw("HTTP/3.0", head(target, version=b"HTTP/3.0") + b"\r\n" + hidden, refused)
    yield Raw("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32 + hidden, refused)
