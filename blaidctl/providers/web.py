"""Speaking HTTP with providers: everything bounded, and every way to fail told apart.

One request has a limit of time as a whole (a server that sends a byte a second is as dead as one that sends none), of
bytes, and of tries. Redirects are not followed: the credentials would go along. No proxy and no netrc is looked for:
what is spoken to is what was registered. Certificates are checked, always.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import TYPE_CHECKING

from blaidctl import __version__
from blaidctl.core import clock
from blaidctl.providers import rules
from blaidctl.providers.rules import BadReplyError, Reply
from blaidctl.providers.vocabulary import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

#: Bytes of an answer.
LARGEST_PROBE = 1024 * 1024
LARGEST_PAGE = 16 * 1024 * 1024
MOST_CONNECT_S = 5.0
#: What another try, a moment later, may mend.
_PASSING = frozenset({
    Failure.REFUSED, Failure.TIMEOUT, Failure.PROTOCOL, Failure.PARTIAL, Failure.BAD_JSON,
})  # fmt: skip
_SERVER_ERRORS = 500
_TOO_MANY = 429
_LONGEST_PAUSE_S = 5.0


class FailedError(Exception):
    """A request that failed for good: how, after how many tries, and with which status, if any came."""

    def __init__(self, bad: BadReplyError, attempts: int, http_status: int | None) -> None:
        """Take what the last try found."""
        super().__init__(bad.detail)
        self.bad = bad
        self.attempts = attempts
        self.http_status = http_status


class Web:
    """One provider's line: `get` asks once or a few times, as its settings say."""

    def __init__(self, timeout_s: int, attempts: int, headers: Mapping[str, str], largest: int) -> None:
        """Take what is bounded, and the headers that show who we are."""
        self.timeout_s = timeout_s
        self.attempts = attempts
        self.tried = 0
        self._headers = {
            "User-Agent": f"blaidctl/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Cache-Control": "no-cache",
            **headers,
        }
        self._largest = largest
        #: Made once, and before any limit of time runs: reading the authorities takes a while.
        self._trust = _trust()

    async def get(self, url: str, parameters: Mapping[str, str], judge: Callable[[Reply], None]) -> Reply:
        """Return an answer that `judge` lets pass. Raises FailedError."""
        for attempt in range(1, self.attempts + 1):
            self.tried = attempt
            status = None
            try:
                reply = await self._once(url, parameters)
                status = reply.status
                judge(reply)
            except BadReplyError as bad:
                if attempt == self.attempts or not _may_pass(bad, status):
                    raise FailedError(bad, attempt, status) from None
            else:
                return reply
            await asyncio.sleep(min(0.2 * 2**attempt, _LONGEST_PAUSE_S) * random.uniform(0.5, 1))  # noqa: S311 - no secret
        raise AssertionError  # pragma: no cover - there is one attempt at least

    async def _once(self, url: str, parameters: Mapping[str, str]) -> Reply:
        import httpx

        started_s = clock.monotonic_s()
        begun = False
        try:
            async with (
                asyncio.timeout(self.timeout_s),
                # A line of its own for each request: one that was cut off by the other side is never used again.
                httpx.AsyncClient(
                    verify=self._trust,
                    trust_env=False,
                    follow_redirects=False,
                    timeout=httpx.Timeout(self.timeout_s, connect=min(MOST_CONNECT_S, self.timeout_s)),
                ) as client,
                client.stream("GET", url, params=dict(parameters) or None, headers=self._headers) as response,
            ):
                begun = True
                return Reply(response.status_code, dict(response.headers), await self._body(response))
        except (TimeoutError, httpx.TimeoutException):
            where = "in the middle of its answer" if begun else "without an answer"
            waited = f"{clock.monotonic_s() - started_s:.1f} s {where}"
            raise BadReplyError(Failure.TIMEOUT, f"{waited}; the limit is {self.timeout_s} s") from None
        except httpx.ConnectError as error:
            raise _not_connected(error, url) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if begun:
                raise BadReplyError(Failure.PARTIAL, "broke off in the middle of its answer") from None
            raise BadReplyError(Failure.PROTOCOL, f"gave no HTTP answer ({type(error).__name__})") from None

    async def _body(self, response: httpx.Response) -> bytes:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise BadReplyError(Failure.PROTOCOL, "sent a packed answer, which was not asked for")
        pieces, size = [], 0
        async for piece in response.aiter_raw():
            size += len(piece)
            if size > self._largest:
                raise BadReplyError(Failure.TOO_LARGE, f"sent more than {self._largest} bytes")
            pieces.append(piece)
        return b"".join(pieces)


def _may_pass(bad: BadReplyError, status: int | None) -> bool:
    return bad.failure in _PASSING or (status is not None and (status >= _SERVER_ERRORS or status == _TOO_MANY))


def _not_connected(error: Exception, url: str) -> BadReplyError:
    """Tell a certificate that does not hold from a door that is shut."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return BadReplyError(Failure.TLS, f"its certificate does not hold: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return BadReplyError(Failure.TLS, f"no TLS ({cause.reason or 'handshake failed'})")
        cause = cause.__cause__ or cause.__context__
    return BadReplyError(Failure.REFUSED, f"no connection to {rules.shown(url).split('/')[2]}")


def _trust() -> ssl.SSLContext:
    """Return who may vouch for a host: the system's authorities (SSL_CERT_FILE moves them), and those of certifi."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
