"""Pages of HTML for people: no script, nothing loaded from other servers, no field for anything."""

import base64
import re
from collections.abc import Iterable
from hashlib import sha256
from html import escape

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { background: #f4f4f4; overflow-x: auto; padding: .75rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid #ccc; padding: .3rem .6rem .3rem 0; text-align: left;
  vertical-align: top; }
h3 { border-top: 2px solid #444; margin-top: 2.5rem; padding-top: .5rem; }
"""
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
PAGE_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
_CODE = re.compile("`([^`]+)`")


def document_of(title: str, *parts: str) -> str:
    """Write a whole page with its title as its heading."""
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            *parts,
            "</body></html>",
        ]
    )


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table of cells that are HTML already; nothing where there are no rows."""
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    if not lines:
        return ""
    head = "".join(f"<th>{head}</th>" for head in heads)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def prose(text: str) -> str:
    """Write text as paragraphs, which empty lines divide."""
    return "".join(f"<p>{words(part)}</p>" for part in text.split("\n\n") if part.strip())


def words(text: str) -> str:
    """Write text; what stands between backticks is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))
