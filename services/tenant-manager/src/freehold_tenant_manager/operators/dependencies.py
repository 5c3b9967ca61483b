"""What routes of operators know of who asks."""

from typing import Annotated, cast

from fastapi import Depends, Request

from freehold_tenant_manager.operators.authority import Operator


async def _operator(request: Request) -> Operator:
    return cast("Operator", request.state.operator)


TheOperator = Annotated[Operator, Depends(_operator)]
"""Who asks: `OperatorRoute` has found that out."""
