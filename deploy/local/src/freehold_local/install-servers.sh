#!/bin/sh
# Installs server packages without letting them become servers of the whole machine: nothing is
# started, no Postgres cluster is made, and nothing starts at the next boot.
# Usage: install-servers.sh PACKAGE:LOWEST-VERSION ...   (as root)
set -eu

policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d/freehold-local.conf
saved=$(mktemp -d)
changed=

put_back() {
    if [ -n "$changed" ]; then
        rm -f "$cluster" "$policy"
        [ ! -e "$saved/policy-rc.d" ] || mv "$saved/policy-rc.d" "$policy"
    fi
    rm -rf "$saved"
}

# not_at_boot SCRIPT UNIT...
not_at_boot() {
    script=$1
    shift
    if command -v systemctl >/dev/null; then
        for unit in "$@"; do
            systemctl disable "$unit" >/dev/null 2>&1 || :
        done
    else
        update-rc.d "$script" disable >/dev/null 2>&1 || :
    fi
}

trap put_back EXIT
trap 'exit 1' HUP INT TERM

export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o DPkg::Lock::Timeout=120 update

packages=
for wanted in "$@"; do
    package=${wanted%%:*} lowest=${wanted#*:}
    offered=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: *//p')
    if [ -z "$offered" ] || [ "$offered" = "(none)" ]; then
        echo "This system's package sources have no $package."
        exit 3
    fi
    if dpkg --compare-versions "$offered" lt "$lowest"; then
        echo "This system's package sources have $package $offered; $lowest or later is needed."
        exit 3
    fi
    packages="$packages $package"
done

# Should this script be killed before it can put things back, the policy ends with it.
[ ! -e "$policy" ] || cp -a "$policy" "$saved/policy-rc.d"
changed=yes
rm -f "$policy"
printf '#!/bin/sh\n[ ! -d /proc/%s ] || exit 101\n' "$$" >"$policy"
chmod 755 "$policy"
mkdir -p "${cluster%/*}"
echo 'create_main_cluster = false' >"$cluster"

# shellcheck disable=SC2086  # the list is meant to fall into words
apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends $packages

case $packages in
*rabbitmq-server*) not_at_boot rabbitmq-server rabbitmq-server.service epmd.service epmd.socket ;;
esac
case $packages in
*prometheus*) not_at_boot prometheus prometheus.service ;;
esac
