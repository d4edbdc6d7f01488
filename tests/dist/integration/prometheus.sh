#!/usr/bin/env bash
# prometheus.sh rules|scrape: the metrics as Prometheus sees them; needs prometheus with promtool, curl and jq. 77: not
# there.
#   rules    the alert rules are rules, and fire when they should; the dashboard names no metric that is not there
#   scrape   a Prometheus scrapes the demonstration's server, and is asked for what it saw
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT

fail() {
    echo "$*"
    exit 1
}
for program in prometheus promtool curl jq; do
    command -v "$program" >/dev/null || { echo "$program is not installed: not tested"; exit 77; }
done

# Starts the server; sets port.
serve() {
    mkdir "$work/site"
    echo hello >"$work/site/hello"
    : >"$work/served" # the look at it below may come before the server's
    "$DEMO" --serve 0 --root "$work/site" >"$work/served" &
    pids+=($!)
    until read -r line <"$work/served" 2>/dev/null && [ -n "$line" ]; do
        kill -0 "${pids[0]}" || fail "the server ended"
    done
    port=${line##*:}
    port=${port%/}
}

metrics() {
    curl -sSf "http://127.0.0.1:$port/metrics"
}

case $1 in
rules)
    cp "$SOURCE/docs/monitoring/alerts.yml" "$SOURCE"/tests/dist/integration/{alerts,leaks}.test.yml "$work"
    promtool check rules "$work/alerts.yml"
    # the configuration that docs/metrics.md shows, with the rules from here
    sed -n '/^```yaml$/,/^```$/p' "$SOURCE/docs/metrics.md" | grep -v '^```' |
        sed "s|/usr/local/share/doc/bufferpool/docs/monitoring|$work|" >"$work/shown.yml"
    promtool check config "$work/shown.yml" | tee "$work/said"
    grep -q 'SUCCESS: 1 rule files found' "$work/said" || fail "docs/metrics.md: no rules in the configuration"
    promtool test rules "$work/alerts.test.yml" "$work/leaks.test.yml"
    serve
    metrics | tee "$work/metrics" | promtool check metrics
    # the demonstration has no budget
    { sed -n 's/^# TYPE \([a-z_]*\) .*/\1/p' "$work/metrics"; grep -o 'bufferpool_budget_[a-z_]*bytes' "$SOURCE/src/metrics.c"; } |
        sort -u >"$work/there"
    dashboard=$SOURCE/docs/monitoring/grafana-dashboard.json
    jq -e '.panels | length > 0' "$dashboard" >/dev/null
    { jq -r '.panels[].targets[].expr' "$dashboard"; sed -n '/expr:/,/for:/p' "$work/alerts.yml"; } |
        grep -o 'bufferpool_[a-z_]*' | sort -u >"$work/named"
    comm -23 "$work/named" "$work/there" | grep . && fail "no such metric"
    # each of its expressions is one
    jq -r '.panels[].targets[].expr' "$dashboard" | sed -e 's/\$__rate_interval/5m/g' -e 's/\$pool/.*/g' |
        jq -Rn '{groups: [{name: "dashboard", rules: [inputs | {record: "x", expr: .}] | to_entries | map(.value.record += (.key | tostring) | .value)}]}' >"$work/dashboard.yml"
    promtool check rules "$work/dashboard.yml"
    ;;
scrape)
    serve
    for _ in 1 2 3 4 5; do
        curl -sSf "http://127.0.0.1:$port/hello" >/dev/null
    done
    cat >"$work/prometheus.yml" <<YAML
global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
scrape_configs:
  - job_name: demo
    static_configs:
      - targets: ['127.0.0.1:$port']
YAML
    # a free port: what the system gives to somebody who asks for any
    web=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" --log.level=warn \
        --web.listen-address="127.0.0.1:$web" >"$work/log" 2>&1 &
    pids+=($!)
    query() {
        curl -sSf --get "http://127.0.0.1:$web/api/v1/query" --data-urlencode "query=$1" 2>/dev/null
    }
    # asked until it has scraped; a server that never answers ends with the test's time
    until query 'up' | jq -e '.data.result[0].value[1] == "1"' >/dev/null 2>&1; do
        kill -0 "${pids[1]}" 2>/dev/null || fail "Prometheus ended: $(cat "$work/log")"
    done
    gets=$(query 'sum(bufferpool_gets_total{pool="responses"})' | jq -r '.data.result[0].value[1]')
    [ "$gets" -ge 6 ] || fail "it saw $gets gets, fewer than there were"
    [ "$(query 'bufferpool_max_live_buffers{pool="responses"}' | jq -r '.data.result[0].value[1]')" = 256 ] ||
        fail "it did not see the cap"
    # the laws, as it sees them: what was got is held or was put
    query 'sum without (source) (bufferpool_gets_total{source!="refused"}) - bufferpool_puts_total
           - bufferpool_live_buffers - bufferpool_bypass_buffers' | jq -e '.data.result | length == 2' >/dev/null ||
        fail "not as many pools as there are"
    [ "$(query 'count({__name__=~"bufferpool_.*"})' | jq -r '.data.result[0].value[1]')" -ge 60 ] || fail "series are missing"
    # names and types are what they are to be, so that rate() is no mistake
    curl -sSf "http://127.0.0.1:$web/api/v1/metadata?metric=bufferpool_gets_total" |
        jq -e '.data.bufferpool_gets_total[0].type == "counter"' >/dev/null || fail "the type did not get through"
    ;;
esac
