"""The HTTP shim: the same operations, refusals and bodies as the command line (extra `http`).

    server.py    the socket, uvicorn, its limits, and how it stops
    app.py       one request: trace → path → gate → token → input → execute() → one JSON object
    intake.py    what arrives: headers, query and body, read strictly and within limits
    routes.py    the rows of the map that have a path, and what each takes and gives
    document.py  the same, as OpenAPI

Nothing of FastAPI, uvicorn or pydantic loads before `serve` runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blaidctl.core import errors

if TYPE_CHECKING:
    from blaidctl.core.context import Context


def serve(ctx: Context, host: str, port: int) -> int:
    """Listen until a signal ends it; return the exit code. Raises ExtraMissing without the extra `http`."""
    try:
        from blaidctl.http.server import serve as serve_now
    except ModuleNotFoundError as error:
        raise errors.ExtraMissing(f"serving HTTP needs the extra `http` ({error})") from error
    return serve_now(ctx, host, port)
