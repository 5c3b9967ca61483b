"""The types of values in answers, with their bounds; those in requests are in `fields.py`."""

from typing import Annotated

from pydantic import Field, StringConstraints

from freehold.contracts.fields import AMOUNT_MAX, AMOUNT_MIN, CURRENCY_PATTERN

INT_32_MAX = 2**31 - 1
INT_64_MAX = 2**63 - 1
SUM_MAX = 10**38 - 1
"""The ledger keeps sums as numeric(38, 0)."""

Seq = Annotated[int, Field(ge=1, le=INT_64_MAX)]
Count = Annotated[int, Field(ge=0, le=INT_64_MAX)]
"""A number of things, or the seq of the last one, which is 0 where there is none."""
Version = Annotated[int, Field(ge=0, le=INT_32_MAX)]
"""The number of a ledger's last migration."""
Epoch = Annotated[int, Field(ge=1, le=INT_64_MAX)]
PostedMinor = Annotated[int, Field(ge=AMOUNT_MIN, le=AMOUNT_MAX)]
SumMinor = Annotated[int, Field(ge=-SUM_MAX, le=SUM_MAX)]
"""A sum of amounts: it may have more digits than 64 bits can hold."""
UnsignedSumMinor = Annotated[int, Field(ge=0, le=SUM_MAX)]
Exponent = Annotated[int, Field(ge=0, le=4)]
"""How many decimals a currency has (ISO 4217): 2 where minor units are cents."""
CurrencyCode = Annotated[str, StringConstraints(pattern=CURRENCY_PATTERN)]
HexSha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
CURSOR_PATTERN = "^[A-Za-z0-9_-]{1,1024}$"
Cursor = Annotated[str, StringConstraints(pattern=CURSOR_PATTERN)]
"""Where a page ended (`freehold.http.cursors`)."""
