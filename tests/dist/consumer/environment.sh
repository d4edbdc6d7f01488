# A user can set two environment variables from outside, and a program with the rights of another user does not see it.
# The library locks no memory.
. "$(dirname "$0")/common.sh"

nm -D --undefined-only "$LIBRARY" | awk '{ sub(/@.*/, "", $2); print $2 }' >"$work/imported"
nm --undefined-only "$ARCHIVE" | awk '$1 == "U" { print $2 }' >>"$work/imported"
grep -q '^pthread_create$' "$work/imported" || fail "what it imports is not to be seen"
if grep -xE '(__secure_)?getenv|_*environ|fdopen|fopen(64)?|mlock(all|2)?' "$work/imported"; then
    fail "the library reads the environment of setuid programs too, or files by name, or locks memory"
fi
grep -qx secure_getenv "$work/imported" || fail "the library does not read the environment"
variables=$(strings -n 6 "$LIBRARY" | grep -oxE 'BUFFERPOOL_[A-Z]+' | sort -u | tr '\n' ' ')
[ "$variables" = 'BUFFERPOOL_CONF BUFFERPOOL_DEBUG ' ] || fail "it reads other variables: $variables"
