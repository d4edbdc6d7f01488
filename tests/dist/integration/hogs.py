# SPDX-License-Identifier: MIT
#
# hogs.py PORT HOGS SILENT: HOGS clients of an echo server send and never read, until it can take no more, so that each holds
# one of its buffers, and there are no more than HOGS. SILENT others come and find none. Then the first go away, and each of
# the others, one after the other, gets its echo: a server that wakes only those who were lucky leaves some waiting.
# (The two short times make it likely that the server has come that far. Were they too short, less would be tested, and
# a good server would pass all the same.)
import select
import socket
import struct
import sys

port, n_hogs, n_silent = map(int, sys.argv[1:])


def connect():
    s = socket.socket()
    s.settimeout(60)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", port))
    return s


hogs = [connect() for _ in range(n_hogs)]
for s in hogs:
    s.setblocking(False)
while writable := select.select([], hogs, [], 0.2)[1]:
    for s in writable:
        try:
            s.send(bytes(1 << 16))
        except BlockingIOError:
            pass
silent = [connect() for _ in range(n_silent)]
if select.select(silent, [], [], 0.2)[0]:
    sys.exit("an echo of nothing")
for s in hogs:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
for c, s in enumerate(silent):
    s.sendall(b"%d" % c)
    if s.recv(100) != b"%d" % c:
        sys.exit(f"client {c} got what it did not send")
print(f"{n_silent} were found again")
