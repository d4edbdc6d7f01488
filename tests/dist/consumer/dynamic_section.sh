# The shared library as the loader sees it
. "$(dirname "$0")/common.sh"

readelf -dW "$LIBRARY" | tee "$work/dynamic"

grep -q "(SONAME).*\[libbufferpool\.so\.$SOVERSION\]" "$work/dynamic" || fail "SONAME is not libbufferpool.so.$SOVERSION"
# A thread that outlives dlclose still has our thread-specific-data destructor to run.
grep -q '(FLAGS_1).*NODELETE' "$work/dynamic" || fail "not linked with -z nodelete"
if grep -E '\((RPATH|RUNPATH|TEXTREL)\)' "$work/dynamic"; then
    fail "RPATH, RUNPATH or TEXTREL"
fi
if grep '(NEEDED)' "$work/dynamic" | grep -Ev '\[(libc\.so\.[0-9]+|libc\.musl.*|libpthread\.so\.0|libdl\.so\.2|ld-.*)\]'; then
    fail "needs more than the C library"
fi

# -z defs: nothing is left undefined that the needed libraries do not have.
ldd -r "$LIBRARY" >"$work/ldd" 2>&1 || fail "$(cat "$work/ldd")"
if grep 'undefined symbol' "$work/ldd"; then
    fail "undefined symbols"
fi

# Each get and put reads thread-local storage: with glibc by one instruction, not by a call.
if grep -q '(NEEDED).*\[libc\.so\.6\]' "$work/dynamic"; then
    grep -q '(FLAGS).*STATIC_TLS' "$work/dynamic" || fail "thread-local storage is not initial-exec"
    if nm -D --undefined-only "$LIBRARY" | grep __tls_get_addr; then
        fail "thread-local storage is found by a call"
    fi
fi
