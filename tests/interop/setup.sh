#!/bin/bash
# setup.sh: installs what the interop tests need: Debian packages (as root), and requests-ntlm in a Python environment
# under cargo's target directory, with the Python packages of tests/readers and tests/alike. Starts and enables no service. Safe to
# run again.
# setup.sh check: prints what is missing, one per line; prints nothing when the tests can run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

packages=(apache2 libapache2-mod-auth-gssapi gss-ntlmssp curl krb5-kdc krb5-admin-server krb5-user
          haproxy nginx openssl python3 python3-h11 python3-venv)
target=${CARGO_TARGET_DIR:-$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')}
venv=$target/interop-venv

has_venv() { cmp -s requirements.txt "$venv/installed.txt"; }

install_venv() {
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check --retries 10 -r requirements.txt
    cp requirements.txt "$venv/installed.txt"
}

case ${1:-install} in
    check)
        ../../scripts/install-packages --missing "${packages[@]}" | sed 's/^/Debian package /'
        has_venv || echo "Python packages of requirements.txt" ;;
    install)
        ../../scripts/install-packages "${packages[@]}"
        has_venv || install_venv ;;
    *)
        echo "usage: setup.sh [check]" >&2
        exit 2 ;;
esac
