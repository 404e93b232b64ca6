"""`slipway fit`: what a model takes on a GPU, and whether that fits. Asks no cluster and no Prefect, and the hub only for what is on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import say, say_json
from flows.cli.shared import AsJson
from flows.errors import SpecInvalid

if TYPE_CHECKING:
    from flows.cli.fit_sources import Found
    from flows.fit.request import Cost
    from flows.fit.settings import Settings
    from flows.fit.verdict import Fit
    from flows.placement.loading import Shards

#: What nobody has, and what no engine takes: larger numbers are slips of the hand.
_MOST_GIB, _MOST_TOKENS, _MOST_REQUESTS, _MOST_GPUS = 4096.0, 2**31, 1_000_000, 1024


def add_commands(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(fit)


def fit(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="A folder, a config.json, or ORGANISATION/NAME on the hub.")],
    gpu_memory_gib: Annotated[float | None, typer.Option(help="Memory of one GPU, in GiB.")] = None,
    max_model_len: Annotated[int | None, typer.Option(help="Context in tokens; the model's own if left out.")] = None,
    tensor_parallel_size: Annotated[int, typer.Option(help="GPUs that share each layer.")] = 1,
    concurrency: Annotated[int, typer.Option(help="Requests of full length that must fit at once.")] = 1,
    dtype: Annotated[str, typer.Option(help="vLLM's --dtype.")] = "auto",
    gpu_memory_utilization: Annotated[float, typer.Option(help="Share of the GPU's memory that vLLM may take.")] = 0.9,
    engine_arg: Annotated[list[str] | None, typer.Option(help="An argument of `vllm serve`: --engine-arg=--NAME=VALUE.")] = None,
    gpu: Annotated[str, typer.Option(help="The GPU's name: vLLM takes smaller batches on an A100.")] = "",
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
    plot: Annotated[Path | None, typer.Option(help="Write memory over context and over concurrency to this file, as SVG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a model takes on a GPU, as vLLM 0.32 counts it, and whether it fits.

    Asks neither cluster nor Prefect, and the hub only for a model that is there. Exit code: 0 nothing speaks against it; 1 it does not fit,
    cannot be served so, or cannot be told.
    """
    from flows.cli.fit_sources import find
    from flows.fit.settings import Settings
    from flows.placement.settings import memory_settings, shards_by
    from flows.spec.engine_arguments import EngineArguments

    _require(gpu_memory_gib is None or 0 < gpu_memory_gib <= _MOST_GIB, "--gpu-memory-gib", f"above 0, up to {_MOST_GIB:,.0f}")
    _require(max_model_len is None or 0 < max_model_len <= _MOST_TOKENS, "--max-model-len", f"from 1 to {_MOST_TOKENS:,}")
    _require(0 < tensor_parallel_size <= _MOST_GPUS, "--tensor-parallel-size", f"from 1 to {_MOST_GPUS:,}")
    _require(0 < concurrency <= _MOST_REQUESTS, "--concurrency", f"from 1 to {_MOST_REQUESTS:,}")
    _require(0 < gpu_memory_utilization <= 1, "--gpu-memory-utilization", "above 0, up to 1")
    _require(dtype in ("auto", "bfloat16", "float16", "half", "float32", "float"), "--dtype", "auto, bfloat16, float16 or float32")
    try:
        arguments = EngineArguments.read(engine_arg or [])
    except SpecInvalid as exc:
        raise SpecInvalid(f"--engine-arg: {exc.message}") from exc
    beside = Settings(
        max_model_len=max_model_len, tensor_parallel=tensor_parallel_size, dtype=dtype, gpu_memory_utilization=gpu_memory_utilization
    )
    found = find(what, revision, arguments.hf_overrides)
    settings = memory_settings(arguments, beside)
    shards = shards_by(arguments, settings.tensor_parallel, arguments.quantization or "")
    told = tell(found, settings, shards, concurrency, gpu_memory_gib, gpu)
    if plot is not None:
        _plot(plot, told, found)
    if as_json:
        say_json(told.document)
    else:
        for line in told.lines(found.name):
            say(line)
    if told.refusals:
        sys.exit(1)


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise SpecInvalid(f"{name} must be a number {what}." if name != "--dtype" else f"{name} must be one of {what}.")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was found.

    Attributes:
        cost: What requests take; none if that cannot be told.
        fit: How memory adds up; none without a GPU, or if that cannot be told. Its weights are 0 where there are none to look into.
        weights_bytes: What the weights take of a GPU; none if there are none to look into.
        max_model_len: The context that was asked for, or the model's own.
        concurrency: The requests that were asked for.
        settings: How it is served.
        gpu_bytes: Memory of one GPU; none if none was given.
        refusals: What speaks against it.
    """

    cost: Cost | None
    fit: Fit | None
    weights_bytes: int | None
    max_model_len: int
    concurrency: int
    settings: Settings
    gpu_bytes: int | None
    refusals: tuple[str, ...]

    @property
    def fits(self) -> bool | None:
        """Whether it fits; none if nobody can tell."""
        if self.fit is None or (self.weights_bytes is None and self.fit.fits):
            return None
        return self.fit.fits

    @property
    def document(self) -> dict[str, object]:
        """The same, for scripts."""
        from flows.fit.verdict import UNBOUNDED

        largest = self.fit.largest_context if self.fit is not None and self.weights_bytes is not None else None
        return {
            "kv_bytes_per_request": self.cost.request_bytes(self.max_model_len) if self.cost is not None else None,
            "null_block_bytes": self.cost.block_bytes if self.cost is not None else None,
            "weights_bytes": self.weights_bytes,
            "max_model_len": self.max_model_len,
            "largest_context": largest if largest != UNBOUNDED else None,
            "fits": self.fits,
            "refusals": list(self.refusals),
        }

    def lines(self, name: str) -> list[str]:
        """The same, for people."""
        from blocks.wording import visible_lines
        from flows.fit.verdict import RESERVE_BYTES, UNBOUNDED
        from flows.text import gib

        requests = f"{self.concurrency:,} request(s) of {self.max_model_len:,} tokens"
        weights = gib(self.weights_bytes) if self.weights_bytes is not None else "no weights there to look into"
        lines = [name, f"  weights          {weights}"]
        if self.cost is not None:
            whole = self.cost.gpu_bytes(self.max_model_len, self.concurrency)
            more = f", {self.cost.token_bytes:,} bytes for each token more" if self.cost.token_bytes else ""
            lines.append(f"  KV cache         {gib(whole)} for {requests}{more}")
        if self.fit is not None:
            lines.append(f"  reserve          {gib(RESERVE_BYTES)}")
            share = f"(gpu_memory_utilization {self.settings.gpu_memory_utilization:g})"
            lines.append(f"  together         {gib(self.fit.needed_bytes)} of {gib(self.fit.usable_bytes)} {share}")
            if self.weights_bytes is not None and self.fit.largest_context != UNBOUNDED:
                lines.append(f"  largest context  {self.fit.largest_context:,} tokens for {self.concurrency:,} request(s)")
        ends = {True: "It fits.", False: "It does not fit.", None: "Whether it fits cannot be told."}
        lines += [f"- {refusal}" for refusal in self.refusals]
        return [visible_lines(line) for line in ([*lines, ends[self.fits]] if self.gpu_bytes is not None else lines)]


def tell(found: Found, settings: Settings, shards: Shards, concurrency: int, gpu_memory_gib: float | None, gpu: str) -> Told:
    """What the model takes, and everything that speaks against it."""
    from flows.fit.errors import Unknown, Unreadable
    from flows.fit.request import cost
    from flows.fit.verdict import judge
    from flows.placement.loading import cannot_load
    from flows.text import GIB, gib

    model, refusals = found.model, list(found.refusals)
    gpu_bytes = int(gpu_memory_gib * GIB) if gpu_memory_gib is not None else None
    known, weights, fit = None, None, None
    longest = model.longest_context()
    tokens = settings.max_model_len or (model.default_context() if model.problem is None else 0)
    settings = replace(settings, max_model_len=tokens)
    try:
        known = cost(model.known_shape(), settings, tokens, gpu_bytes, gpu)
        weights = model.weights_bytes(found.stored, settings) if found.stored is not None else None
        if gpu_bytes is not None:
            fit = judge(
                model,
                settings,
                max_model_len=tokens,
                concurrency=concurrency,
                gpu_bytes=gpu_bytes,
                weights_bytes=weights or 0,
                gpu=gpu,
            )
    except Unreadable as exc:
        sentence = exc.message if exc.message.endswith(".") else f"{exc.message[0].upper()}{exc.message[1:]}."
        state = " In a model's file, kv_bytes_per_token and kv_bytes_per_request state it." if isinstance(exc, Unknown) else ""
        refusals.append(f"{sentence}{state}")
    if not model.divides(settings.tensor_parallel):
        possible = ", ".join(str(number) for number in range(1, 17) if model.divides(number))
        refusals.append(f"{settings.tensor_parallel} GPUs cannot share its heads evenly: use one of {possible}.")
    # Heads that cannot be shared are told of already.
    shares = settings.tensor_parallel if model.divides(settings.tensor_parallel) else 1
    if (why := cannot_load(model.document, replace(shards, tensor_parallel=shares))) is not None:
        refusals.append(f"vLLM cannot load it: {why}.")
    if longest is not None and tokens > longest and not settings.allow_long:
        refusals.append(f"It was made for {longest:,} tokens at the most, not for {tokens:,}.")
    if fit is not None and not fit.fits:
        largest = f" The largest context for {concurrency:,} request(s) is {fit.largest_context:,} tokens." if weights is not None else ""
        beside = "weights, reserve and KV cache" if weights is not None else "reserve and KV cache alone"
        refusals.append(f"It does not fit: {beside} take {gib(fit.needed_bytes)}, and vLLM may take {gib(fit.usable_bytes)}.{largest}")
    return Told(
        cost=known,
        fit=fit,
        weights_bytes=weights,
        max_model_len=tokens,
        concurrency=concurrency,
        settings=settings,
        gpu_bytes=gpu_bytes,
        refusals=tuple(refusals),
    )


def _plot(path: Path, told: Told, found: Found) -> None:
    from flows.fit.plot import memory_plot

    if told.cost is None:
        raise SpecInvalid(f"There is nothing to draw: what {found.name} takes cannot be told.")
    usable = told.fit.usable_bytes if told.fit is not None else None
    drawn = memory_plot(
        found.name,
        told.cost,
        tokens=told.max_model_len,
        requests=told.concurrency,
        longest=found.model.longest_context(),
        weights_bytes=told.weights_bytes,
        usable_bytes=usable,
    )
    try:
        path.write_text(drawn, encoding="utf-8")
    except OSError as exc:
        raise SpecInvalid(f"{path} cannot be written: {exc.strerror}.") from exc
