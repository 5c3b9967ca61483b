"""Named queries, kept as SQL in files beside the code that runs them."""

from importlib.resources import files

_MARK = "-- name: "


def load_queries(package: str, file: str) -> dict[str, str]:
    """Read a package's SQL file; each query follows a line `-- name: <name>`."""
    queries: dict[str, str] = {}
    for section in files(package).joinpath(file).read_text("utf-8").split(_MARK)[1:]:
        name, _, query = section.partition("\n")
        queries[name.strip()] = query.strip()
    return queries
