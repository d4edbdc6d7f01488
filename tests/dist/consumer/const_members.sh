# A program that assigns to data or cap of a buffer does not compile, in C and in C++. It may write len and the bytes.
. "$(dirname "$0")/common.sh"

# compiles LANGUAGE STATEMENT
compiles()
{
    printf '#include <bufferpool.h>\nvoid use(bufferpool_buf_t *buf);\nvoid use(bufferpool_buf_t *buf)\n{\n    %s\n}\n' "$2" \
        >"$work/use.$1"
    compiler=$CC
    test "$1" = c || compiler=$CXX
    $compiler -I"$SOURCE/include" -Wall -Wextra -Werror -c "$work/use.$1" -o "$work/use.o" 2>"$work/said"
}

languages=c
test -z "$CXX" || languages='c cpp'
for language in $languages; do
    compiles "$language" 'buf->len = buf->cap; buf->data[0] = 1; unsigned char *at = buf->data; at += 1; *at = 2;' ||
        fail "$language: what is allowed does not compile: $(cat "$work/said")"
    for statement in 'buf->data += 1;' 'buf->data = 0;' 'buf->cap = 1;' 'buf->cap -= 1;'; do
        compiles "$language" "$statement" && fail "$language: this compiles: $statement"
        grep -q 'read-only\|const' "$work/said" || fail "$language: $statement: $(cat "$work/said")"
    done
done
echo "$languages"
