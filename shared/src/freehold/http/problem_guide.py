"""The guide to errors, made of the catalogue of problem types.

Write it anew with `python -m freehold.http.problem_guide FILE`; a test notices drift.
"""

import json
import sys
from pathlib import Path

from freehold.http.catalogue import PROBLEM_TYPES, ProblemType
from freehold.http.problems import problem_document

_INTRODUCTION = """\
<!-- Made of shared/src/freehold/http/catalogue.py by `make format`: change it there. -->

# Errors

Every request that is refused or fails is answered with a problem document (RFC 9457), of the media
type `application/problem+json`:

| member | what it says |
| --- | --- |
| `type` | which kind of problem it is: `/problems/<name>`. Branch on it; it never changes |
| `title` | the same in words |
| `status` | the status of the answer |
| `detail` | what is wrong with this request, for a person. The wording may change |
| `errors` | each rule that the request breaks, and where; every 422 has at least one |

In `errors`, `pointer` is a JSON pointer (RFC 6901) into the body, or `/` and the name of a
parameter. It is empty where the whole request is meant. Some types have members of their own, as
the examples show.

Every service answers the text below at the address in `type`, without a credential: as a page, or
as JSON where `Accept` asks for it. All types are at `/problems`.

## Sending a request again

A request without an answer, and one whose type says `now` or `later`, may have been done or not.
Send it again with the same `Idempotency-Key`, and it is done once: if it was done before, the first
answer comes again, with `Idempotency-Replayed: true`. `Retry-After` says in how many seconds; wait
longer after each failure. A type that says `no` is refused again until something else has changed.

Quote the header `X-Request-Id` of an answer to the operator: the services' logs have it.

## All types

| status | type | meaning | send again |
| --- | --- | --- | --- |
"""


def guide() -> str:
    """Write the guide in Markdown."""
    rows = [
        f"| {kind.status} | [`{kind.slug}`](#{kind.slug}) | {kind.title} | {kind.retry} |\n"
        for kind in PROBLEM_TYPES
    ]
    return "".join([_INTRODUCTION, *rows, *map(_section, PROBLEM_TYPES)])


def _section(kind: ProblemType) -> str:
    example = json.dumps(problem_document(kind.example), indent=2, ensure_ascii=False)
    return f"""
## {kind.slug}

**{kind.status}. {kind.title}.** {kind.cause}

**What to do.** {kind.remedy}

**The same request again?** {kind.again}

```json
{example}
```
"""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(guide(), encoding="utf-8")
