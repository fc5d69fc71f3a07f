"""Sockets that the local servers listen on."""

import socket


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """Listen on an address, whose connections send what is written at once.

    The protocol is named because asyncio turns Nagle's algorithm off only where it is: otherwise
    what follows the first bytes of an answer waits up to 40 ms for the client's acknowledgement.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
