# gdb loads the commands by itself with the shared library, from the folder where other programs have theirs.
. "$(dirname "$0")/common.sh"

if ! gdb -nx -batch -ex 'python print(6 * 7)' 2>/dev/null | grep -qx 42; then
    echo "SKIPPED: no gdb, or one without Python"
    exit 77
fi
prefix=$(prefix_of staged)
gdb -nx -batch -iex "add-auto-load-scripts-directory $prefix/share/gdb/auto-load" -iex "add-auto-load-safe-path $prefix" \
    -ex 'help bufferpool' -ex 'bufferpool pools' "$prefix/$LIBDIR/libbufferpool.so" >"$work/log" 2>&1 || true
cat "$work/log"
for command in pools depot caches holders buffer; do
    grep -q "^bufferpool $command -- " "$work/log" || fail "there is no command bufferpool $command"
done
grep -q 'neither a process nor a core file' "$work/log" || fail "no clear error"
