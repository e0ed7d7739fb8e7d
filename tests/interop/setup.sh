#!/bin/bash
# setup.sh: install what the interop tests need: Debian packages (as root), and requests-ntlm in a
# Python environment under cargo's target directory. Starts and enables no service. Safe to run again.
# setup.sh check: print what is missing, a line each; nothing when the tests can run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

packages=(apache2 libapache2-mod-auth-gssapi gss-ntlmssp curl krb5-kdc krb5-admin-server krb5-user
          nginx openssl python3 python3-venv)
# Services of those packages. Installing a package is not asking for its service.
services=(apache2 apache-htcacheclean nginx krb5-kdc krb5-admin-server)
policy=/usr/sbin/policy-rc.d

target=${CARGO_TARGET_DIR:-$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')}
venv=$target/interop-venv

missing_packages() {
    local installed package
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null || true)
    for package in "${packages[@]}"; do
        grep -qx "installed $package" <<< "$installed" || echo "$package"
    done
}

has_venv() { cmp -s requirements.txt "$venv/installed.txt"; }

check() {
    missing_packages | sed 's/^/Debian package /'
    has_venv || echo "Python package requests-ntlm"
}

retry() {
    local delay
    for delay in 5 15 30; do
        ! "$@" || return 0
        echo "setup.sh: failed, once more in $delay s: $*" >&2
        sleep "$delay"
    done
    "$@"
}

# Runs a command while no package may start a service: policy-rc.d is asked by invoke-rc.d, and 101 is no.
without_services() {
    local saved='' service new=()
    for service in "${services[@]}"; do
        [[ -e /etc/init.d/$service || -e /lib/systemd/system/$service.service ]] || new+=("$service")
    done
    if [[ -e $policy || -L $policy ]]; then
        saved=$policy.interop-saved
        mv -f "$policy" "$saved"
    fi
    # shellcheck disable=SC2064 # what is saved now is to be put back
    trap "rm -f '$policy'; [[ -z '$saved' ]] || mv -f '$saved' '$policy'" EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    "$@"
    # It does not keep them from being enabled for the next start of the machine.
    for service in "${new[@]}"; do
        if [[ -d /run/systemd/system ]]; then
            systemctl disable --now "$service" > /dev/null 2>&1 || true
        else
            update-rc.d "$service" disable > /dev/null 2>&1 || true
        fi
    done
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    # Another apt may be at work: wait for its lock.
    retry apt-get -q -o DPkg::Lock::Timeout=300 update
    retry apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}

install_venv() {
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv"
    retry "$venv/bin/pip" install -q --disable-pip-version-check -r requirements.txt
    cp requirements.txt "$venv/installed.txt"
}

case ${1:-install} in
    check) check ;;
    install)
        mapfile -t missing < <(missing_packages)
        if ((${#missing[@]})); then
            ((EUID == 0)) || { echo "setup.sh: must be root to install ${missing[*]}" >&2; exit 1; }
            (without_services install_packages "${missing[@]}")
        fi
        has_venv || install_venv ;;
    *) echo "usage: setup.sh [check]" >&2; exit 2 ;;
esac
