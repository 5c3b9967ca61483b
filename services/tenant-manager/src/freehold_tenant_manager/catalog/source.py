"""The current source of the catalog's schema."""

from importlib.resources import files

from freehold.ledger.schema import load_source

CATALOG_SOURCE = load_source(
    files("freehold_tenant_manager.catalog"),
    # A table follows those that it refers to, and a view its tables.
    tables=(
        "tenants",
        "operators",
        "announcements",
        "schedules",
        "operations",
        "pool",
        "backups",
        "epochs",
        "installation",
        "usage",
        "views",
    ),
    functions=("functions", "operator_acts"),
)
