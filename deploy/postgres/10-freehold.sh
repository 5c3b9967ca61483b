#!/bin/sh
# Run once by the postgres image when its data folder is new: makes tenant-manager's role. The
# password goes by the environment, so that no process list ever shows it.
set -eu

# A space or a backslash would end the option.
password=$(printf '%s' "$FREEHOLD_TENANT_MANAGER_PASSWORD" | sed 's/[\\ ]/\\&/g')

PGOPTIONS="-c freehold.tenant_manager_password=$password" \
    psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" \
    --dbname "${POSTGRES_DB:-postgres}" --file /freehold/bootstrap.sql
