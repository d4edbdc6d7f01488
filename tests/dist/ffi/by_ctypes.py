# SPDX-License-Identifier: MIT
"""ctypes: a get, an append, the bytes, and a put by the data pointer. Arguments: the library, its version."""
import ctypes
import errno
import sys


class Buf(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("len", ctypes.c_size_t), ("cap", ctypes.c_size_t)]


lib = ctypes.CDLL(sys.argv[1], use_errno=True)
lib.bufferpool_version.restype = ctypes.c_char_p
lib.bufferpool_create.restype = ctypes.c_void_p
lib.bufferpool_try_get.restype = ctypes.POINTER(Buf)
lib.bufferpool_live.restype = ctypes.c_size_t
lib.bufferpool_set_max_live.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
lib.bufferpool_buf_append.argtypes = [ctypes.POINTER(Buf), ctypes.c_char_p, ctypes.c_size_t]
for name in ("try_get", "live", "destroy", "put_data"):
    getattr(lib, "bufferpool_" + name).argtypes = [ctypes.c_void_p]
assert lib.bufferpool_version().decode() == sys.argv[2]
pool = lib.bufferpool_create(None)
lib.bufferpool_set_max_live(pool, 1)
buf = lib.bufferpool_try_get(pool)
assert lib.bufferpool_buf_append(buf, b"bytes", 5) == 0
assert ctypes.string_at(buf.contents.data, buf.contents.len) == b"bytes"
assert not lib.bufferpool_try_get(pool) and ctypes.get_errno() == errno.EAGAIN
lib.bufferpool_put_data(buf.contents.data)
assert lib.bufferpool_live(pool) == 0 and lib.bufferpool_destroy(pool) == 0
