"""Names of headless Services: looked up in a folder, at the moment when somebody asks."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sandbox.names import file_of, follow, write


def test_a_name_leads_to_what_is_there_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)  # put back in the end
    follow(tmp_path / "names")
    place = tmp_path / "names" / file_of("here/web")

    def found() -> list[str]:
        return [str(answer[4][0]) for answer in socket.getaddrinfo("web.here.svc", 80, type=socket.SOCK_STREAM)]

    write(place, [])
    with pytest.raises(socket.gaierror, match="no pod has an address yet"):
        found()
    write(place, ["127.0.0.3", "127.0.0.4"])
    assert found() == ["127.0.0.3", "127.0.0.4"]
    write(place, ["127.0.0.5"])
    assert found() == ["127.0.0.5"]
    # and what is no such name is asked as before
    assert socket.getaddrinfo("127.0.0.9", 80)[0][4][0] == "127.0.0.9"
