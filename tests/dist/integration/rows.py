# SPDX-License-Identifier: MIT
#
# rows.py: reads documents, one a line, and says of each: its first id, its number of rows, and the MD5 of its rows as
# postgres_json.sh has the server write them. Object by object: a million at once would take a gigabyte.
import hashlib
import json
import sys

KEYS = ["id", "big", "flag", 'no"te\\']

for line in sys.stdin.buffer:
    md5 = hashlib.md5()
    ids = []

    def row(pairs):
        keys, (number, big, flag, note) = zip(*pairs)
        assert list(keys) == KEYS, keys
        assert type(number) is int and type(big) is int and type(flag) is bool, pairs
        md5.update(f"{number}|{big}|{str(flag).lower()}|{'none' if note is None else note}\n".encode())
        ids.append(number)

    rows = json.loads(line.decode("utf-8", "strict"), object_pairs_hook=row)
    print(ids[0], len(rows), md5.hexdigest())
