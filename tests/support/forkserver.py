"""Becomes the command ``freehold`` as often as it is asked to: loaded once, then forked.

Run as a program, with a socket as its stdin. A message there is a command as JSON, and with it come
the command's stdin, stdout and stderr, and a socket that is sent its process id and exit code.
"""

import gc
import json
import os
import signal
import socket
import sys

# Loaded late by httpx: each command would load it for itself.
import httpcore  # noqa: F401

from freehold_cli.__main__ import main

MESSAGE_MAX_BYTES = 65_536


def wait_for_commands(channel: socket.socket) -> None:
    """Fork for each command. Returns in a process that is to run one; ends with the channel."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_MAX_BYTES, 4)
        if not message:
            sys.exit()
        *streams, status = descriptors
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            channel.detach()
            _fork_once_more(socket.socket(fileno=status))
            _become(streams, **json.loads(message))
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _fork_once_more(status: socket.socket) -> None:
    """Return in a process whose parent says how it ends."""
    pid = os.fork()
    if pid:
        # Its ends of the pipes are closed, or a reader would wait for this process, too.
        os.closerange(0, 3)
        status.send(b"%d" % pid)
        _, ended = os.waitpid(pid, 0)
        status.send(b"%d" % os.waitstatus_to_exitcode(ended))
        os._exit(0)
    status.close()


def _become(streams: list[int], words: list[str], environment: dict[str, str], folder: str) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, max(streams) + 1)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8", closefd=False)
        for number, mode in enumerate("rww")
    )
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["freehold", *words]


if __name__ == "__main__":
    # Or each child would copy what it looks through for garbage.
    gc.freeze()
    wait_for_commands(socket.socket(fileno=0))
    main()
