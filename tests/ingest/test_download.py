from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path

import pytest

from stages.common.errors import UserError
from stages.ingest.core.download import Limits, fetch, kept_as
from tests.ingest.conftest import Served
from tests.ingest.making import put


def test_a_download_is_whole_and_its_digest_is_returned(served: Served, tmp_path: Path) -> None:
    put(served.folder, {"a.bin": b"abc" * 1000})
    digest = fetch(f"{served.url}/a.bin", tmp_path / "x/a.bin", Limits())
    assert digest == hashlib.sha256(b"abc" * 1000).hexdigest()
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["a.bin"]


def test_redirects_are_followed_on_the_web_and_nowhere_else(served: Served, tmp_path: Path) -> None:
    put(served.folder, {"a.bin": b"abc"})
    put(tmp_path, {"secret": b"s"})
    served.moved = {
        "/1": "/2",
        "/2": f"{served.url}/a.bin",
        "/f": (tmp_path / "secret").as_uri(),
        "/ftp": "ftp://127.0.0.1/x",
        "/loop": "/loop",
    }
    assert fetch(f"{served.url}/1", tmp_path / "a", Limits()) == hashlib.sha256(b"abc").hexdigest()
    for path, says in (("/f", "from http to file"), ("/ftp", "from http to ftp"), ("/loop", "more than 5 times")):
        with pytest.raises(UserError, match=says):
            fetch(served.url + path, tmp_path / "b", Limits())
        assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("path", "limits", "says"),
    [
        ("/absent", Limits(), "answers 404"),
        ("/big", Limits(max_bytes=10), "more than allowed"),
        ("/cut", Limits(), "broke off"),
        ("/big", Limits(total_s=-1), "took over"),
    ],
)
def test_a_failed_download_leaves_nothing(served: Served, tmp_path: Path, path: str, limits: Limits, says: str) -> None:
    put(served.folder, {"big": b"0" * 1000})
    served.cut = {"/cut"}
    with pytest.raises(UserError, match=says):
        fetch(served.url + path, tmp_path / "x" / "y", limits)
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.parametrize(("stall", "says"), [((2.0, 0.0), "cannot be reached"), ((0.0, 2.0), "broke off")])
def test_a_server_that_stalls_is_given_up_and_nothing_is_left(
    served: Served, tmp_path: Path, stall: tuple[float, float], says: str
) -> None:
    served.stalled["/slow"] = stall
    started = time.monotonic()
    with pytest.raises(UserError, match=says):
        fetch(f"{served.url}/slow", tmp_path / "x" / "y", Limits(answer_s=0.2))
    assert time.monotonic() - started < 1.5
    assert list((tmp_path / "x").iterdir()) == []
    served.stalled["/slow"] = (0.0, 0.1)  # within the limit
    assert fetch(f"{served.url}/slow", tmp_path / "x" / "y", Limits(answer_s=1)) == hashlib.sha256(b"onetwo").hexdigest()


def test_an_address_without_a_server_says_how_to_go_on(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="PRELUDE_MIRROR"):
        fetch(f"http://127.0.0.1:{port}/x", tmp_path / "x", Limits(answer_s=2))


def test_other_schemes_go_through_fsspec(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://corpus/a.bin", "wb") as file:
        file.write(b"abc")
    assert fetch("memory://corpus/a.bin", tmp_path / "a", Limits()) == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(UserError, match="exceeds 2 bytes"):
        fetch("memory://corpus/a.bin", tmp_path / "c", Limits(max_bytes=2))
    with pytest.raises(UserError, match="cannot be read"):
        fetch("memory://corpus/absent", tmp_path / "b", Limits())
    with pytest.raises(UserError, match=r"cannot be read|no file system"):
        fetch("nosuch://x", tmp_path / "b", Limits())


def test_two_addresses_never_share_a_place() -> None:
    assert kept_as(Path("d"), "http://a/x.zip") != kept_as(Path("d"), "http://b/x.zip")
    assert ".." not in kept_as(Path("d"), "http://a/../..").parts
