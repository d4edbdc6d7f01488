# Nothing that a user can set from outside changes what the library does: it reads no environment variable, so that a
# program with the rights of another user need not beware of it, and it opens no file and locks no memory.
. "$(dirname "$0")/common.sh"

nm -D --undefined-only "$LIBRARY" | awk '{ sub(/@.*/, "", $2); print $2 }' >"$work/imported"
nm --undefined-only "$ARCHIVE" | awk '$1 == "U" { print $2 }' >>"$work/imported"
grep -q '^pthread_create$' "$work/imported" || fail "what it imports is not to be seen"
if grep -xE '(secure_|__secure_)?getenv|_*environ|(f|fd)?open(at)?(64)?|__open.*|mlock(all|2)?' "$work/imported"; then
    fail "the library reads the environment or a file, or locks memory"
fi
