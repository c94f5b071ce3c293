"""Bad inputs by the rows of the reliability table, as cases for a route.

A case that sets a field goes to every route whose body has that field, so a new route gets what it shares with others;
cases that need no field (headers, paths, broken JSON) are made from the route alone. `allowed` are the codes that may
answer: where several are named, both refusing and serving are sound.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel

from tests.server.asgi import Headers
from tests.server.bad_fields import ALIASES, FIELDS, INTEGER_EXCEPTIONS, INTEGERS, NOT_NUMBERS, Big

KEY: Headers = [(b"authorization", b"Bearer key")]
JSON: Headers = [*KEY, (b"content-type", b"application/json")]
MEGABYTE = 10**6


@dataclass(frozen=True)
class Target:
    """A route as the table sees it: where it is, what it takes, and a body that it serves."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    model: type[BaseModel] | None = None
    address: str = ""  # the path with its parameters filled in
    good: tuple[int, ...] = (200,)
    hidden: tuple[str, ...] = ()  # fields that mean something else here than elsewhere

    @property
    def url(self) -> str:
        return self.address or self.path

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def fields(self) -> dict[str, Any]:
        """Field -> its JSON schema."""
        properties = {} if self.model is None else properties_of(self.model)
        return {name: schema for name, schema in properties.items() if name not in self.hidden}

    def encoded(self, change: dict[str, Any] | None = None) -> bytes:
        return b"" if self.body is None else json.dumps({**self.body, **(change or {})}).encode()


@cache
def properties_of(model: type[BaseModel]) -> dict[str, Any]:
    """Made once: the schema of a large request takes a twentieth of a second."""
    return model.model_json_schema()["properties"]


@dataclass(frozen=True)
class Case:
    """One request, and the codes that may answer it."""

    what: str
    allowed: tuple[int, ...]
    method: str
    target: str
    headers: Headers = ()
    chunks: Iterable[bytes] = field(default=(), repr=False)
    params: tuple[str, ...] = ()  # what a 400 or 404 names, one of them


type Row = Callable[[Target], Iterator[Case]]
ROWS: dict[int, Row] = {}


def row(number: int) -> Callable[[Row], Row]:
    def add(make: Row) -> Row:
        ROWS[number] = make
        return make

    return add


def plain(target: Target, what: str, allowed: tuple[int, ...], headers: Headers, url: str | None = None) -> Case:
    """The route's good request with other headers or another path."""
    chunks = [target.encoded()] if target.body is not None else []
    return Case(what, allowed, target.method, url or target.url, headers, chunks)


def with_body(target: Target, what: str, allowed: tuple[int, ...], chunks: Iterable[bytes], **more: Any) -> Case:
    return Case(what, allowed, target.method, target.url, more.pop("headers", JSON), chunks, **more)


@row(1)
def keys(target: Target) -> Iterator[Case]:
    json_header = [(b"content-type", b"application/json")]
    wrong: list[Headers] = [
        [],
        [(b"authorization", b"Bearer wrong")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"")],
        [(b"authorization", "Bearer kéy".encode())],
        [(b"authorization", b"Basic a2V5")],
        [(b"authorization", b"key")],
        [(b"authorization", b"Bearer key\x00")],
        [(b"authorization", b"Bearer keyx")],
        [(b"authorization", b"Bearer key"), (b"authorization", b"Bearer wrong")],
        [(b"authorization", b"Bearer key"), (b"x-api-key", b"wrong")],
        [(b"x-api-key", b"Bearer key")],
    ]
    for headers in wrong:
        yield plain(target, f"key {headers}", (401,), [*headers, *json_header])


@row(2)
def hosts(target: Target) -> Iterator[Case]:
    for host in (b"a/?x=", b"localhost/health#", b"a/health", b"[::1", b""):
        yield plain(target, f"host {host!r}", (401,), [(b"host", host), (b"content-type", b"application/json")])


@row(3)
def paths(target: Target) -> Iterator[Case]:
    url = target.url
    for other in (f"/{url}", f"/v1/..{url}", f"{url.upper()}", f"/%2f{url[1:]}", f"{url}/", f"/x{url}", f"{url}%00"):
        if other != url:
            yield plain(target, f"path {other} without key", (401,), [], other)
            yield plain(target, f"path {other}", (404,), JSON, other)


@row(4)
def without_key(target: Target) -> Iterator[Case]:
    yield plain(target, "without key", (401,), [(b"content-type", b"application/json")])


@row(5)
def browsers(target: Target) -> Iterator[Case]:
    origin = [(b"origin", b"http://evil.test"), (b"host", b"127.0.0.1.evil.test")]
    preflight = [*KEY, *origin, (b"access-control-request-method", target.method.encode())]
    yield Case("preflight", (405,), "OPTIONS", target.url, preflight)
    if target.body is None:
        yield plain(target, "another origin", target.good, [*KEY, *origin])
        return
    for kind in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b""):
        yield plain(target, f"a form's {kind!r}", (415,), [*KEY, *origin, (b"content-type", kind)])


@row(7)
def large_bodies(target: Target) -> Iterator[Case]:
    if target.body is None:
        return  # what nobody reads, uvicorn drops
    megabyte = b" " * MEGABYTE
    declared = [*JSON, (b"content-length", b"%d" % (200 * MEGABYTE))]
    yield with_body(target, "200 MB declared", (413,), [b"{"], headers=declared)
    yield with_body(target, "200 MB in chunks", (413,), (megabyte for _ in range(200)))
    for coding in (b"gzip", b"br", b"zstd", b"gzip, identity"):
        bomb = [*JSON, (b"content-encoding", coding)]
        yield with_body(target, f"{coding!r}", (415,), [b"\x1f\x8b" + b"\0" * 1000], headers=bomb)


@row(8)
def shapes(target: Target) -> Iterator[Case]:
    good = target.encoded()
    broken = [
        b"", b"null", b"[1]", b'"text"', b"{", b"{]", b"\xff\xfe{", good + b" trailing", b"\xef\xbb\xbf" + good,
        b"[" * 100_000, b'{"a":' * 100_000, good[:-1] + b', "x": "\xff"}', good[:-1] + b', "x": "\\ud800"}',
        good[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", good[:-1] + b', "x": 01}',
    ]  # fmt: skip
    for content in broken:
        yield with_body(target, f"body {content[:40]!r}", (400,), [content])
    yield with_body(target, "a key of 10 MB", (200, 400), [good[:-1] + b', "' + b"k" * 10 * MEGABYTE + b'": 1}'])
    yield with_body(target, "the same key twice", target.good, [good[:-1] + b"," + good[1:]])
    odd = {"prompt": "a\0b \u202e", "messages": [{"role": "user", "content": "a\0b \U0001f469\u200d\U0001f467"}]}
    for name in odd.keys() & (target.body or {}).keys():
        yield with_body(target, f"odd text in {name}", (200, 400), [target.encoded({name: odd[name]})])


@row(9)
def numbers(target: Target) -> Iterator[Case]:
    good = target.encoded()
    for name, schema in target.fields().items():
        kinds = json.dumps(schema)
        if '"number"' not in kinds and '"integer"' not in kinds:
            continue
        for text in NOT_NUMBERS if '"array"' not in kinds and '"object"' not in kinds else ():
            content = good[:-1] + f', "{name}": {text}}}'.encode()
            yield with_body(target, f"{name}: {text}", (400,), [content])


@row(10)
def integers(target: Target) -> Iterator[Case]:
    good = target.encoded()
    for name, schema in target.fields().items():
        if not any(kind.get("type") == "integer" for kind in schema.get("anyOf", [schema])):
            continue
        for value in INTEGERS:
            allowed = INTEGER_EXCEPTIONS.get(name, (400,)) if abs(value) <= 2**63 else (400,)
            content = good[:-1] + f', "{name}": {value}}}'.encode()
            yield with_body(target, f"{name}: {str(value)[:24]}", allowed, [content])


@row(35)
def unbounded_names(target: Target) -> Iterator[Case]:
    for index in range(20):
        yield Case("a method", (405,), f"M{index}", target.url, JSON)
        yield Case("a path", (404,), target.method, f"/p{index}{target.url}", JSON)
        if "model" in target.fields():
            yield with_body(target, "a model", (404,), [target.encoded({"model": f"m{index}"})], params=("model",))


@row(49)
def garbage(target: Target) -> Iterator[Case]:
    for query in ("?\xff\xfe=%ff%00", "?a[]=1&a=2", "?" + "x" * 10_000):
        yield plain(target, f"query {query[:20]!r}", target.good, JSON, target.url + query)
    if target.body is not None:
        for content in (b"\xff" * 100, b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b'{"prompt": "\xc3\x28"}'):
            yield with_body(target, f"body {content[:20]!r}", (400,), [content])


@row(52)
def ids(target: Target) -> Iterator[Case]:
    """What request ids do to others is in the test of disconnects; here: no id changes the answer."""
    for name in (b"a", b"", b"*", b"../x", b"a\r\nb: c", b"x" * 10**6, "é".encode()):
        yield plain(target, f"id {name[:20]!r}", target.good, [*JSON, (b"x-request-id", name)])


def changes(number: int) -> Row:
    """Cases of the table FIELDS: one for each change all of whose fields the route has."""

    def make(target: Target) -> Iterator[Case]:
        known = target.fields()
        for change, allowed in FIELDS[number]:
            fields = [change.field] if isinstance(change, Big) else list(change)
            if not set(fields) <= set(known):
                continue
            params = (fields[0], *ALIASES.get(fields[0], ()))
            if allowed == (200,):
                allowed, params = target.good, ()
            if isinstance(change, Big):  # once: a stream of it is read by the same code
                content = target.encoded({change.field: change.make()})
                yield with_body(target, f"much in {change.field}", allowed, [content], params=params)
                continue
            shown = json.dumps(change)[:80]
            yield with_body(target, shown, allowed, [target.encoded(change)], params=params)
            if "stream" in known and "stream" not in change and len(change) < 3:
                yield with_body(target, f"streamed {shown}", allowed, [target.encoded({**change, "stream": True})])

    return make


for _number in FIELDS:
    ROWS[_number] = changes(_number)


@row(48)
def strangers(target: Target) -> Iterator[Case]:
    """Fields that nobody knows are ignored, wherever their names might lead."""
    for name in (
        "trust_remote_code",
        "code_revision",
        "__class__",
        "__init__",
        "request_id",
        "self",
        "llm",
        "lora_path",
    ):
        if name not in target.fields():
            yield with_body(target, name, target.good, [target.encoded({name: "x"})])
    yield from changes(48)(target)


@row(53)
def ids_of_others(target: Target) -> Iterator[Case]:
    """What another key has stored is tested where it is stored; here: ids that nobody has been given."""
    if "_0" not in target.url and "-0" not in target.url:
        return
    for name in ("x", "*", "0" * 32, "%2e%2e", "x" * 10_000, "%00"):
        url = target.url.replace("resp_0", name).replace("batch_0", name).replace("file-0", name)
        yield plain(target, f"id {name[:20]}", (404,), JSON, url)


@row(27)
def unique_schemas(target: Target) -> Iterator[Case]:
    """The first few of 5,000; tests/structured sends them all."""
    if "response_format" in target.fields():
        for index in range(20):
            schema = {"type": "object", "properties": {f"p{index}": {"type": "integer"}}}
            change = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
            yield with_body(target, f"schema {index}", (200, 400), [target.encoded(change)])
