"""How a command ends: one sentence on stderr and an exit code, never a traceback unless --debug asks for it."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from jaxpaged.errors import ConfigError, JaxPagedError, RequestError

MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130


def run_command(command: Callable[[], int], *, debug: bool) -> int:
    """Run a command and return its exit code: 2 for a mistake of the user, 1 for an error of ours, 130 for Ctrl-C."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return command()
    except (ConfigError, RequestError) as error:
        return _say(error, MISTAKE, debug)
    except JaxPagedError as error:
        return _say(error, FAILURE, debug)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as `| head` does
        return FAILURE


def _say(error: JaxPagedError, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"jaxpaged: {_printable(str(error))}", file=sys.stderr)
    return code


def _printable(text: str) -> str:
    """Without what could steer a terminal: names of files and models get into our sentences."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _terminate(number: int, frame: FrameType | None) -> None:
    """End by an exception, so that what has been started is ended too."""
    sys.exit(128 + number)
