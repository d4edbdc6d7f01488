# SPDX-License-Identifier: MIT
#
# slow.py PORT CONNECTIONS PATH FILE BEGUN: all ask for PATH and nobody reads until BEGUN answers have begun; then each must get
# FILE, to the byte. FILE is larger than what the kernel takes for one connection, so an answer that nobody reads is not
# out. "503" as first argument of the rest: those beyond BEGUN are refused with 503, at once, while the others wait.
import re
import select
import socket
import sys

port, connections, path, file, begun = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
refuses = sys.argv[6:] == ["503"]
content = open(file, "rb").read()
request = b"GET /%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode()


def ask():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", port))
    s.sendall(request)
    return s


def answer(s):
    data = b"".join(iter(lambda: s.recv(1 << 20), b""))
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", head).group(1))
    if length != len(body):
        sys.exit(f"{len(body)} of {length} bytes")
    return int(head.split()[1]), body


def begin(sockets, n):
    # Without reading: readable is enough.
    while len(ready := select.select(sockets, [], [])[0]) < n:
        select.select([s for s in sockets if s not in ready], [], [])
    return ready


if refuses:
    first = [ask() for _ in range(begun)]
    begin(first, begun)
    for _ in range(connections - begun):
        status, _ = answer(ask())
        if status != 503:
            sys.exit(f"{status}, not 503, while all buffers are out")
    sockets = first
else:
    sockets = [ask() for _ in range(connections)]
    begin(sockets, begun)
for s in sockets:
    status, body = answer(s)
    if status != 200 or body != content:
        sys.exit(f"{status}, or not the file")
print(f"{len(sockets)} slow answers")
