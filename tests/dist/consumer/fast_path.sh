# The object code of bufferpool_get and bufferpool_put has no locked instruction and no fence, and calls nothing but the
# slow path. For x86-64, where a look at the code tells plain loads and stores.
. "$(dirname "$0")/common.sh"

if [ "$(uname -m)" != x86_64 ] || nm "$LIBRARY" | grep -q gcov; then
    echo "no x86-64, or an instrumented library: not looked at"
    exit 77
fi
for function in bufferpool_get bufferpool_put; do
    objdump -d --no-show-raw-insn "$LIBRARY" |
        awk -v start="<$function(@@.*)?>:" '$0 ~ start { on = 1 } on && NF == 0 { exit } on' >"$work/$function"
    test -s "$work/$function" || fail "$function is not in the library"
    # xchg %ax,%ax is how two bytes of padding are spelt
    if grep -E '\b(lock|xchg|[ml]fence|sfence|syscall)\b' "$work/$function" | grep -Ev 'xchg +%ax,%ax$'; then
        fail "$function has a locked instruction, a fence or a system call"
    fi
    if grep -E '[[:space:]]callq?[[:space:]]' "$work/$function" | grep -Ev '<(get_slow|put_slow)'; then
        fail "$function calls something else"
    fi
done
cat "$work/bufferpool_get"
