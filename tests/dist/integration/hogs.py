# SPDX-License-Identifier: MIT
#
# hogs.py PORT HOGS OTHERS [HTTP PATH FILE]: HOGS clients of an echo server send and never read, until it can take no more,
# so that each holds one of its buffers, and there are no more than HOGS. OTHERS come; half of them send, and find no
# buffer. With HTTP, the port of a second loop with the same pool, one in ten asks there for PATH. Then the first go away,
# and each of the others gets its answer: a server that wakes only those who were lucky leaves some waiting. Those that
# had sent nothing send now, one after the other.
# (The short times make it likely that the server has come that far. Were they too short, less would be tested, and a
# good server would pass all the same. The server says how many waited.)
import select
import socket
import struct
import sys

port, n_hogs, n_others = map(int, sys.argv[1:4])


def connect(port):
    s = socket.socket()
    s.settimeout(60)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", port))
    return s


hogs = [connect(port) for _ in range(n_hogs)]
for s in hogs:
    s.setblocking(False)
while writable := select.select([], hogs, [], 0.2)[1]:
    for s in writable:
        try:
            s.send(bytes(1 << 16))
        except BlockingIOError:
            pass
others = [connect(port) for _ in range(n_others)]
for c, s in list(enumerate(others))[::2]:
    s.sendall(b"%d" % c)
asking = []
if sys.argv[4:]:
    asking = [connect(int(sys.argv[4])) for _ in range(n_others // 10)]
    for s in asking:
        s.sendall(b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % sys.argv[5].encode())
if select.select(others[1::2], [], [], 0.2)[0]:
    sys.exit("an echo of nothing")
# Two that wait go away before their turn: what they would get goes to the next.
for s in others[::2][:2]:
    s.close()
for s in hogs:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
for c, s in enumerate(others):
    if s.fileno() < 0:
        continue
    if c % 2:
        s.sendall(b"%d" % c)
    if s.recv(100) != b"%d" % c:
        sys.exit(f"client {c} got what it did not send")
for s in asking:
    answer = b"".join(iter(lambda: s.recv(1 << 16), b""))
    if not answer.endswith(b"\r\n\r\n" + open(sys.argv[6], "rb").read()):
        sys.exit("not the file")
print(f"{n_others} were found again")
