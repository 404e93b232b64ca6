"""The agent's own HTTP server, as a kubelet's: it serves container logs.

Not emulated: authentication, exec, attach, port forwarding, metrics.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.kubernetes.node.container import Container
from sandbox.kubernetes.node.logs import LogQuery, read_log

Finder = Callable[[str, str], "list[Container] | None"]
"""Returns the containers of a pod on this node by namespace and name; None when there is no such pod."""


def kubelet_app(find: Finder) -> Starlette:
    """The application with `GET /containerLogs/{namespace}/{pod}/{container}` and `/healthz`."""

    async def logs(request: Request) -> Response:
        where = request.path_params
        containers = find(where["namespace"], where["pod"])
        if containers is None:
            return PlainTextResponse(f'pod "{where["pod"]}" not found\n', status_code=404)
        container = next((entry for entry in containers if entry.name == where["container"]), None)
        if container is None:
            return PlainTextResponse(f'container "{where["container"]}" in pod "{where["pod"]}" is not available\n', status_code=400)
        try:
            query = LogQuery.parse(dict(request.query_params))
        except ValueError as exc:
            return PlainTextResponse(f"{exc}\n", status_code=400)
        return _answer(container, where["pod"], query, previous=request.query_params.get("previous") in ("true", "1"))

    async def healthy(request: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/containerLogs/{namespace}/{pod}/{container}", logs), Route("/healthz", healthy)])


def _answer(container: Container, pod: str, query: LogQuery, *, previous: bool) -> Response:
    last_run = container.restart_count
    if previous:
        path = container.log_path(last_run - 1)
        if last_run == 0 or not path.exists():
            message = f'previous terminated container "{container.name}" in pod "{pod}" not found\n'
            return PlainTextResponse(message, status_code=400)
        return StreamingResponse(read_log(path, query, None), media_type="text/plain")
    path = container.log_path(last_run)
    if not path.exists() and last_run:
        # The next run has not begun: the log to read is still that of the last one.
        path = container.log_path(last_run - 1)
    if not path.exists():
        reason = (container.state.get("waiting") or {}).get("reason", "ContainerCreating")
        if reason in ("ErrImagePull", "ImagePullBackOff"):
            reason = "trying and failing to pull image"
        message = f'container "{container.name}" in pod "{pod}" is waiting to start: {reason}\n'
        return PlainTextResponse(message, status_code=400)
    live = container.log if container.log is not None and container.log.path == path else None
    return StreamingResponse(read_log(path, query, live), media_type="text/plain")
