"""SQL in files beside the code that runs it: scripts, and files of named queries."""

from importlib.resources import files

_MARK = "-- name: "


def load_script(package: str, file: str) -> str:
    """Read a package's SQL file that is run as a whole."""
    return files(package).joinpath(file).read_text("utf-8")


def load_queries(package: str, file: str) -> dict[str, str]:
    """Read a package's SQL file; each query follows a line `-- name: <name>`."""
    queries: dict[str, str] = {}
    for section in load_script(package, file).split(_MARK)[1:]:
        name, _, query = section.partition("\n")
        queries[name.strip()] = query.strip()
    return queries
