"""The class of every route of the console: who is signed in, may they, and the record of acts."""

from fastapi import Request

from freehold.console.routes import PageRoute
from freehold_tenant_manager.console.visitors import Visitor, Visitors
from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.operators.authority import Operator
from freehold_tenant_manager.operators.route import OperatorRoute, address_of


class SessionRoute(OperatorRoute):
    """A route for who has a session, instead of a token."""

    async def identify(self, request: Request, components: Components) -> Operator:
        """Find out who asks, by their session.

        Raises:
            Unauthorized: Nobody is signed in, or what they signed in with works no more.
            Unavailable: The catalog is needed to decide, and does not answer.
        """
        operator = await components.find(Visitors).operator(request, address_of(request))
        # A page of an error has the navigation and the way out, too.
        request.state.visitor = Visitor.of(operator)
        return operator


class ConsoleRoute(PageRoute, SessionRoute):
    """A page's route: what keeps other origins out and answers errors stands before all else."""
