# SPDX-License-Identifier: MIT
#
# echo.py PORT CONNECTIONS ROUNDS: an echo server must give back to each what it sent, to the byte. In a round all have
# sent before the first reads, pieces of 1 to 30,000 bytes that tell by their content whose they are; half the time in
# two parts, so that a server sees ends that are none. After each round for all comes one for three alone: whoever has
# waited for a buffer in vain must be found again though all others are silent.
import random
import socket
import sys

port, connections, rounds = map(int, sys.argv[1:])
random.seed(1)
sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
echoed = 0
for r in range(rounds):
    sent = {}
    for c in range(connections) if r % 2 == 0 else random.sample(range(connections), 3):
        s = sockets[c]
        piece = (b"%d/%d " % (c, r) * 5000)[: random.choice((1, 2, 1000, 30000))]
        cut = random.choice((0, len(piece) // 2))
        s.sendall(piece[:cut])
        s.sendall(piece[cut:])
        sent[c] = piece
    for c, piece in sent.items():
        got = bytearray()
        while len(got) < len(piece):
            part = sockets[c].recv(len(piece) - len(got))
            if not part:
                sys.exit(f"connection {c} ended after {len(got)} of {len(piece)} bytes")
            got += part
        if got != piece:
            sys.exit(f"connection {c} got what it did not send")
        echoed += len(got)
for c, s in enumerate(sockets):
    if c % 2:
        s.close()  # the others are still open when the server ends
print(f"echoed {echoed} bytes")
