#!/bin/sh
# Makes, removes and lists the broker's users of apps that publish to freehold.inbound. Such a user
# may publish there and read its own answers, and nothing else. Needs rabbitmqctl and no plugin.
#
# Usage: publisher.sh add NAME | remove NAME | list
# Environment: PUBLISHER_PLACE, the broker as its clients reach it (127.0.0.1:5672);
# PUBLISHER_VHOST (/).
set -eu

place=${PUBLISHER_PLACE:-127.0.0.1:5672} vhost=${PUBLISHER_VHOST:-/}

fail() {
    echo "$2" >&2
    exit "$1"
}

# A user's own queue and exchange, as a regular expression. Only a publisher is permitted it.
own() { printf '^freehold\\.replies\\.%s$' "$1"; }

permissions() { rabbitmqctl --quiet list_permissions --vhost "$vhost" --no-table-headers; }

is_publisher() {
    line=$(printf '%s\t%s\t%s\t%s' "$1" "$(own "$1")" '^freehold\.inbound$' "$(own "$1")")
    # Not -q: rabbitmqctl complains when its reader leaves early.
    permissions | grep -Fx -e "$line" >/dev/null
}

forget() { rabbitmqctl --quiet delete_user "$name"; }

add() {
    known=$(rabbitmqctl --quiet list_users --no-table-headers | cut -f 1)
    ! echo "$known" | grep -Fqx -e "$name" || fail 1 "The broker has a user $name already."
    password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    # By the input: every user of a machine may read the arguments of a program.
    # Not --quiet: RabbitMQ 4.0 would wait for a terminal.
    printf '%s\n' "$password" | rabbitmqctl add_user "$name" >/dev/null
    trap forget EXIT
    rabbitmqctl --quiet set_permissions --vhost "$vhost" "$name" \
        "$(own "$name")" '^freehold\.inbound$' "$(own "$name")"
    # One app that never closes what it opens must not take the broker's last file or memory.
    rabbitmqctl --quiet set_user_limits "$name" '{"max-connections": 100, "max-channels": 1000}'
    # Unread answers must not fill the disk: the oldest are dropped.
    rabbitmqctl --quiet set_operator_policy --vhost "$vhost" --apply-to queues freehold-replies \
        '^freehold\.replies\.' '{"max-length-bytes": 67108864}'
    path=
    [ "$vhost" = / ] || path=$(printf '%s' "$vhost" | sed 's/%/%25/g; s,/,%2F,g')
    # Shown once: without it the user is useless.
    echo "amqp://$name:$password@$place/$path"
    trap - EXIT
}

remove() {
    is_publisher "$name" || fail 1 "The broker has no publisher $name."
    forget
    rabbitmqctl --quiet close_all_user_connections "$name" "The publisher was removed."
    # Or the next user of this name would read the answers.
    rabbitmqctl --quiet delete_queue --vhost "$vhost" "freehold.replies.$name" >/dev/null 2>&1 || true
}

list() {
    for user in $(permissions | cut -f 1); do
        if is_publisher "$user"; then echo "$user"; fi
    done
}

usage="Usage: publisher.sh add NAME | remove NAME | list"
case ${1-} in
add | remove)
    [ $# -eq 2 ] || fail 2 "$usage"
    name=$2
    case $name in
    [!a-z]* | *[!a-z0-9_-]* | '')
        fail 2 "A publisher's name has lower-case letters, digits, - and _; a letter is first."
        ;;
    esac
    [ ${#name} -le 64 ] || fail 2 "A publisher's name has at most 64 characters."
    "$1"
    ;;
list)
    [ $# -eq 1 ] || fail 2 "$usage"
    list
    ;;
*) fail 2 "$usage" ;;
esac
