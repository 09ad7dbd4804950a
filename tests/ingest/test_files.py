from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stages.common.errors import UserError
from stages.ingest.core import files
from stages.ingest.core.files import FolderFiles, HeadFiles, TarFiles, ZipFiles, hashed
from stages.ingest.core.patterns import expand, matching
from tests.ingest.making import put, tar, zipped

SOME = {"b/two.txt": b"22", "a.txt": b"1", "b/one.txt": b"333"}


def read(of: files.Files) -> dict[str, bytes]:
    return {file.path: file.read() for file in of.each()}


def test_a_folder_a_tar_and_a_zip_of_the_same_files_give_the_same_files_and_digest(tmp_path: Path) -> None:
    kinds = [
        FolderFiles(put(tmp_path / "f", SOME)),
        TarFiles(tar(tmp_path / "t", SOME)),
        ZipFiles(zipped(tmp_path / "z", SOME)),
    ]
    assert [read(k) for k in kinds] == [SOME] * 3
    assert len({hashed(k)[1] for k in kinds}) == 1


def test_the_digest_is_that_of_sorted_sha256sum_lines(tmp_path: Path) -> None:
    lines = sorted(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in SOME.items())
    known, digest = hashed(FolderFiles(put(tmp_path, SOME)))
    assert digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert known.paths == sorted(SOME)


def test_folders_leave_hidden_files_out_and_follow_links_to_files_only(tmp_path: Path) -> None:
    put(tmp_path / "f", {"x.txt": b"x", ".hidden": b"h", ".git/config": b"c"})
    put(tmp_path / "other", {"y.txt": b"y"})
    (tmp_path / "f/link.txt").symlink_to(tmp_path / "other/y.txt")
    (tmp_path / "f/linked").symlink_to(tmp_path / "other")
    (tmp_path / "f/dangling.txt").symlink_to(tmp_path / "nowhere")
    assert read(FolderFiles(tmp_path / "f")) == {"link.txt": b"y", "x.txt": b"x"}


def test_braces_are_written_out_and_a_star_spans_folders() -> None:
    assert expand(["{a,b}/{1,2}.gz", "c"]) == ["a/1.gz", "a/2.gz", "b/1.gz", "b/2.gz", "c"]
    wanted = matching(["*.jpg"], ["test/*"])
    assert [p for p in ("train/a/1.jpg", "test/1.jpg", "1.png", "1.jpg.txt") if wanted(p)] == ["train/a/1.jpg"]


def test_only_the_first_bytes_are_taken_where_heads_say_so(tmp_path: Path) -> None:
    taken = HeadFiles(FolderFiles(put(tmp_path, SOME)), {"b/*": 1})
    assert read(taken) == {"a.txt": b"1", "b/one.txt": b"3", "b/two.txt": b"2"}


@pytest.mark.parametrize("name", ["../up.txt", "/etc/passwd", "a/../../up", "a\\b", "C:/x", "a/.."])
def test_a_member_that_leads_out_of_its_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="leads out"):
        read(TarFiles(tar(tmp_path / "t", {name: b""})))
    with pytest.raises(UserError, match="leads out"):
        read(ZipFiles(zipped(tmp_path / "z", {name: b""})))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused_or_skipped(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "t", "w") as packed:
        member = tarfile.TarInfo("x")
        member.type, member.linkname = kind, "/etc/passwd"
        packed.addfile(member)
    with pytest.raises(UserError, match="link or a device"):
        read(TarFiles(tmp_path / "t"))
    assert read(TarFiles(tmp_path / "t", refuse_links=False)) == {}
    assert read(TarFiles(tmp_path / "t", matching(["y"]))) == {}


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as packed:
        member = zipfile.ZipInfo("x")
        member.external_attr = 0o120777 << 16
        packed.writestr(member, "/etc/passwd")
    with pytest.raises(UserError, match="is a link"):
        read(ZipFiles(tmp_path / "z"))


def test_an_archive_that_grows_beyond_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_RATIO_FROM", 1 << 20)
    monkeypatch.setattr(files, "_RATIO", 100)
    bomb = {"zeros": bytes(4 << 20), "after": b"x"}
    with pytest.raises(UserError, match="100 times its size"):
        read(TarFiles(tar(tmp_path / "t", bomb)))
    with pytest.raises(UserError, match="100 times its size"):
        read(ZipFiles(zipped(tmp_path / "z", bomb)))
    with pytest.raises(UserError, match="more than 1000 bytes"):
        read(ZipFiles(tmp_path / "z", max_bytes=1000))


def test_a_file_too_large_for_one_item_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE", 2)
    with pytest.raises(UserError, match="too large to be one item"):
        read(FolderFiles(put(tmp_path, SOME)))


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "", "zip"])
def test_an_archive_cut_anywhere_is_an_error_not_a_short_corpus(tmp_path: Path, kind: str) -> None:
    data = {f"{i}.bin": np.random.default_rng(i).bytes(300 + 512 * (i % 3)) for i in range(12)}
    if kind == "zip":
        path, of = zipped(tmp_path / "a", data), files.ZipFiles
    else:
        path, of = tmp_path / "a", files.TarFiles
        with tarfile.open(path, f"w:{kind}") as packed:
            for name, content in data.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
    assert read(of(path)) == data
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) - 1  # a plain tar is padded with zeros beyond its end
    for cut in [*range(30, end, max(1, end // 40)), end]:
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match="damaged"):
            read(of(path))


def test_a_member_can_be_read_at_random_through_a_temporary_file(tmp_path: Path) -> None:
    for of in (TarFiles(tar(tmp_path / "t", SOME)), ZipFiles(zipped(tmp_path / "z", SOME))):
        for file in of.each(lambda p: p == "b/one.txt"):
            with file.seekable() as stream:
                stream.seek(0, io.SEEK_END)
                assert stream.tell() == 3


def test_the_first_folder_of_a_forges_tarball_is_dropped(tmp_path: Path) -> None:
    packed = TarFiles(tar(tmp_path / "t", SOME, root="repo-abc/"), matching(["a.txt"]), skip_root=True)
    assert read(packed) == {"a.txt": b"1"}
