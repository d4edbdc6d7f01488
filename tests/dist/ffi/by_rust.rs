// SPDX-License-Identifier: MIT
//! Rust, with declarations by hand: a get, an append, the bytes, and a put by the data pointer.
use std::ffi::{c_char, c_int, c_void, CStr};

#[repr(C)]
struct Buf {
    data: *mut u8, // the library's
    len: usize,
    cap: usize, // the library's
}

#[link(name = "bufferpool")]
extern "C" {
    fn bufferpool_version() -> *const c_char;
    fn bufferpool_create(config: *const c_void) -> *mut c_void;
    fn bufferpool_destroy(pool: *mut c_void) -> c_int;
    fn bufferpool_set_max_live(pool: *mut c_void, n: usize);
    fn bufferpool_try_get(pool: *mut c_void) -> *mut Buf;
    fn bufferpool_buf_append(buf: *mut Buf, src: *const c_void, n: usize) -> c_int;
    fn bufferpool_put_data(data: *mut c_void);
}

fn main() {
    unsafe {
        let version = CStr::from_ptr(bufferpool_version()).to_str().unwrap();
        assert_eq!(version, std::env::args().nth(1).unwrap());
        let pool = bufferpool_create(std::ptr::null());
        bufferpool_set_max_live(pool, 1);
        let buf = bufferpool_try_get(pool);
        assert_eq!(bufferpool_buf_append(buf, b"bytes".as_ptr().cast(), 5), 0);
        assert_eq!(std::slice::from_raw_parts((*buf).data, (*buf).len), b"bytes");
        assert!((*buf).cap >= 32768 && bufferpool_try_get(pool).is_null());
        assert_eq!(std::io::Error::last_os_error().kind(), std::io::ErrorKind::WouldBlock);
        bufferpool_put_data((*buf).data.cast());
        assert_eq!(bufferpool_destroy(pool), 0);
    }
}
