# The files of the library show that it is hardened as cmake/hardening.cmake says. Options that the caller's compiler
# flags set already stay as they are. A project that uses the library is built without our flags.
. "$(dirname "$0")/common.sh"

readelf -hW "$LIBRARY" >"$work/header"
readelf -lW "$LIBRARY" >"$work/segments"
readelf -dW "$LIBRARY" >"$work/dynamic"

grep -q '^ *GNU_RELRO ' "$work/segments" || fail "no GNU_RELRO segment"
grep -Eq '\(FLAGS\).*BIND_NOW' "$work/dynamic" || fail "not linked with -z now"
grep -q '^ *GNU_STACK ' "$work/segments" || fail "nothing said about the stack"
if grep -E '^ *GNU_STACK .* RWE ' "$work/segments"; then
    fail "an executable stack"
fi
nm -D --undefined-only "$LIBRARY" | grep -q ' __stack_chk_fail' || fail "no function checks its stack"
if grep -q 'Machine:.*X86-64' "$work/header"; then
    readelf -nW "$LIBRARY" | grep -q 'x86 feature:.*SHSTK' || fail "no mark for the shadow stack"
    # In the linked library the mark could be the linker's doing; in the objects it is the compiler's.
    objects=$(ar t "$ARCHIVE" | wc -l)
    marked=$(readelf -nW "$ARCHIVE" | grep -c 'x86 feature:.*SHSTK' || true)
    test "$objects" -gt 0 || fail "an empty archive"
    test "$objects" -eq "$marked" || fail "$marked of $objects objects are marked for the shadow stack"
fi

flags='-fstack-protector|-fstack-clash-protection|-fcf-protection|-z,(now|relro|noexecstack|shstk)'

# A parent project that asks for our hardening: its own program is compiled and linked as it says, and by default we ask
# for nothing.
mkdir "$work/parent"
cat >"$work/parent/CMakeLists.txt" <<'SOURCE'
cmake_minimum_required(VERSION 3.25)
project(parent LANGUAGES C)
add_subdirectory("${BUFFERPOOL_SOURCE}" bufferpool)
foreach(kind IN ITEMS shared static)
    add_executable(with-${kind} main.c)
    target_link_libraries(with-${kind} PRIVATE bufferpool::${kind})
endforeach()
SOURCE
echo '#include <bufferpool.h>
int main(void) { return bufferpool_destroy(bufferpool_create(NULL)); }' >"$work/parent/main.c"
configure "$work/parent" "$work/default" -DBUFFERPOOL_SOURCE="$SOURCE" -DBUFFERPOOL_BUILD_SHARED=ON -DBUFFERPOOL_BUILD_STATIC=ON
grep -q '^BUFFERPOOL_HARDENING:BOOL=OFF' "$work/default/CMakeCache.txt" || fail "hardened though a part of another project"
configure "$work/parent" "$work/asked" -DBUFFERPOOL_SOURCE="$SOURCE" -DBUFFERPOOL_BUILD_SHARED=ON -DBUFFERPOOL_BUILD_STATIC=ON \
    -DBUFFERPOOL_HARDENING=ON
"$CMAKE" --build "$work/asked" --verbose >"$work/log" 2>&1 || fail "the parent's build: $(cat "$work/log")"
grep -E -- "-o [^ ]*background[^ ]*\.o" "$work/log" | grep -Eq -- "$flags" || fail "asked for, but not hardened"
grep -E -- '-o [^ ]*with-(shared|static)' "$work/log" >"$work/parents" || fail "the parent's commands are not in the log"
if grep -E -- "$flags" "$work/parents"; then
    fail "the parent's program is built with our flags"
fi
for kind in shared static; do
    "$work/asked/with-$kind" || fail "the parent's program fails with the $kind library"
done

# commands_with FLAG [OPTION...]: the compile commands of a build in which the compiler is given the flag
commands_with()
{
    flag=$1
    shift
    rm -rf "$work/more"
    configure "$SOURCE" "$work/more" -DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF -DBUFFERPOOL_INSTALL=OFF \
        -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@" >"$work/log"
    grep -q -- " $flag " "$work/more/compile_commands.json" || fail "$flag has no effect"
    cat "$work/more/compile_commands.json"
}

# Where more than ours is asked for ours stays away: it would come last, and take it back.
commands_with -fstack-protector-all -DCMAKE_C_FLAGS=-fstack-protector-all >"$work/commands"
if grep -e '-fstack-protector ' "$work/commands"; then
    fail "-fstack-protector after -fstack-protector-all"
fi
if grep -q 'Machine:.*X86-64' "$work/header"; then
    commands_with -fcf-protection -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="-O2 -fcf-protection -DNDEBUG" \
        >"$work/commands"
    if grep -e '-fcf-protection=return' "$work/commands"; then
        fail "-fcf-protection=return after -fcf-protection"
    fi
fi
