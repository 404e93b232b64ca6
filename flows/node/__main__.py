"""`python -m flows.node fetch|check|scrub|prepare|ask`: the entry point of Slipway's image on the nodes."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.errors import NodeRejected, PipelineError
from blocks.wording import many_lines
from flows.errors import SpecInvalid
from flows.node.report import say

if TYPE_CHECKING:
    from flows.node.sharing.sharing import Sharing
    from flows.node.snapshot import Wanted
    from flows.node.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands. Prints JSON lines; the last is `complete` (exit code 0), or `failed` with the error (1).

    `check`, `prepare` and `ask` are read by people, in the status or the log of a pod: they print nothing, or one sentence.
    """
    options = _parser().parse_args(arguments)
    # As PID 1 of a container the default action of SIGTERM would be to ignore it. What is under way may end at any byte.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    try:
        options.run(options)
    except PipelineError as exc:
        options.fail(exc)
    except OSError as exc:
        options.fail(NodeRejected(f"The node's disk refuses {exc.filename or 'a file'}: {exc.strerror or exc}; look at its mount."))
    else:
        return 0
    return 1


def _say_failed(error: PipelineError) -> None:
    say("failed", error=type(error).__name__, message=error.message)


def _print_sentence(error: PipelineError) -> None:
    print(error.message, flush=True)


def _fetch(options: argparse.Namespace) -> None:
    # Imported by the command that needs it: `check` is waited for at every start of an engine, and does without the hub's client.
    from flows.node.fetch import fetch
    from flows.node.policy import Patience, SpacePolicy, TransferPolicy
    from flows.node.snapshot import Wanted, is_complete
    from flows.node.store import Store

    try:
        request = json.loads(options.request.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise SpecInvalid(f"{options.request} cannot be read: {exc}.") from exc
    wanted = Wanted.of(request)
    store = Store(options.store)
    store.prepare()
    space = SpacePolicy(
        reserve_percent=options.reserve_percent, keep=frozenset(request.get("keep", ())), fresh_seconds=options.fresh_seconds
    )
    patience = Patience(
        attempts=options.attempts,
        back_off_seconds=options.back_off_seconds,
        budget_seconds=options.budget_seconds,
        until=time.monotonic() + options.deadline_seconds,
    )
    policy = TransferPolicy(
        connections=options.connections,
        segment_bytes=options.segment_bytes,
        plain_limit_bytes=options.plain_limit_bytes,
        timeout_seconds=options.timeout_seconds,
        patience=patience,
    )
    _allow_open_files()
    sharing = _sharing(options, store, wanted)
    if options.give_only and not is_complete(store.folder(wanted), wanted):
        say("complete", fetched=False, bytes=0, files=0, hub_bytes=0, peer_bytes={})
        return
    fetched = fetch(store, wanted, space, policy, sharing)
    facts = {} if sharing is None else {"hub_bytes": sharing.hub_bytes, "peer_bytes": sharing.peer_bytes}
    say("complete", fetched=fetched, bytes=wanted.size_bytes, files=len(wanted.files), **facts)
    if sharing is not None:
        # The last word is said: whoever waits for this node waits no longer, and the others may still need it.
        sharing.linger(patience.until)


def _allow_open_files() -> None:
    """As many as the system lets us: each content has a lock, and those that are shared are all open. Many runtimes begin at 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _sharing(options: argparse.Namespace, store: Store, wanted: Wanted) -> Sharing | None:
    """The other nodes, if there are any to share with."""
    if options.share_secret is None:
        return None
    from flows.node.sharing.policy import SharePolicy, SwarmPolicy
    from flows.node.sharing.sharing import Sharing

    policy = SharePolicy(
        rank=options.share_rank,
        nodes=options.share_nodes,
        names=tuple(options.share_with),
        secret=options.share_secret,
        bind=options.share_bind,
        bytes_per_second=options.share_mbit * 1e6 / 8 if options.share_mbit else None,
        swarm=SwarmPolicy(
            meet_seconds=options.share_meet_seconds,
            quiet_seconds=options.share_quiet_seconds,
            linger_seconds=options.share_linger_seconds,
        ),
    )
    return Sharing(store, wanted, policy, options.segment_bytes)


def _check(options: argparse.Namespace) -> None:
    from flows.node.check import check

    check(options.folder, options.digest)


def _prepare(options: argparse.Namespace) -> None:
    from flows.node.prepare import prepare

    prepare(options.folder)


def _ask(options: argparse.Namespace) -> None:
    from flows.node.ask import ask

    print(many_lines(ask(options.endpoint, options.model, options.timeout_seconds)), flush=True)


def _scrub(options: argparse.Namespace) -> None:
    from flows.node.scrub import scrub
    from flows.node.store import Store

    store = Store(options.store)
    store.prepare()
    os.nice(10)  # whatever serves on this node comes first
    say("complete", **asdict(scrub(store, options.limit_seconds)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows.node", description="Slipway's program on the nodes.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("fetch", help="have a candidate's snapshot on this node")
    command.add_argument("--request", type=Path, required=True, help="JSON file: repository, commit, files, and which snapshots to keep")
    command.add_argument("--store", type=Path, required=True, help="folder of all snapshots on this node")
    command.add_argument("--reserve-percent", type=float, default=15.0, help="share of the disk that stays free")
    command.add_argument("--fresh-seconds", type=float, default=3600.0, help="snapshots used since then are not removed")
    command.add_argument("--connections", type=int, default=4, help="connections at once")
    command.add_argument("--segment-bytes", type=_pages, default=16 << 20, help="bytes asked for at a time")
    command.add_argument("--timeout-seconds", type=float, default=30.0, help="longest silence of a server")
    command.add_argument("--attempts", type=int, default=8, help="failures in a row before giving up")
    command.add_argument("--back-off-seconds", type=float, default=0.5, help="first pause after a failure")
    command.add_argument("--budget-seconds", type=float, default=300.0, help="longest row of failures")
    command.add_argument("--deadline-seconds", type=float, default=3600.0, help="no pause that a server asks for ends after that")
    command.add_argument("--plain-limit-bytes", type=int, default=50_000_000_000, help="larger files come by xet where the hub has them so")
    command.add_argument(
        "--share-secret", type=Path, help="share with other nodes: folder with the tls.crt and tls.key that all of them have"
    )
    command.add_argument("--give-only", action="store_true", help="fetch nothing: give what is here to those that share")
    command.add_argument("--share-rank", type=int, default=0, help="this node's number, from 0")
    command.add_argument("--share-nodes", type=int, default=1, help="how many nodes there are")
    command.add_argument("--share-with", type=_place, action="append", default=[], metavar="HOST:PORT", help="where the others are")
    command.add_argument("--share-bind", type=_place, default=("0.0.0.0", 8444), metavar="ADDRESS:PORT", help="where to listen")  # noqa: S104
    command.add_argument("--share-mbit", type=float, default=0, help="most megabits a second that are sent; 0 for no limit")
    command.add_argument("--share-meet-seconds", type=float, default=10.0, help="longest wait for the others before the hub is asked")
    command.add_argument("--share-quiet-seconds", type=float, default=15.0, help="who says nothing for so long is done without")
    command.add_argument("--share-linger-seconds", type=float, default=600.0, help="how long one that lacks something is waited for")
    command.set_defaults(run=_fetch, fail=_say_failed)

    command = commands.add_parser("check", help="require that a folder is a certain snapshot")
    command.add_argument("folder", type=Path, help="the snapshot's folder")
    command.add_argument("--digest", required=True, help="the hash of repository, commit and files")
    command.set_defaults(run=_check, fail=_print_sentence)

    command = commands.add_parser("scrub", help="hash again what lies on this node")
    command.add_argument("--store", type=Path, required=True, help="folder of all snapshots on this node")
    command.add_argument("--limit-seconds", type=float, default=3000.0, help="stop after so long; the rest comes first next time")
    command.set_defaults(run=_scrub, fail=_say_failed)

    command = commands.add_parser("prepare", help="have a folder that this user may write to")
    command.add_argument("folder", type=Path, help="the folder; what lies in it stays")
    command.set_defaults(run=_prepare, fail=_print_sentence)

    command = commands.add_parser("ask", help="require that an engine answers a completion")
    command.add_argument("endpoint", help="http://HOST:PORT")
    command.add_argument("--model", required=True, help="the name that clients send")
    command.add_argument("--timeout-seconds", type=float, default=60.0, help="how long the answer may take")
    command.set_defaults(run=_ask, fail=_print_sentence)
    return parser


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError("must be HOST:PORT")
    return host.strip("[]"), int(port)


def _pages(text: str) -> int:
    size_bytes = int(text)
    # O_DIRECT writes whole pages, at offsets of whole pages.
    if size_bytes <= 0 or size_bytes % 4096:
        raise argparse.ArgumentTypeError("must be a multiple of 4096")
    return size_bytes


if __name__ == "__main__":
    sys.exit(main())
