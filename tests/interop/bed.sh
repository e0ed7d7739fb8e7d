#!/bin/bash
# bed.sh: starts a web server that authenticates connections and a Kerberos realm for it, on free ports of a loopback
# address of their own, with all files in a temporary directory.
# bed.sh IISPLICE: the same with this program's mock instead of Apache. The mock supports neither Kerberos nor PROXY
# headers: there is no realm, and nothing listens where Apache expects a header.
#
# Prints addresses and paths as NAME=VALUE lines, then "ready", and waits. When its standard input closes (or on Ctrl-C)
# it stops what it started and removes the directory, so a caller that holds the other end of a pipe leaves nothing
# behind however it ends. Errors go to standard error.
set -euo pipefail
IISPLICE=${1:+$(realpath "$1")}
cd "$(dirname "${BASH_SOURCE[0]}")"
PATH=$PATH:/usr/sbin:/sbin

# bed.rs has the same users.
DOMAIN=CORP REALM=CORP.TEST NAME=web.corp.test
ALICE_PASSWORD=Alice-Passw0rd BOB_PASSWORD=Bob-Passw0rd
# shellcheck disable=SC2034 # for conf/apache.conf.in
MODULES=/usr/lib/apache2/modules RUN_AS=

die() { echo "bed.sh: $*" >&2; exit 1; }

DIR=$(mktemp -d "${TMPDIR:-/tmp}/interop.XXXXXX")
pids=()
# shellcheck disable=SC2317 # called by the trap
end() {
    local rc=$? pid
    trap '' INT TERM HUP
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    ((rc == 0)) || tail -n 20 "$DIR"/log/*.log >&2 || true
    rm -rf "$DIR"
}
trap end EXIT
trap 'exit 130' INT TERM HUP

[[ $DIR != *[[:space:]]* ]] || die "the temporary directory has blanks in its name: $DIR"
((${#DIR} < 90)) || die "the temporary directory has too long a name for a Unix socket in it: $DIR"

# A random loopback address for each bed: ports that are free on it now are still free a moment later.
read -r ADDRESS HTTP_PORT HTTPS_PORT PROXY_PROTOCOL_PORT KDC_PORT < <(/usr/bin/python3 - <<'PYTHON'
import random, socket
address = "127.%d.%d.%d" % (random.randint(1, 254), random.randint(0, 255), random.randint(1, 254))
sockets = [socket.socket() for _ in range(4)]
for s in sockets:
    s.bind((address, 0))
print(address, *(s.getsockname()[1] for s in sockets))
PYTHON
) || die "no free ports on the loopback interface"

fill() {   # TEMPLATE: prints it with each @NAME@ replaced by the variable of that name
    local text name
    text=$(<"$1")
    for name in $(grep -o '@[A-Z_]*@' "$1" | sort -u | tr -d @); do
        text=${text//"@$name@"/"${!name}"}
    done
    printf '%s\n' "$text"
}

listens() { (exec 3<> "/dev/tcp/$ADDRESS/$1") 2>/dev/null; }

await() {   # PID PORT NAME
    local i
    for ((i = 0; i < 500; i++)); do
        ! listens "$2" || return 0
        kill -0 "$1" 2>/dev/null || break
        sleep 0.02
    done
    die "$3 does not listen on $ADDRESS:$2"
}

start_apache() {
    local user password port
    # Kerberos: a realm, the web server's key, and a ticket for each user.
    fill conf/krb5.conf.in > "$DIR/krb5.conf"
    fill conf/kdc.conf.in > "$DIR/kdc.conf"
    export KRB5_CONFIG=$DIR/krb5.conf KRB5_KDC_PROFILE=$DIR/kdc.conf
    {
        kdb5_util create -s -r "$REALM" -P master
        kadmin.local <<KADMIN
addprinc -pw $ALICE_PASSWORD alice
addprinc -pw $BOB_PASSWORD bob
addprinc -randkey HTTP/$NAME
ktadd -k $DIR/keytab HTTP/$NAME
KADMIN
    } > "$DIR/log/realm.log" 2>&1 || die "could not make the realm"
    krb5kdc -n -r "$REALM" > "$DIR/log/krb5kdc.log" 2>&1 < /dev/null &
    pids+=($!)

    if ((EUID == 0)); then
        # shellcheck disable=SC2034
        RUN_AS=$'User www-data\nGroup www-data'
        chown www-data: "$DIR"/{ntlm-users,keytab,replays,run}
        runuser -u www-data -- test -r "$DIR/ntlm-users" ||
            die "user www-data cannot reach $DIR: a directory above it is closed"
    fi
    chmod 600 "$DIR/ntlm-users" "$DIR/keytab"
    fill conf/apache.conf.in > "$DIR/apache.conf"
    env -i PATH="$PATH" LANG=C NTLM_USER_FILE="$DIR/ntlm-users" NETBIOS_DOMAIN_NAME="$DOMAIN" NETBIOS_COMPUTER_NAME=WEB \
        KRB5_CONFIG="$DIR/krb5.conf" KRB5_KTNAME="$DIR/keytab" KRB5RCACHEDIR="$DIR/replays" \
        apache2 -D FOREGROUND -d "$DIR" -f "$DIR/apache.conf" > "$DIR/log/apache.log" 2>&1 < /dev/null &
    pids+=($!)

    await "${pids[0]}" "$KDC_PORT" "the KDC"
    for user in alice bob; do
        password=${user^^}_PASSWORD
        KRB5CCNAME=FILE:$DIR/tickets-$user kinit "$user@$REALM" <<< "${!password}" > "$DIR/log/kinit.log" 2>&1 ||
            die "no ticket for $user"
    done
    for port in "$HTTP_PORT" "$HTTPS_PORT" "$PROXY_PROTOCOL_PORT"; do await "${pids[1]}" "$port" "Apache"; done
}

start_mock() {
    local users=(--user "$DOMAIN\\alice:$ALICE_PASSWORD" --user "$DOMAIN\\bob:$BOB_PASSWORD")
    "$IISPLICE" mock "${users[@]}" --listen "$ADDRESS:$HTTP_PORT" >> "$DIR/log/error.log" 2>&1 < /dev/null &
    pids+=($!)
    # A login that is bound to TLS is bound to this certificate.
    "$IISPLICE" mock "${users[@]}" --listen "$ADDRESS:$HTTPS_PORT" --extended-protection allow \
        --tls-cert "$DIR/certificate.pem" --tls-key "$DIR/key.pem" >> "$DIR/log/error.log" 2>&1 < /dev/null &
    pids+=($!)
    await "${pids[0]}" "$HTTP_PORT" "the mock"
    await "${pids[1]}" "$HTTPS_PORT" "the mock"
}

mkdir "$DIR"/{run,log,www,cgi,realm,replays,clients}
chmod 755 "$DIR"
for size in 1k 64k 10m; do
    head -c "${size^^}" /dev/urandom > "$DIR/www/$size.bin"
done
install -m 755 conf/echo.cgi "$DIR/cgi/echo"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$NAME" \
    -addext "subjectAltName=DNS:$NAME,IP:$ADDRESS" -addext "basicConstraints=critical,CA:FALSE" \
    -keyout "$DIR/key.pem" -out "$DIR/certificate.pem" 2> "$DIR/log/openssl.log" || die "no certificate"

# NTLM: the server's users, and a file for each user, for clients that read credentials through the GSSAPI library.
echo "$DOMAIN:alice:$ALICE_PASSWORD" > "$DIR/ntlm-alice"
echo "$DOMAIN:bob:$BOB_PASSWORD"     > "$DIR/ntlm-bob"
echo "$DOMAIN:alice:wrong"           > "$DIR/ntlm-wrong"
cat "$DIR/ntlm-alice" "$DIR/ntlm-bob" > "$DIR/ntlm-users"

if [[ $IISPLICE ]]; then start_mock; else start_apache; fi

echo "directory=$DIR"
echo "address=$ADDRESS"
echo "http=$HTTP_PORT"
echo "https=$HTTPS_PORT"
echo "proxy_protocol=$PROXY_PROTOCOL_PORT"
echo "ready"
while read -r _; do :; done
