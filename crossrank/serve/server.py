"""uvicorn with our app in it: log lines, limits of connections, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import ssl
import sys
import time
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from crossrank.errors import CrossrankError, InputError, ModelError
from crossrank.serve.app import Service, build
from crossrank.serve.closing import turn_away
from crossrank.serve.door import State
from crossrank.serve.options import ServeOptions

__all__ = ["JsonLines", "Server", "serve", "server_for"]

SWITCH_SECONDS = 0.001
# For a handshake under way to end and be accepted, and for a connection just made to bring the head of its request.
HANDSHAKE_SECONDS = 0.2
HEAD_SECONDS = 1.0
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, and whatever the record was given beside."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in STANDARD and key != "color_message"},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Patient(H11Protocol):
    """uvicorn's HTTP/1.1 that also hangs up on a connection which begins a request and sends no whole head in time.

    waiting: the timer of that, for as long as a head is awaited: from the start, and from a later request's first byte.
    """

    header_timeout: float
    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waiting = self.loop.call_later(self.header_timeout, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_is_here()
        elif self.waiting is None:
            self.waiting = self.loop.call_later(self.header_timeout, self.transport.close)

    def _head_is_here(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None


class Server(uvicorn.Server):
    """uvicorn's server, with a drain: at the first signal readiness falls, `delay` seconds later listening ends, and
    what is in flight finishes. A second signal skips the delay; a second SIGINT ends it at once.
    """

    def __init__(self, config: uvicorn.Config, state: State, delay: float) -> None:
        super().__init__(config)
        self.state = state
        self.delay = delay

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; uvicorn's own notes of the signal are not made, so that a drained server exits with 0."""
        if self.state.draining:
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT
            return
        self.state.draining = True
        asyncio.get_running_loop().call_soon_threadsafe(self._drain)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End listening so that every connection that was made is accepted, and what is accepted gets to ask; then as
        uvicorn does, which hangs up on every connection that has no request yet.
        """
        for server in self.servers:
            for listener in server.sockets:
                turn_away(listener)
        await asyncio.sleep(HANDSHAKE_SECONDS)
        for server in self.servers:
            server.close()
        end = time.monotonic() + HEAD_SECONDS
        while self._awaits_heads() and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)

    def _awaits_heads(self) -> bool:
        return any(isinstance(each, Patient) and each.waiting for each in self.server_state.connections)

    def _drain(self) -> None:
        def stop() -> None:
            self.should_exit = True

        asyncio.get_running_loop().call_later(self.delay, stop)


def server_for(service: Service) -> tuple[Server, list[Exception]]:
    """A server, not yet running, and a list that a failure to load a model at the start is put into."""
    options = service.options
    failures: list[Exception] = []

    def failed(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    class Timed(Patient):
        header_timeout = options.header_timeout

    config = uvicorn.Config(
        build(service, failed),
        host=options.host,
        port=options.port,
        uds=options.uds,
        ssl_certfile=options.ssl_certfile,
        ssl_keyfile=options.ssl_keyfile,
        root_path=("/" + options.root_path.strip("/")).rstrip("/"),
        http=Timed,
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        # On a unix socket no address tells uvicorn whom to trust, and "*" believes what clients write: see the door.
        proxy_headers=not options.uds,
        limit_concurrency=options.max_connections + 1,  # uvicorn counts the connection that it is asked by
        # uvicorn says int, and hands both to asyncio; as an int, half a second would be none.
        timeout_keep_alive=options.keep_alive,  # type: ignore[arg-type]
        timeout_graceful_shutdown=options.drain_timeout,  # type: ignore[arg-type]
    )
    server = Server(config, service.state, options.drain_delay)
    return server, failures


def serve(options: ServeOptions) -> None:
    """Serve until a signal comes. Raises what a model could not be loaded for, and OSError for a port that is taken."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler], force=True)
    # The event loop asks for the interpreter among busy threads; it should have it sooner than after 5 ms each time.
    sys.setswitchinterval(SWITCH_SECONDS)
    server, failures = server_for(Service.of(options))
    try:
        asyncio.run(server.serve())
    except ssl.SSLError as error:
        files = f"{options.ssl_certfile} and {options.ssl_keyfile}"
        raise InputError(f"{files} are no certificate chain and its key, in PEM: {error}") from error
    except SystemExit as error:  # uvicorn's way to say that it could not listen; the log has the reason
        raise CrossrankError(f"could not listen on {options.uds or f'{options.host}:{options.port}'}") from error
    if failures:
        raise failures[0] if isinstance(failures[0], CrossrankError) else ModelError(repr(failures[0]))
