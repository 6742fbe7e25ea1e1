"""The end of listening, at which no connection is lost that its client takes for made."""

from __future__ import annotations

import asyncio.trsock
import ctypes
import socket
import struct
import sys

__all__ = ["turn_away"]

SO_ATTACH_FILTER = 26  # of Linux on every architecture that Python's wheels know; the socket module does not name it
FLAGS, SYN = 13, 0x02  # the byte of a TCP header that has the flags, and the flag that opens a connection
# A classic BPF program, (code, jump if true, jump if false, operand): drop a segment that has SYN, pass every other.
PROGRAM = ((0x30, 0, 0, FLAGS), (0x45, 0, 1, SYN), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


def turn_away(listener: socket.socket | asyncio.trsock.TransportSocket) -> bool:
    """Have the kernel drop what would open another connection to a listening TCP socket, of Linux only.

    The kernel makes connections ahead of accept(), and resets those that nobody accepted when a listener closes: their
    clients see a reset in the middle of a request. After this call the queue can only shrink, so that a listener which
    is closed once its queue is empty resets nobody. A client that comes meanwhile sends its SYN again after a second,
    to whoever listens then, or is refused as by any closed port.

    listener: of any family; False where its kind of connection, or the system, has no such filter.
    """
    if sys.platform != "linux" or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in PROGRAM))
    # struct sock_fprog: a length and a pointer, each aligned as C does.
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(PROGRAM), ctypes.addressof(program)))
    return True
