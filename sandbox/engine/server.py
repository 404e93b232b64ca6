"""vLLM's HTTP routes on top of the core."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jinja2
import jinja2.sandbox
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.engine.adapters import Adapters
from sandbox.engine.answers import Answer, Job
from sandbox.engine.arguments import EngineArguments
from sandbox.engine.core import EngineCore
from sandbox.engine.network import Network
from sandbox.engine.raw import exposition, written
from sandbox.engine.refusals import RequestRefused
from sandbox.engine.requests import check_model, json_body, messages, prompts, sampling, streaming
from sandbox.engine.structured import structure

# The version of vLLM whose behaviour is played; the suffix keeps anyone from mistaking the stand-in for it.
VERSION = "0.32.0+sandbox"

T = TypeVar("T")


class _ClientGone(Exception):
    """The client closed the connection before its answer was ready."""


class EngineServer:
    """The routes of one engine.

    Args:
        core: The engine behind them.
        arguments: The served names and the model's folder.
    """

    def __init__(self, core: EngineCore, arguments: EngineArguments) -> None:
        self._core = core
        self._arguments = arguments
        self._created = int(time.time())
        self._fingerprint = f"vllm-{VERSION}-tp{arguments.tensor_parallel_size}-{core.model.fingerprint}"
        self._template = _compile(core.model.chat_template)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        posts = {
            "/v1/completions": self._completions,
            "/v1/chat/completions": self._chat_completions,
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
        }
        gets = {
            "/health": self._health,
            "/load": self._load,
            "/version": self._version,
            "/v1/models": self._models,
            "/metrics": self._metrics,
        }
        adapters: list[Route] = []
        if os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "0").strip().lower() in ("1", "true"):
            adapters = [
                Route("/v1/load_lora_adapter", _refusals(self._load_adapter), methods=["POST"]),
                Route("/v1/unload_lora_adapter", _refusals(self._unload_adapter), methods=["POST"]),
            ]
        return Starlette(
            routes=[
                *adapters,
                *(Route(path, _refusals(handler), methods=["POST"]) for path, handler in posts.items()),
                *(Route(path, handler, methods=["GET"]) for path, handler in gets.items()),
                Route("/ping", self._health, methods=["GET", "POST"]),
            ],
            middleware=[Middleware(_Guard, key=key)] if (key := os.environ.get("VLLM_API_KEY")) else [],
        )

    async def _health(self, request: Request) -> Response:
        # Also while nothing is generated: vLLM's API server answers this by itself, whatever its engine core does.
        return Response()

    async def _load(self, request: Request) -> Response:
        return JSONResponse({"server_load": self._core.running})

    async def _version(self, request: Request) -> Response:
        return self._json({"version": VERSION})

    async def _metrics(self, request: Request) -> Response:
        content = exposition(self._core.metrics.render(), self._core.faults.now().raw)
        return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _models(self, request: Request) -> Response:
        cards: list[dict[str, Any]] = [
            {
                "id": name,
                "object": "model",
                "created": self._created,
                "owned_by": "vllm",
                "root": as_mounted(self._arguments.model),
                "parent": None,
                "max_model_len": self._core.model.max_model_len,
                "permission": [],
            }
            for name in self._arguments.served_names
        ]
        first = cards[0]
        cards += [
            {**first, "id": name, "root": path, "parent": first["id"], "max_model_len": None} for name, path in self._adapters.items()
        ]
        return self._json({"object": "list", "data": cards})

    @property
    def _adapters(self) -> Mapping[str, str]:
        """Those that are loaded: name → folder."""
        return self._core.model.adapters.paths if self._core.model.adapters is not None else {}

    def _network(self, name: str) -> Network:
        adapters = self._core.model.adapters
        return self._core.model.network if adapters is None else adapters.network(name)

    async def _load_adapter(self, request: Request) -> Response:
        return Response(self._loader().load(json_body(await request.body())))

    async def _unload_adapter(self, request: Request) -> Response:
        return Response(self._loader().unload(json_body(await request.body())))

    def _loader(self) -> Adapters:
        if self._core.model.adapters is None:
            raise RequestRefused("Call to add_lora method failed: LoRA is not enabled.", status=500)
        return self._core.model.adapters

    async def _completions(self, request: Request) -> Response:
        body = json_body(await request.body())
        model = check_model(body, self._arguments.served_names, self._adapters)
        encode = self._core.model.tokenizer.encode
        job = Job(
            model=model,
            network=self._network(model),
            prompts=[encode(prompt) if isinstance(prompt, str) else prompt for prompt in prompts(body)],
            sampling=sampling(body, self._core.model.sampling_defaults, self._core.model.max_model_len, chat=False),
            streaming=streaming(body),
            chat=False,
            echo=bool(body.get("echo")),
        )
        return await self._answer(request, job)

    async def _chat_completions(self, request: Request) -> Response:
        body = json_body(await request.body())
        model = check_model(body, self._arguments.served_names, self._adapters)
        wanted = structure(body, tools_on=self._arguments.tools)
        chosen = sampling(body, self._core.model.sampling_defaults, self._core.model.max_model_len, chat=True)
        job = Job(
            model=model,
            network=self._network(model),
            prompts=[self._core.model.tokenizer.encode(self._render(body))],
            sampling=dataclasses.replace(chosen, grammar=wanted.grammar),
            streaming=streaming(body),
            chat=True,
            structure=wanted,
        )
        return await self._answer(request, job)

    async def _tokenize(self, request: Request) -> Response:
        body = json_body(await request.body())
        check_model(body, self._arguments.served_names, self._adapters)
        text = self._render(body) if "messages" in body else body.get("prompt")
        if not isinstance(text, str):
            raise RequestRefused("prompt must be a text", param="prompt")
        tokens = self._core.model.tokenizer.encode(text)
        return self._json({"count": len(tokens), "max_model_len": self._core.model.max_model_len, "tokens": tokens, "token_strs": None})

    async def _detokenize(self, request: Request) -> Response:
        body = json_body(await request.body())
        check_model(body, self._arguments.served_names, self._adapters)
        (tokens,) = prompts({"prompt": [body.get("tokens")]})
        assert not isinstance(tokens, str)
        return JSONResponse({"prompt": self._core.model.tokenizer.decode(tokens, skip_special=False)})

    async def _answer(self, request: Request, job: Job) -> Response:
        self._core.raise_fault()
        for prompt in job.prompts:
            # Checked here so that a stream is refused with a status and not in the middle.
            self._core.check_prompt(prompt, job.sampling)
        answer = Answer(self._core, job, self._fingerprint)
        if job.streaming.enabled:
            return StreamingResponse(answer.events(), media_type="text/event-stream")
        try:
            return self._json(await _unless_gone(request, answer.whole()))
        except _ClientGone:
            return Response(status_code=499)

    def _json(self, document: dict[str, Any]) -> Response:
        return Response(written(document, self._core.faults.now().raw), media_type="application/json")

    def _render(self, body: dict[str, Any]) -> str:
        if self._template is None:
            raise RequestRefused("the model has no chat template, and none was given with --chat-template")
        try:
            return self._template.render(
                messages=messages(body),
                tools=body.get("tools"),
                add_generation_prompt=body.get("add_generation_prompt", True),
                bos_token="<s>",  # noqa: S106 - a token of a vocabulary, no secret
                eos_token="</s>",  # noqa: S106
                **(body.get("chat_template_kwargs") or {}),
            )
        except jinja2.TemplateError as exc:
            raise RequestRefused(f"the chat template refuses these messages: {exc}", param="messages") from exc


class _Guard:
    """Lets nobody without the key below /v1, as vLLM 0.32.0 does; /tokenize, /metrics and /health are open there, too."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._wanted = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = scope["type"] == "http" and scope["path"].startswith("/v1") and scope["method"] != "OPTIONS"
        if guarded and dict(scope["headers"]).get(b"authorization") != self._wanted:
            await JSONResponse({"error": "Unauthorized"}, status_code=401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _compile(source: str | None) -> jinja2.Template | None:
    if source is None:
        return None
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _raise_from_template
    return environment.from_string(source)


def _raise_from_template(message: str) -> None:
    raise jinja2.TemplateError(message)


def _refusals(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RequestRefused as refused:
            return JSONResponse(refused.body(), status_code=refused.status)

    return handle


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await the work, or cancel it when the client goes away: a client that gave up must not hold a place."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise _ClientGone
    finally:
        for pending in (task, gone):
            pending.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def as_mounted(path: Path) -> str:
    """The path as the container sees it: the node, which has no mount namespaces, gave a local folder instead of the mount path."""
    mounts: dict[str, dict[str, Any]] = json.loads(os.environ.get("SANDBOX_MOUNTS", "{}"))
    for mount_path, mount in mounts.items():
        if path.is_relative_to(mount["path"]):
            return str(Path(mount_path) / path.relative_to(mount["path"]))
    return str(path)
