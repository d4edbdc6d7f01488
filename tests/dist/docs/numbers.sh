#!/bin/sh
# numbers.sh: the manual explains every field of bufferpool_stats_t, and docs/metrics.md every field and every metric that
# the library writes: what it means, what is normal, and what to do otherwise. Neither explains what is not there. Runs in
# the root of the project.
set -eu
status=0
fail() {
    echo "$*"
    status=1
}
mkdir -p "$WORK"

# ---- the fields ----

page=docs/man/bufferpool_stats.3
fields=$(sed -n '/^typedef struct bufferpool_stats {/,/^}/s/^ *uint64_t \([a-z_]*\);.*/\1/p' include/bufferpool.h)
test -n "$fields"
for field in $fields; do
    awk -v item=".It Va $field" '$0 == item { on = 1; next } /^\.(It|El)/ { on = 0 } on' $page >"$WORK/item"
    test -s "$WORK/item" || { fail "$page does not explain $field"; continue; }
    grep -q normal "$WORK/item" || fail "$page does not say what is normal of $field"
    grep -q '^If ' "$WORK/item" || fail "$page does not say what to do if $field is not normal"
    grep -q "^|[^|]*|[^|]*\`$field\`[^|]*|" docs/metrics.md || fail "docs/metrics.md does not explain $field"
done
for field in $(sed -n 's/^\.It Va //p' $page); do
    echo "$fields" | grep -qx "$field" || fail "$page explains $field, which is no field"
done

# ---- the metrics ----

cat >"$WORK/numbers.c" <<'C'
#include <bufferpool.h>
#include <stdio.h>

int main(void)
{
    bufferpool_set_max_live(NULL, 2); /* without a cap, and without a budget, samples are left out */
    bufferpool_buf_t *buf = bufferpool_get(NULL);
    if (bufferpool_budget_create("b", 1) == NULL || buf == NULL || bufferpool_metrics(buf) != 0)
        return 1;
    fwrite(buf->data, 1, buf->len, stdout);
    return 0;
}
C
"$CC" -std=c99 -Iinclude "$WORK/numbers.c" "$LIBRARY" "-Wl,-rpath,$(dirname "$LIBRARY")" -o "$WORK/numbers"
"$WORK/numbers" >"$WORK/numbers.out"

# As samples have them, without the pool's name; and those that have none now, by their type.
sed -n -e 's/^\(bufferpool_[a-z_]*\){[a-z]*="[^"]*",*\([^}]*\)}.*/\1{\2}/p' "$WORK/numbers.out" | sed 's/{}$//' >"$WORK/written"
for metric in $(sed -n 's/^# TYPE \([a-z_]*\) .*/\1/p' "$WORK/numbers.out"); do
    grep -q "^$metric\({\|\$\)" "$WORK/written" || echo "$metric" >>"$WORK/written"
    grep -q "^\(\.Va \|.* \|\)$metric\({\|  *\|\$\)" $page || fail "$page does not name $metric"
done
sort -u "$WORK/written" >"$WORK/there"
sed -n 's/^| `\(bufferpool_[^`]*\)` |.*/\1/p' docs/metrics.md | sort >"$WORK/explained"
diff "$WORK/there" "$WORK/explained" || fail "docs/metrics.md: '<' is a metric that it does not explain, '>' is none"

# Five cells, and something in each.
grep '^| `bufferpool_' docs/metrics.md | grep -vE '^(\|[^|]*[^| ][^|]*){5}\|$' && fail "docs/metrics.md: a row lacks a cell"
echo "$(echo "$fields" | wc -w) fields, $(wc -l <"$WORK/there") metrics"
exit $status
