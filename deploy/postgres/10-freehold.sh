#!/bin/sh
# Makes a Postgres server ready for Freehold, or brings one that is in use up to this release. The
# postgres image runs it when its data folder is new; run it again after an upgrade of Freehold.
#
# Elsewhere: with libpq's own variables (PGHOST, PGUSER, PGPASSWORD, …) for a superuser, or for the
# role nearest to one on a managed server. FREEHOLD_TENANT_MANAGER_PASSWORD is a variable, so that no
# process list ever shows it.
set -eu

folder=${FREEHOLD_BOOTSTRAP_FOLDER:-/freehold}
export PGUSER="${PGUSER:-${POSTGRES_USER:-postgres}}"
export PGDATABASE="${PGDATABASE:-${POSTGRES_DB:-postgres}}"

# A space or a backslash would end the option.
password=$(printf '%s' "$FREEHOLD_TENANT_MANAGER_PASSWORD" | sed 's/[\\ ]/\\&/g')

quiet="-c client_min_messages=warning"
run() {
    PGOPTIONS="${PGOPTIONS:-$quiet}" psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"
}

PGOPTIONS="$quiet -c freehold.tenant_manager_password=$password" run --file "$folder/bootstrap.sql"

if [ "$(run --command 'SELECT rolsuper FROM pg_roles WHERE rolname = current_user')" != t ]; then
    echo "Not a superuser: what hardening.sql takes from PUBLIC stays open, and tenant-manager names it at its start." >&2
    exit 0
fi

# A query's rows are statements; \gexec runs each by itself.
{ cat "$folder/base.sql" | sed 's/;$//' && echo '\gexec'; } | run
run --file "$folder/databases.sql" | while read -r database; do
    PGDATABASE=$database run --file "$folder/hardening.sql" || exit
done
echo "Freehold's bootstrap is done."
