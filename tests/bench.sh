#!/bin/bash
# tests/bench.sh: checks scripts/bench with an unoptimised build: its reports, its mistakes in the command line, and that it
# leaves no process behind. It judges no figures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export PROFILE=dev

fail() {
    echo "tests/bench.sh: $*" >&2
    cat "$place/err" >&2
    exit 1
}
bench() { scripts/bench "$@" > "$place/out" 2> "$place/err"; }

# What has to be refused, and a word of the reason.
while read -r word arguments; do
    status=0
    # shellcheck disable=SC2086 # words
    bench $arguments || status=$?
    [[ $status == 2 ]] || fail "$arguments: exit code $status"
    grep -q -- "$word" "$place/err" || fail "$arguments: the error does not name $word"
done << 'END'
path --nginx
program --haproxy /nowhere
directory --out
rounds --rounds 0
rounds --rounds many
seconds --seconds 0
small --cases nothing
nothing --arms nothing
unrecognized word
unexpected --unknown
END

# wrk, and the peers that are installed.
bench --quick --seconds 0.1 --arms iisplice,nginx,haproxy --cases few,http,spread-16,http-login-50 --out "$place/reports" ||
    fail "it failed"
for report in md json html; do
    [[ -s $place/reports/report.$report ]] || fail "there is no report.$report"
done
! grep -q 'failed:' "$place/reports/report.md" || fail "$(grep 'failed:' "$place/reports/report.md")"
python3 - "$place/reports/report.json" << 'END' || fail "report.json is not as it should be"
import json, sys
report = json.load(open(sys.argv[1]))
# A case brings the one that it needs.
assert list(report["cases"]) == ["few", "http", "http-login", "http-login-50", "spread-16"], list(report["cases"])
# On a busy host nothing may have happened in the window.
for name, figure in (("few", "requests_per_s"), ("http", "requests_per_s"), ("http-login-50", "logins_per_s"),
                     ("spread-16", "busiest_worker_times_its_share")):
    arm = report["cases"][name]["arms"]["iisplice"]
    assert arm[figure]["median"] >= 0, (name, arm)
assert len(report["cases"]["few"]["arms"]["iisplice"]["cores_busy_percent"]) == report["host"]["cores"]
nginx = report["cases"]["http-login"]["arms"].get("nginx")
assert nginx is None or "logins fail" in nginx["note"], nginx
END

# Ctrl-C: what it has started ends with it.
marker=BENCH_TEST=$$-$RANDOM
env "$marker" scripts/bench --rounds 1 --cases small --arms iisplice --out "$place/interrupted" > "$place/out" 2> "$place/begun" &
pid=$!
for ((tries = 0; tries < 1200; tries++)); do
    ! grep -qs '^round' "$place/begun" || break
    sleep 0.1
done
mv "$place/begun" "$place/err"
sleep 0.3
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
[[ $status == 1 ]] || fail "exit code $status after a signal"
[[ ! -e $place/interrupted ]] || fail "it reported although it was interrupted"
left() { grep -lzsxF "$marker" /proc/[0-9]*/environ || true; }
for ((tries = 0; tries < 100; tries++)); do
    [[ -n $(left) ]] || exit 0
    sleep 0.1
done
fail "it left processes: $(left)"
