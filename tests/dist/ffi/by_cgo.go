// SPDX-License-Identifier: MIT

// cgo, which reads the header itself: a get, an append, the bytes, and a put by the data pointer.
package main

// #include <bufferpool.h>
import "C"

import (
	"os"
	"syscall"
	"unsafe"
)

func check(ok bool, what string) {
	if !ok {
		panic(what)
	}
}

func main() {
	check(C.GoString(C.bufferpool_version()) == os.Args[1], "version")
	config := C.bufferpool_config_t{max_live: 1, retain_ms: 1000}
	config.size = C.size_t(unsafe.Sizeof(config))
	pool := C.bufferpool_create(&config)
	buf := C.bufferpool_try_get(pool)
	text := []byte("bytes")
	check(C.bufferpool_buf_append(buf, unsafe.Pointer(&text[0]), 5) == 0, "append")
	check(string(unsafe.Slice((*byte)(buf.data), int(buf.len))) == "bytes", "content")
	none, err := C.bufferpool_try_get(pool)
	check(none == nil && err == syscall.EAGAIN, "the cap")
	C.bufferpool_put_data(unsafe.Pointer(buf.data))
	check(C.bufferpool_destroy(pool) == 0, "destroy")
}
