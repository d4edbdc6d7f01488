#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# postgres_json.sh: examples/postgres_json.c against a PostgreSQL of its own: a million rows in one document, 200
# queries at once under a cap of 8, and queries that fail half-way. The server says what the rows are as checksums that
# know nothing of JSON, and rows.py makes the same checksums of the documents. ROWS and QUERIES make it smaller.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
needs pg_config python3
bin=$(pg_config --bindir)
[ -x "$bin/initdb" ] || bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
[ -x "$bin/initdb" ] || skip "PostgreSQL's server is not installed"
rows=${ROWS:-1000000}
queries=${QUERIES:-200}
share=$((rows / queries))

# A server refuses to run as root; its folder is its user's, and the only way in is a socket there.
mkdir "$work/pg"
as_user=()
if [ "$(id -u)" = 0 ]; then
    needs setpriv
    id postgres >/dev/null 2>&1 || skip "there is no user postgres"
    chmod 711 "$work"
    chown postgres: "$work/pg"
    as_user=(setpriv --reuid postgres --regid postgres --clear-groups)
fi
server() {
    (cd "$work/pg" && "${as_user[@]}" env -u PGDATA "$bin/$1" "${@:2}")
}
cleanup() {
    [ ! -e "$work/pg/data/postmaster.pid" ] || server pg_ctl -D "$work/pg/data" -m immediate -w stop >/dev/null
}
server initdb -D "$work/pg/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$work/initdb" 2>&1 ||
    fail "initdb: $(cat "$work/initdb")"
options="-k '$work/pg' -c listen_addresses= -c fsync=off -c shared_buffers=64MB -c jit=off"
options+=" -c max_connections=$((queries + 20))"
server pg_ctl -D "$work/pg/data" -l "$work/pg/log" -w -o "$options" start >"$work/pg_ctl" ||
    fail "$(cat "$work/pg_ctl" "$work/pg/log")"
conninfo="host=$work/pg user=postgres dbname=postgres"

sql() {
    "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -F ' ' "$conninfo" "$@"
}
# Every control character, every letter up to U+D6D8, quotes and backslashes, and what lies beyond 16 bits.
sql <<SQL
CREATE TABLE t AS
SELECT g::int4 AS id, g * 9000000000 AS big, g % 3 = 0 AS flag,
       CASE WHEN g % 7 <> 0 THEN 'a"b\\c/' || chr(1 + g % 55000) || U&'\\+01F600' || md5(g::text) END AS "no""te\\"
FROM generate_series(1, $rows) g;
ALTER TABLE t ADD PRIMARY KEY (id);
ANALYZE t;
SQL
line="id || '|' || big || '|' || flag || '|' || coalesce(\"no\"\"te\\\", 'none') || E'\\n'"
sql -c "SELECT 1, count(*), md5(string_agg($line, '' ORDER BY id)) FROM t" >"$work/whole"
sql -c "SELECT min(id), count(*), md5(string_agg($line, '' ORDER BY id)) FROM t GROUP BY (id - 1) / $share ORDER BY 1" >"$work/parts"

# run STATUS ARGUMENT...: the program, on this server; documents to $work/out
run() {
    local status=0
    "${under[@]}" "$PROGRAM" "$conninfo" "${@:2}" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = "$1" ] || fail "exit status $status"
    grep '^pool: ' "$work/err" || fail "it says nothing about its pool"
}

run 0 "SELECT * FROM t ORDER BY id"
look_at_pool >/dev/null
python3 "$here/rows.py" <"$work/out" >"$work/got"
diff "$work/whole" "$work/got" || fail "the rows are not what they should be"
echo "$rows rows, $(stat -c %s "$work/out") bytes"

run 0 "SELECT * FROM t WHERE id BETWEEN \$1::int * $share + 1 AND (\$1::int + 1) * $share ORDER BY id" "$queries" 8
look_at_pool >/dev/null
look_at_cap
python3 "$here/rows.py" <"$work/out" | sort -n >"$work/got"
diff "$work/parts" "$work/got" || fail "the rows of $queries queries are not what they should be"
echo "$queries queries, $(stat -c %s "$work/out") bytes"

# After many rows one of three fails: its document is not written, and its buffer comes back too.
run 1 "SELECT CASE WHEN \$1::int = 1 THEN 1 / ($share - id) END FROM t ORDER BY id" 3 2
grep -q 'division by zero' "$work/err" || fail "the server's message is lost"
[ "$(wc -l <"$work/out")" = 2 ] || fail "not two documents"
look_at_balance
[ "$(figure gets)" = 3 ] || fail "not three buffers"
run 0 "SELECT 1 AS one, NULL AS none WHERE false"
[ "$(cat "$work/out")" = "[]" ] || fail "no rows"
run 0 "SELECT 'NaN'::float8 AS x, 1.50::numeric AS y, true AS z, -9223372036854775808 AS min"
[ "$(cat "$work/out")" = '[{"x":"NaN","y":"1.50","z":true,"min":-9223372036854775808}]' ] || fail "$(cat "$work/out")"
run 1 "SELECT 1 FROM nowhere"
[ ! -s "$work/out" ] || fail "a document of a query that failed"
conninfo="host=$work/nowhere" run 1 "SELECT 1" 5 2
