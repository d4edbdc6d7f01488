# ffi.sh ctypes|cffi|rust|cgo: one small program in another language that uses the shared library. It succeeds, or is
# skipped where the language is not installed.
. "$(dirname "$0")/../consumer/common.sh"

folder=$SOURCE/tests/dist/ffi
version=$VERSION$(sed -n 's/^#define BUFFERPOOL_VERSION_SUFFIX *"\(.*\)"$/\1/p' "$SOURCE/include/bufferpool.h")

# needs COMMAND...: skips the test unless the command succeeds
needs()
{
    if ! "$@" >/dev/null 2>&1; then
        echo "SKIPPED: $* fails"
        exit 77
    fi
}

# What the header declares, without attributes, and without what it includes: for tools that read C themselves.
declarations()
{
    mkdir "$work/none"
    for header in limits.h stddef.h stdint.h; do
        : >"$work/none/$header"
    done
    echo 'typedef ... *va_list;' >"$work/none/stdarg.h" # cffi's way to say that nobody looks into it
    echo '#include <bufferpool.h>' >"$work/include.c"
    $CC -E -P -nostdinc -I"$work/none" -I"$SOURCE/include" \
        -DBUFFERPOOL_API= -DBUFFERPOOL_NOPLT= -DBUFFERPOOL_MUST_USE= -D'BUFFERPOOL_PRINTF(format, arg)=' \
        -D'BUFFERPOOL_READS(data, size)=' -D'BUFFERPOOL_MALLOC(put)=' "$work/include.c"
}

case $1 in
ctypes)
    needs python3 -c 'import ctypes'
    timeout 60 python3 "$folder/by_ctypes.py" "$LIBRARY" "$version"
    ;;
cffi)
    python=python3
    "$python" -c 'import cffi' 2>/dev/null || python=/usr/bin/python3 # Debian's own has Debian's module
    needs "$python" -c 'import cffi'
    declarations >"$work/declarations.h"
    sed 's/@.*//' "$SOURCE/tests/dist/exported-symbols.txt" >"$work/functions"
    timeout 60 "$python" "$folder/by_cffi.py" "$LIBRARY" "$version" "$work/declarations.h" "$work/functions"
    ;;
rust)
    needs rustc --version
    timeout 120 rustc --edition 2021 -D warnings -L "$(dirname "$LIBRARY")" -o "$work/by_rust" "$folder/by_rust.rs"
    LD_LIBRARY_PATH=$(dirname "$LIBRARY") timeout 60 "$work/by_rust" "$version"
    ;;
cgo)
    needs go version
    cp "$folder/by_cgo.go" "$work/main.go"
    cd "$work"
    export GO111MODULE=off CGO_ENABLED=1 CC CGO_CFLAGS="-I$SOURCE/include"
    CGO_LDFLAGS="-L$(dirname "$LIBRARY") -lbufferpool" timeout 250 go build -o by_cgo main.go
    LD_LIBRARY_PATH=$(dirname "$LIBRARY") timeout 60 ./by_cgo "$version"
    ;;
*) fail "unknown: $1" ;;
esac
