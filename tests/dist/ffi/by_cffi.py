# SPDX-License-Identifier: MIT
"""cffi, which reads the header's declarations itself. Arguments: the library, its version, the declarations, the names
of all functions."""
import errno
import sys

import cffi

ffi = cffi.FFI()
ffi.cdef(open(sys.argv[3]).read())
lib = ffi.dlopen(sys.argv[1])
for name in open(sys.argv[4]).read().split():
    assert ffi.typeof(getattr(lib, name)).kind == "function", name  # none is a macro, or inline
assert ffi.string(lib.bufferpool_version()).decode() == sys.argv[2]
size = ffi.sizeof("bufferpool_config_t")
config = ffi.new("bufferpool_config_t *", {"size": size, "max_live": 1, "retain_ms": 1000})
pool = lib.bufferpool_create(config)
buf = lib.bufferpool_try_get(pool)
assert lib.bufferpool_buf_append(buf, b"bytes", 5) == 0
assert bytes(ffi.buffer(buf.data, buf.len)) == b"bytes" and lib.bufferpool_buf_from_data(buf.data) == buf
assert lib.bufferpool_try_get(pool) == ffi.NULL and ffi.errno == errno.EAGAIN
lib.bufferpool_put_data(buf.data)
assert lib.bufferpool_live(pool) == 0 and lib.bufferpool_destroy(pool) == 0
