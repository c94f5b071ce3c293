"""Just enough HTTP to talk to an OpenAI server: JSON in, JSON or server-sent events out. Standard library only."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jaxpaged.errors import ConfigError, RequestError

TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's base URL ("http://127.0.0.1:8000/v1") and its key."""

    url: str
    api_key: str | None = None

    def get(self, path: str) -> Any:
        """The JSON that GET answers."""
        with closing(self._connect()) as connection, self._speaking():
            return json.load(self._ask(connection, "GET", path, None))

    def events(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a streamed answer, as they come. Raises RequestError for an error event or a missing end."""
        with closing(self._connect()) as connection, self._speaking():
            for line in self._ask(connection, "POST", path, body):
                data = line.strip().removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    return
                if not line.startswith(b"data:"):
                    continue
                event = json.loads(data)
                if "error" in event:
                    raise RequestError(f"The server said: {_message(event)}")
                yield event
        raise RequestError(f"The server at {self.url} ended in the middle of its answer.")

    def model(self) -> str:
        """The first model of the server."""
        match self.get("/models"):
            case {"data": [{"id": str(name)}, *_]}:
                return name
        raise RequestError(f"What answers at {self.url} lists no models; is it an OpenAI server?")

    def _connect(self) -> http.client.HTTPConnection:
        mistake = ConfigError(f"{self.url} is not an address such as http://127.0.0.1:8000/v1.")
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise mistake from error
        if parts.scheme not in ("http", "https") or host is None:
            raise mistake
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(host, port, timeout=TIMEOUT)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """One sentence for a connection that breaks and for an answer that is not the protocol's."""
        try:
            yield
        except RequestError:
            raise  # it is a ValueError too
        except OSError as error:
            raise ConfigError(
                f"No server answers at {self.url} ({error.strerror or error}); start one with `jaxpaged serve`, "
                "or name another with --url."
            ) from error
        except (http.client.HTTPException, ValueError) as error:
            raise RequestError(f"What answers at {self.url} is no OpenAI server ({type(error).__name__}).") from error

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: dict[str, Any] | None
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        content = None if body is None else json.dumps(body)
        connection.request(method, urlsplit(self.url).path.rstrip("/") + path, content, headers)
        response = connection.getresponse()
        if response.status != 200:
            raise RequestError(f"The server said {response.status}: {_message(_json(response.read()))}")
        return response


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("message") if isinstance(error, dict) else error or "no reason given")
