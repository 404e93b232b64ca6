"""Has a running vLLM 0.32.0 serve another folder's files, as if it had been started with them: loaded by vLLM, in vLLM's processes.

Weights are vLLM's own `reload_weights`. What it reads only when it starts is exchanged here: RoPE theta in the worker, tokenizer and chat
template in the API server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Worker:
    """Mixed into the worker by `--worker-extension-cls exchange.Worker`."""

    model_runner: Any

    def exchange(self, folder: str) -> float:
        """Rotate positions by the folder's theta, which is returned."""
        theta = float(json.loads(Path(folder, "config.json").read_text())["rope_theta"])
        for module in self.model_runner.model.modules():
            if hasattr(module, "cos_sin_cache"):
                module.base = theta
                module.cos_sin_cache = module._compute_cos_sin_cache().to(module.cos_sin_cache.dtype)
        return theta


class Tokenizer:
    """In front of the API server by `--middleware exchange.Tokenizer`: POST /exchange with a folder's path as the body."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/exchange":
            await self._app(scope, receive, send)
            return
        from vllm.tokenizers import get_tokenizer
        from vllm.tokenizers.hf import maybe_make_thread_pool

        folder = (await receive())["body"].decode()
        # With the template, which lies beside it.
        tokenizer = maybe_make_thread_pool(get_tokenizer(folder), 2)
        engine = scope["app"].state.engine_client
        engine.renderer.tokenizer = engine.output_processor.tokenizer = tokenizer
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
