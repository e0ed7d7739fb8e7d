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
bench --quick --seconds 0.1 --arms floor,iisplice,nginx,haproxy --cases few,http,spread-16,http-login-50,bulk,connect \
    --out "$place/reports" || fail "it failed"
for report in md json html; do
    [[ -s $place/reports/report.$report ]] || fail "there is no report.$report"
done
! grep -q 'failed:' "$place/reports/report.md" || fail "$(grep 'failed:' "$place/reports/report.md")"
python3 - "$place/reports/report.json" << 'END' || fail "report.json is not as it should be"
import json, sys
report = json.load(open(sys.argv[1]))
# A case brings the one that it needs.
cases = ["bulk", "connect", "few", "http", "http-login", "http-login-50", "spread-16"]
assert list(report["cases"]) == cases, list(report["cases"])
# On a busy host nothing may have happened in the window.
for name, figure in (("few", "requests_per_s"), ("http", "requests_per_s"), ("http-login-50", "logins_per_s"),
                     ("spread-16", "busiest_worker_times_its_share")):
    arm = report["cases"][name]["arms"]["iisplice"]
    assert arm[figure]["median"] >= 0, (name, arm)
assert len(report["cases"]["few"]["arms"]["iisplice"]["cores_busy_percent"]) == report["host"]["cores"]
nginx = report["cases"]["http-login"]["arms"].get("nginx")
assert nginx is None or "logins fail" in nginx["note"], nginx
# The floor runs what it can, and is no peer.
for name in cases[:4]:
    assert report["cases"][name]["arms"]["floor"]["errors"]["max"] == 0, name
assert report["cases"]["spread-16"]["arms"]["floor"]["note"] == "has one worker"
above = report["above_the_floor"]
assert above and all(one["floor"] == "floor" and one["ratio"] >= 0 for one in above), above
assert {one["figure"] for one in above} <= {"p50_us", "proxy_cpu_s_per_gb", "proxy_cpu_us_per_connection",
                                            "proxy_cpu_us_per_login", "proxy_cpu_us_per_request"}, above
assert all(one["best_peer"] != "floor" for one in report["beside_the_best_peer"])
END
for report in md html; do
    grep -q 'Above the floor' "$place/reports/report.$report" || fail "report.$report does not show the floor"
done

# What goes through the floor arrives as it was sent: messages, bulk to readers that are slow at first, half-closes; and the
# same out of TLS and into it.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$place/key.pem" -out "$place/chain.pem" 2> "$place/err" || fail "openssl failed"
python3 - "$place" << 'END' || fail "the floor does not pass on what it gets"
import contextlib, hashlib, os, select, socket, ssl, subprocess, sys, threading, time

def echo_slowly(connection):
    time.sleep(0.3)
    while data := connection.recv(1 << 20):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)

def serve(server):
    while True:
        threading.Thread(target=echo_slowly, args=[server.accept()[0]], daemon=True).start()

def connect(address):
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(address, timeout=60)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.05)

def exchange(address, size):
    with connect(address) as client:
        sent = os.urandom(size)
        def send():
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(0.5 if size > 1 << 20 else 0)
        received = hashlib.sha256()
        while data := client.recv(1 << 16):
            received.update(data)
        sender.join()
        assert received.digest() == hashlib.sha256(sent).digest(), size

def exchange_over_tls(address, size):
    with trusts.wrap_socket(connect(address), server_hostname="localhost") as client:
        # In one thread: two must not use one TLS connection at once (openssl-threads(7)).
        client.setblocking(False)
        sent, sent_bytes, received = os.urandom(size), 0, bytearray()
        while len(received) < size:
            has_moved, unsent = False, sent[sent_bytes:sent_bytes + (1 << 16)]
            with contextlib.suppress(ssl.SSLWantWriteError):
                sent_bytes += client.send(unsent) if unsent else 0
                has_moved = bool(unsent)
            with contextlib.suppress(ssl.SSLWantReadError):
                data = client.recv(1 << 16)
                assert data, "it has ended early"
                received += data
                has_moved = True
            if not has_moved:
                awaits_room = [client] if unsent else []
                assert any(select.select([client], awaits_room, [], 60)), "nothing has come for 60 s"
        assert received == sent, size
        # It answers with the end of its own stream.
        client.settimeout(60)
        client.unwrap()

server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=[server], daemon=True).start()
# It does not listen, and keeps the port for who does.
holder = socket.socket()
holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
holder.bind(("127.0.0.1", 0))
listen = holder.getsockname()
chain, key = (sys.argv[1] + name for name in ("/chain.pem", "/key.pem"))
trusts = ssl.create_default_context(cafile=chain)
over_tls = ["--certificate", chain, "--key", key]
address = lambda name: "%s:%d" % name
relay = ["scripts/bench", "floor", "--listen", address(listen), "--upstream", address(server.getsockname())]
for flags, exchanges in ([], exchange), (["--polling"], exchange), (over_tls, exchange_over_tls):
    process = subprocess.Popen(relay + flags, stderr=subprocess.DEVNULL)
    try:
        for size in 0, 1, 200, (128 << 10) - 1, 128 << 10, (128 << 10) + 1, 30 << 20:
            exchanges(listen, size)
        assert process.poll() is None, "it has ended"
    finally:
        process.terminate()
        process.wait()
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
