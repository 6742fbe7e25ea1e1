"""The end of listening: nobody is reset who was connected, and who comes later is refused."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time

import pytest

from crossrank.serve.closing import turn_away
from tests.serve.conftest import answers, client, free_port, started, until


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listener_that_turns_away_keeps_its_queue_and_takes_no_more(family, host):
    if family == socket.AF_INET6 and not has_ipv6():
        pytest.skip("this machine has no IPv6 on loopback")
    with socket.create_server((host, 0), family=family) as listener:
        address = listener.getsockname()[:2]
        with socket.create_connection(address, timeout=5) as queued:
            assert turn_away(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.2)
            accepted, _ = listener.accept()
            with accepted:
                queued.sendall(b"asked")
                assert accepted.recv(5) == b"asked"
                accepted.sendall(b"answered")
                assert queued.recv(8) == b"answered"
            listener.settimeout(0)
            with pytest.raises(BlockingIOError):
                listener.accept()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_a_listener_of_another_kind_is_left_as_it_was(tmp_path):
    path = str(tmp_path / "listener")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        listener.bind(path)
        listener.listen()
        assert not turn_away(listener)
        caller.connect(path)


def test_a_connection_made_before_the_end_may_still_ask(folder):
    port = free_port()
    body = json.dumps({"query": "q", "documents": ["d"]}).encode()
    with started("--model", f"tiny={folder}", "--port", str(port)) as process, client(port) as http:
        until(lambda: answers(http) == 200, 60)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as early,
            socket.create_connection(("127.0.0.1", port), timeout=30) as silent,
        ):
            process.send_signal(signal.SIGTERM)
            until(lambda: refused(port), 5)
            head = f"POST /v1/rerank HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
            early.sendall(head.encode() + body)
            assert early.recv(12) == b"HTTP/1.1 200"
            assert silent.recv(1) == b""  # is hung up on: it must not keep the server
        assert process.wait(30) == 0


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.1).close()
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        time.sleep(0.05)
    return False


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
