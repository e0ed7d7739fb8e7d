#!/bin/bash
# Runs on a bare system that scripts/test-package boots; ends with the first thing that is not as it should be.
set -euo pipefail

step() { printf '\n== %s\n' "$*"; }
load() { iisplice load --auth ntlm --user 'CORP\alice:secret' --verify-identity --fail-on-errors --quiet "$@" http://127.0.0.1/whoami; }
listens() { ss -Hltn sport = :80 | grep -qF " $1:80 "; }
main_pid() { systemctl show --property MainPID --value iisplice; }
trap 'echo "FAILED in line $LINENO"; systemctl status --no-pager --lines 40 iisplice || true' ERR

step "Install"
export DEBIAN_FRONTEND=noninteractive
apt-get install -q -y /packages/iisplice_0.1.0-1_*.deb
systemctl is-enabled iisplice
systemctl is-active iisplice
getent passwd iisplice
iisplice --version

step "Serve a login with the settings as they were installed"
systemd-run --quiet --unit mock iisplice mock --user 'CORP\alice:secret'
for _ in $(seq 100); do iisplice status > /dev/null && ss -Hltn sport = :8080 | grep -q . && break; sleep 0.1; done
load --requests 200
iisplice status
for _ in $(seq 100); do grep -q 'GET.*/whoami' /var/log/iisplice/access.log && break; sleep 0.1; done
grep -c 'GET.*/whoami' /var/log/iisplice/access.log

step "What it may do"
journalctl --no-pager --unit iisplice --output cat --grep 'serving listeners'
grep -E '^(Name|Uid|Gid|CapEff|CapBnd|NoNewPrivs|Seccomp|Seccomp_filters):' "/proc/$(main_pid)/status"
ss -Hltnp sport = :80
ls -ld /etc/iisplice /run/iisplice /run/iisplice/admin.sock /var/log/iisplice /var/log/iisplice/access.log
systemd-analyze --no-pager security iisplice | tail -n 1
uid=$(id -u iisplice)
grep -q "^Uid:.$uid.$uid.$uid.$uid\$" "/proc/$(main_pid)/status"
grep -q '^CapBnd:.0000000000000400$' "/proc/$(main_pid)/status"
journalctl --no-pager --unit iisplice --output cat --grep 'serving listeners' | grep -q ' sandbox=seccomp,rings,files,scopes$'
# The thread of the admin endpoint gives way to workers (SCHED_IDLE).
[[ $(awk '$41 == 5' "/proc/$(main_pid)/task/"*/stat | wc -l) == 1 ]]

step "Edit one file and reload"
sed -i 's/^listen = .*/listen = ["0.0.0.0:80", "[::]:80"]/' /etc/iisplice/iisplice.toml
systemctl reload iisplice
for _ in $(seq 100); do listens '[::]' && listens 0.0.0.0 && ! listens 127.0.0.1 && break; sleep 0.1; done
listens '[::]' && listens 0.0.0.0
if listens 127.0.0.1; then false; fi
load --requests 20

step "A mistake in that file changes nothing"
sed -i 's/^mode = .*/mode = "htpp"/' /etc/iisplice/iisplice.toml
systemctl reload iisplice
for _ in $(seq 100); do systemctl show --property StatusText iisplice | grep -q htpp && break; sleep 0.1; done
systemctl show --property StatusText iisplice
load --requests 20
sed -i 's/^mode = .*/mode = "http"/' /etc/iisplice/iisplice.toml
systemctl reload iisplice

step "Rotate the log"
logrotate --force /etc/logrotate.d/iisplice
for _ in $(seq 100); do [[ -e /var/log/iisplice/access.log ]] && break; sleep 0.1; done
load --requests 20
ls -l /var/log/iisplice
for _ in $(seq 100); do grep -q 'GET.*/whoami' /var/log/iisplice/access.log && break; sleep 0.1; done
grep -c 'GET.*/whoami' /var/log/iisplice/access.log

step "Upgrade under load"
before=$(main_pid)
load --connections 20 --duration 8s --json /tmp/run.json > /tmp/load.log 2>&1 & loading=$!
sleep 2
apt-get install -q -y /packages/iisplice_0.1.0-2_*.deb
wait "$loading" || { cat /tmp/load.log; false; }
cat /tmp/load.log
grep -Eq '^errors +0$' /tmp/load.log
for _ in $(seq 100); do [[ $(main_pid) != "$before" ]] && break; sleep 0.1; done
echo "main process: $before, then $(main_pid)"
[[ $(main_pid) != "$before" && $(main_pid) != 0 ]]
# In place: systemd has started it once.
[[ $(systemctl show --property NRestarts --value iisplice) == 0 ]]
[[ $(journalctl --no-pager --unit iisplice --output cat --grep '^Started iisplice' | wc -l) == 1 ]]
iisplice status
systemctl is-active iisplice
# The file that was edited is still the edited one.
grep -q '\[::\]:80' /etc/iisplice/iisplice.toml
load --requests 20
dpkg-query -W iisplice
journalctl --no-pager --unit iisplice --output cat | tail -n 30

step "Restart and upgrade with the socket unit, under load"
mkdir /etc/systemd/system/iisplice.socket.d
printf '[Socket]\nListenStream=\nListenStream=0.0.0.0:80\nListenStream=[::]:80\n' > /etc/systemd/system/iisplice.socket.d/addresses.conf
systemctl stop iisplice
systemctl start iisplice.socket
[[ $(systemctl is-active iisplice) == inactive ]]
# A service that fails to start keeps clients waiting.
timeout 30 iisplice load --requests 1 --connections 1 --quiet http://127.0.0.1/public/ > /tmp/load.log
# It may serve before it has said that it is ready.
for _ in $(seq 100); do systemctl --quiet is-active iisplice && break; sleep 0.1; done
systemctl is-active iisplice
ss -Hltnp sport = :80
load --scenario login --connections 8 --duration 8s > /tmp/load.log 2>&1 & loading=$!
sleep 2
before=$(main_pid)
systemctl restart iisplice
[[ $(main_pid) != "$before" ]]
before=$(main_pid)
iisplice upgrade
for _ in $(seq 100); do [[ $(main_pid) != "$before" ]] && break; sleep 0.1; done
[[ $(main_pid) != "$before" ]]
systemctl reload iisplice
wait "$loading" || { cat /tmp/load.log; false; }
cat /tmp/load.log
systemctl status --no-pager --lines 0 iisplice

step "The watchdog ends a stuck process, also one that took over"
mkdir /etc/systemd/system/iisplice.service.d
printf '[Service]\nWatchdogSec=3\n' > /etc/systemd/system/iisplice.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart iisplice
iisplice upgrade
before=$(main_pid)
kill -STOP "$before"
for _ in $(seq 300); do [[ $(main_pid) != "$before" && $(main_pid) != 0 ]] && break; sleep 0.1; done
[[ $(main_pid) != "$before" && $(systemctl show --property NRestarts --value iisplice) == 1 ]]
load --requests 20
journalctl --no-pager --unit iisplice --output cat --grep Watchdog

step "A stop lets an older process drain"
sed -i 's/^mode = .*/mode = "stream"/; s/^admin = /drain-timeout = "4s"\nadmin = /' /etc/iisplice/iisplice.toml
systemctl restart iisplice
iisplice load --auth ntlm --user 'CORP\alice:secret' --connections 20 --rate 100 --duration 1h http://127.0.0.1/whoami > /tmp/held.log 2>&1 & loading=$!
for _ in $(seq 100); do iisplice status | grep -qE '^iis .* 20$' && break; sleep 0.1; done
iisplice upgrade
iisplice upgrade
iisplice status | sed -n '/^GENERATION/,$p'
systemctl stop iisplice
kill "$loading"
wait "$loading" || true
journalctl --no-pager --unit iisplice --output cat --grep 'all connections have ended: .* drain=20 '
systemctl start iisplice

step "Remove"
apt-get remove -q -y iisplice
[[ $(systemctl is-active iisplice) == inactive && $(systemctl is-active iisplice.socket) == inactive ]]
[[ ! -e /usr/bin/iisplice && -e /etc/iisplice/iisplice.toml && -e /var/log/iisplice ]]

step "Purge"
rm -r /etc/systemd/system/iisplice.*.d
apt-get purge -q -y iisplice
[[ ! -e /etc/iisplice && ! -e /var/log/iisplice && ! -e /run/iisplice ]]
find / -xdev -name '*iisplice*' -not -path '/proc/*' -not -path '/packages/*' -not -path '/var/log/journal/*' | tee /tmp/left
[[ ! -s /tmp/left ]]
echo "== All is well"
