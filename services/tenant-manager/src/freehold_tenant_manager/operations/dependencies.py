"""The routes' dependency on operations."""

from typing import Annotated

from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.operations.operations import Operations

TheOperations = Annotated[Operations, component(Operations)]
