"""A service, asked by freehold-client for the documents that it answers, as they are.

They are not read into the client's models: `--json` prints what the service says, also what a later
release adds to it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import freehold_client
from freehold_cli.errors import CliError, ExitCode, UnansweredError
from freehold_cli.settings import variable
from freehold_client.pauses import COME_AGAIN

if TYPE_CHECKING:
    import httpx

Document = dict[str, Any]
Parameters = Mapping[str, str | int | None]

PAGE_ENTRIES = 1000

# Longer than a service takes to give up on what it waits for itself.
_TIMEOUT_S = 60.0


class Service:
    """A service, asked with one credential, and once: a person tries again.

    Args:
        name: `ingest`, `query` or `tenant_manager`.
        url: Its address.
        credential: `api_key` or `operator_token`; None for what needs none.
        secret: The key or token.
        timeout_s: How long to wait for the service to take or to send bytes.

    Raises:
        CliError: The address, or the key or token, cannot be one.
    """

    def __init__(
        self,
        name: str,
        url: str,
        credential: str | None = None,
        secret: str | None = None,
        *,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self.url = url
        self._name = name
        self._credential = credential
        settings: dict[str, Any] = {f"{name}_url": url}
        if credential is not None:
            settings[credential] = secret
        try:
            self.freehold = freehold_client.Freehold(**settings, timeout_s=timeout_s, retry_for_s=0)
        except freehold_client.SettingsError as error:
            name, _, fault = str(error).partition(" ")
            raise CliError(f"{variable(name)} {fault}.", ExitCode.USAGE) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.freehold.close()

    def get(self, *path: str, params: Parameters | None = None) -> Document:
        """Read the document at a path under /v1. Parameters that are None are left out.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        return self._document("GET", path, params=params)

    def pages(self, *path: str, params: Parameters | None = None) -> Iterator[Document]:
        """Read a list page by page, each when it is wanted. See `get` for the parameters.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        asked = {"limit": PAGE_ENTRIES, **(params or {})}
        while True:
            page = self.get(*path, params=asked)
            yield page
            if page["next_cursor"] is None:
                return
            asked["cursor"] = page["next_cursor"]

    def whole(self, *path: str, params: Parameters | None = None) -> Document:
        """Read a whole list as one page.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        pages = self.pages(*path, params=params)
        whole = next(pages)
        for page in pages:
            whole["data"] += page["data"]
        del whole["next_cursor"]
        return whole

    def post(self, *path: str, body: object = None) -> Document:
        """Send a POST. The answer to a 202 is the operation.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        return self._document("POST", path, json=body)

    def put(self, *path: str, body: object) -> Document:
        """Send a PUT.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        return self._document("PUT", path, json=body)

    def delete(self, *path: str, params: Parameters | None = None) -> Document:
        """Send a DELETE. A 204 gives an empty document.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        return self._document("DELETE", path, params=params)

    def ask(self, method: str, path: str, **more: Any) -> "httpx.Response":
        """Send any request, once, and give its answer, whatever the status.

        Args:
            method: The HTTP method.
            path: From the address on.
            more: As `freehold_client.Freehold.request` takes it.

        Raises:
            UnansweredError: There was no answer.
        """
        with self.failures():
            return self.freehold.request(method, path, service=self._name, **more)

    def refusal(self, answer: "httpx.Response", *, advise: bool = True) -> CliError | None:
        """Give the error of an answer, with advice what to do; None where it is a success."""
        error = freehold_client.error_of(answer)
        if isinstance(error, freehold_client.Problem):
            return self._refused(error, advise=advise)
        if error is not None:
            text = f"{self.url} answered {answer.status_code}, and not as a Freehold does."
            return _kind(answer.status_code)(text)
        return None

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what the client raises into errors for a person.

        Raises:
            UnansweredError: There was no answer, or the service has too much to do.
            CliError: The request was refused.
        """
        try:
            yield
        except freehold_client.Problem as problem:
            raise self._refused(problem, advise=True) from problem
        except freehold_client.NoAnswerError as error:
            cause = error.__cause__
            reason = str(cause) or type(cause).__name__
            raise UnansweredError(f"{self.url} does not answer ({reason}).") from error
        except freehold_client.UnexpectedAnswerError as error:
            raise CliError(f"{error}, and not as a Freehold does.") from error

    def _document(self, method: str, path: tuple[str, ...], **more: Any) -> Document:
        try:
            answer = self.ask(method, path_of(*path), **more)
        except UnansweredError as error:
            setting = variable(f"{self._name}_url")
            raise UnansweredError(
                f"{error}\nIs it there? {setting} says where it is looked for."
            ) from error
        refusal = self.refusal(answer)
        if refusal is not None:
            raise refusal
        if not answer.content:
            return {}
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise CliError(f"{self.url} answered, and not as a Freehold does.")
        return document

    def _refused(self, problem: "freehold_client.Problem", *, advise: bool) -> CliError:
        # The detail names the first broken rule; where there are more, each is named.
        more = "".join(
            f"\n{error.pointer.removeprefix('/')}: {error.detail}" for error in problem.errors[1:]
        )
        advice = self._advice(problem.status) if advise else ""
        return _kind(problem.status)(
            f"{self.url} answered {problem.status}: {problem.detail}{more}{advice}",
            problem=problem.document,
        )

    def _advice(self, status: int) -> str:
        if status in {429, 503}:
            return "\nTry again in a moment."
        if status == 401 and self._credential is not None:
            name = variable(self._credential)
            return f"\nIs the right credential in {name}, for the Freehold at this address?"
        return ""


def path_of(*parts: str) -> str:
    """Give a path under /v1, with what stands between its slashes quoted."""
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def _kind(status: int) -> type[CliError]:
    """Say which error a status is: a busy service, or a proxy before one that is away, may pass."""
    return UnansweredError if status in COME_AGAIN else CliError
