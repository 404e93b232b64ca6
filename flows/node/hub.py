"""Where the files of a commit are, asked through the hub client; it is loaded when something must be fetched, and not before."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, get_token, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError

from blocks.errors import HubRejected, HubUnreachable, PipelineError
from blocks.hub.errors import HUB_FAULTS, hub_error
from flows.node.http import Connections, Location, retry_after
from flows.node.patience import Trouble
from flows.node.snapshot import Wanted


class Hub:
    """One commit on the hub that the environment names (`HF_ENDPOINT`), read with its token (`HF_TOKEN_PATH`).

    Args:
        wanted: The commit.
        timeout_seconds: Longest silence.
    """

    def __init__(self, wanted: Wanted, timeout_seconds: float) -> None:
        self._wanted = wanted
        self._timeout = timeout_seconds
        self._token = get_token()
        self._known: dict[str, Location] = {}
        self._lock = threading.Lock()

    def connections(self) -> Connections:
        """Connections for one thread; they trust what the hub client trusts."""
        return Connections(constants.ENDPOINT, self._token, httpx2.create_ssl_context(), self._timeout)

    def locate(self, path: str) -> Location:
        """Where the file is; asked once, until the answer is forgotten.

        Raises:
            Trouble: The hub did not answer.
            HubRejected: The hub refuses, or answers for another commit.
        """
        # One HEAD for a file, not one for each of its segments.
        known = self._known.get(path)
        if known is not None:
            return known
        location = self._ask(path)
        with self._lock:
            # Several threads ask at once in the beginning; all go on with one answer, as `forget` compares it.
            return self._known.setdefault(path, location)

    def forget(self, path: str, location: Location) -> None:
        """Ask anew next time, unless somebody already has."""
        with self._lock:
            if self._known.get(path) is location:
                del self._known[path]

    def download(self, path: str, folder: Path) -> Path:
        """Have the hub client itself bring the file (by its own protocol where ranged GETs do not reach); where it is then.

        Raises:
            HubRejected: The hub refuses.
            Trouble: It did not come.
        """
        wanted = self._wanted
        try:
            # A folder for this file alone, under our lock: two clients in one `local_dir` delete each other's finished files (2.4.0).
            return Path(hf_hub_download(wanted.repository, path, revision=wanted.commit, local_dir=folder, token=self._token or False))
        except HUB_FAULTS as exc:
            raise self._passing(exc) from exc
        except (RuntimeError, ValueError) as exc:  # what its own protocol raises, and its limit of plain HTTP
            raise Trouble(f"the hub client gave up ({type(exc).__name__})") from exc

    def _ask(self, path: str) -> Location:
        wanted = self._wanted
        url = hf_hub_url(wanted.repository, path, revision=wanted.commit)
        try:
            found = get_hf_file_metadata(url, token=self._token or False, timeout=self._timeout)
        except HUB_FAULTS as exc:
            raise self._passing(exc) from exc
        # The client itself takes another commit's answer without a word.
        if found.commit_hash != wanted.commit:
            raise HubRejected(
                f"The hub {constants.ENDPOINT} answered for commit {found.commit_hash or 'unknown'} of {wanted.repository} where "
                f"{wanted.commit} was asked for: it may be a proxy that does not keep commits apart."
            )
        return Location(url=found.location, size_bytes=found.size, by_hub_client=found.xet_file_data is not None)

    def _passing(self, exc: BaseException) -> Trouble | PipelineError:
        """What the hub client's error means: trouble that may pass, or an error of ours."""
        wanted = self._wanted
        error = hub_error(exc, constants.ENDPOINT, wanted.repository, wanted.commit, has_token=self._token is not None)
        if not isinstance(error, HubUnreachable):
            return error
        headers = exc.response.headers if isinstance(exc, HfHubHTTPError) else {}
        return Trouble(error.message.rstrip("."), retry_after_seconds=retry_after(headers.get("Retry-After")))
