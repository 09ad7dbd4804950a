from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common import registry
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.ingest.core.files import FolderFiles, hashed
from stages.ingest.core.item import Context, Source
from tests.ingest.conftest import Served
from tests.ingest.making import FOLDERS, HALVES, images, ingest, put, shards, tar, zipped

PICTURES = images({"cat": 12, "dog": 12})


def open_source(kind: str, context: Context, **args: Any) -> Source:
    source: Source = registry.make("source", Part(kind, args), context)
    return source


def digest_over(tmp_path: Path) -> str:
    return hashed(FolderFiles(put(tmp_path / "digested", PICTURES)))[1]


def git(tmp_path: Path, **args: Any) -> dict[str, Any]:
    given = {"slug": "pets", "repo": "o/pets", "commit": "c0ffee", "include": ["*.png"], "digest": digest_over(tmp_path)}
    return {"source": {"name": "git", **given, **args}, **FOLDERS, **HALVES}


def test_a_mirror_of_files_a_mirror_in_a_tarball_and_the_network_give_the_same_corpus(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reversed_order = dict(reversed(PICTURES.items())) | {"README.md": b"not asked for"}
    put(tmp_path / "m1" / "pets", reversed_order | {"SHA256SUMS": b"x"})
    (tmp_path / "m2" / "pets").mkdir(parents=True)
    tar(tmp_path / "m2" / "pets" / "pets.tar.gz", reversed_order)
    put(served.folder / "raw", PICTURES)
    tar(served.folder / "tree.tar.gz", reversed_order, root="pets-c0ffee/")
    tarball, raw = served.url + "/tree.tar.gz", served.url + "/raw/{path}"
    made = []
    for name, mirror, more in (
        ("files", "m1", {}),
        ("packed", "m2", {}),
        ("tree", "none", {"tarball": tarball}),
        ("one by one", "none", {"raw": raw, "include": ["{cat,dog}/{" + ",".join(f"{i:03d}" for i in range(12)) + "}.png"]}),
    ):
        monkeypatch.setenv("PRELUDE_MIRROR", str(tmp_path / mirror))
        made.append(ingest(tmp_path / name, git(tmp_path, **more)))
    assert [shards(c) for c in made] == [shards(made[0])] * 4
    assert [c.digest for c in made] == [made[0].digest] * 4
    assert made[0].card.source == {
        "name": "git",
        "digest": digest_over(tmp_path),
        "repo": "o/pets",
        "commit": "c0ffee",
        "files": 24,
    }


def test_what_was_fetched_once_is_not_fetched_again(served: Served, tmp_path: Path) -> None:
    tar(served.folder / "tree.tar.gz", PICTURES, root="r/")
    plan = git(tmp_path, tarball=served.url + "/tree.tar.gz")
    ingest(tmp_path / "w", plan)
    ingest(tmp_path / "w", plan)
    assert served.asked == ["/tree.tar.gz"]


def test_a_wrong_digest_names_both_and_forgets_the_download(served: Served, tmp_path: Path) -> None:
    tar(served.folder / "tree.tar.gz", PICTURES | {"cat/extra.png": b"new"}, root="r/")
    with pytest.raises(UserError) as caught:
        ingest(tmp_path / "w", git(tmp_path, tarball=served.url + "/tree.tar.gz"))
    text = str(caught.value)
    assert digest_over(tmp_path) in text and "digest: " in text and "o/pets@c0ffee" in text
    assert not [p for p in (tmp_path / "w/.prelude/downloads").rglob("*") if p.is_file()]
    assert not (tmp_path / "w/data/corpora/c").exists()


def test_a_mirror_may_keep_files_elsewhere_and_only_their_heads_are_taken(tmp_path: Path) -> None:
    put(tmp_path / "m" / "pets", {"heads/data/a.bin": b"0123", "data/b.bin": b"456789"})
    context = Context(tmp_path / "d", tmp_path / "m")
    text = f"{hashlib.sha256(b'01').hexdigest()}  data/a.bin\n", f"{hashlib.sha256(b'45').hexdigest()}  data/b.bin\n"
    digest = hashlib.sha256("".join(sorted(text)).encode()).hexdigest()
    source = open_source(
        "git",
        context,
        slug="pets",
        repo="o/p",
        commit="c",
        include=["data/*"],
        digest=digest,
        heads={"data/*": 2},
        mirror_folders={"heads/": ""},
    )
    assert [(f.path, f.read()) for f in source.files().each()] == [("data/a.bin", b"01"), ("data/b.bin", b"45")]


@pytest.mark.parametrize("make", [tar, zipped])
def test_a_url_of_an_archive_gives_its_members_and_a_digest_saves_the_second_download(
    served: Served, tmp_path: Path, make: Any
) -> None:
    data = make(served.folder / "a", PICTURES).read_bytes()
    source = {"name": "url", "url": served.url + "/a", "sha256": hashlib.sha256(data).hexdigest(), "include": ["*.png"]}
    for _ in range(2):
        corpus = ingest(tmp_path / "w", {"source": source, **FOLDERS, **HALVES})
    assert corpus.count() == 24 and served.asked == ["/a"]
    assert corpus.card.source == {"name": "url", "digest": source["sha256"], "url": served.url + "/a"}


def test_a_url_without_a_digest_is_fetched_anew_and_one_with_another_digest_is_refused(served: Served, tmp_path: Path) -> None:
    context = Context(tmp_path / "d")
    put(served.folder, {"t.csv": "a\n1\n"})
    before = open_source("url", context, url=served.url + "/t.csv").digest
    put(served.folder, {"t.csv": "a\n2\n"})
    source = open_source("url", context, url=served.url + "/t.csv")
    assert [f.read() for f in source.files().each()] == [b"a\n2\n"]
    with pytest.raises(UserError, match=f"sha256: {source.digest}"):
        open_source("url", context, url=served.url + "/t.csv", sha256=before)


def test_a_url_may_be_a_path_of_this_machine_which_the_card_does_not_show(tmp_path: Path) -> None:
    tar(tmp_path / "pets.tar.gz", PICTURES)
    for url in (str(tmp_path / "pets.tar.gz"), (tmp_path / "pets.tar.gz").as_uri()):
        corpus = ingest(tmp_path / "w", {"source": {"name": "url", "url": url}, **FOLDERS, **HALVES})
        assert corpus.card.source["url"] == "pets.tar.gz"


def test_s3_is_read_through_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    try:
        endpoint = f"http://127.0.0.1:{moto.get_host_and_port()[1]}"
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="pets")
        client.put_object(Bucket="pets", Key="a.tar.gz", Body=tar(tmp_path / "a", PICTURES).read_bytes())
        source = {"name": "url", "url": "s3://pets/a.tar.gz", "options": {"endpoint_url": endpoint}}
        assert ingest(tmp_path / "w", {"source": source, **FOLDERS, **HALVES}).count() == 24
    finally:
        moto.stop()


def test_a_folder_is_known_by_the_digest_over_its_files_and_not_by_where_it_lies(tmp_path: Path) -> None:
    made = []
    for name in ("here", "there"):
        plan = {"source": {"name": "folder", "path": str(put(tmp_path / name, PICTURES))}, **FOLDERS, **HALVES}
        made.append(ingest(tmp_path / f"w-{name}", plan))
    assert made[0].digest == made[1].digest
    assert made[0].card.source == {"name": "folder", "digest": digest_over(tmp_path), "files": 24}


def test_digits_come_with_scikit_learn_and_are_scaled_to_bytes(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    plan = {"source": {"name": "bundled"}, "reader": {"name": "items"}, "labels": {"digit": {"kind": "class"}}}
    corpus = ingest(tmp_path, plan)
    table = corpus.table(["id", "digit", "image"])
    theirs = load_digits()
    assert table["id"].to_pylist() == [f"digits-{i:04d}" for i in range(1797)]
    assert table["digit"].to_pylist() == theirs.target.tolist()
    pixels = table["image"].combine_chunks().flatten().to_numpy().reshape(-1, 8, 8)
    assert (pixels == np.rint(theirs.images * 255 / 16)).all() and pixels.max() == 255


def test_a_simulation_is_the_same_each_time_and_a_longer_one_begins_with_the_shorter(tmp_path: Path) -> None:
    labels = {"shape": {"kind": "class"}, "x": {"kind": "number"}}

    def plan(items: int) -> dict[str, Any]:
        simulator = {"name": "shapes", "items": items, "side": 16, "seed": 3}
        source = {"name": "simulated", "simulator": simulator}
        return {"source": source, "provenance": "simulated", "reader": {"name": "items"}, "labels": labels, **HALVES}

    short, again, longer = ingest(tmp_path / "a", plan(40)), ingest(tmp_path / "b", plan(40)), ingest(tmp_path / "c", plan(60))
    assert shards(short) == shards(again)
    assert longer.table(["id", "image", "x"]).slice(0, 40).equals(short.table(["id", "image", "x"]))
    assert short.card.provenance == "simulated" and short.card.source["simulator"]["seed"] == 3


def test_the_labels_of_a_simulated_shape_say_where_it_is() -> None:
    shapes = registry.make("simulator", Part("shapes", {"items": 50, "side": 64, "noise": 0.0}))
    for item in shapes:
        picture, x, y = item.media["image"].astype(int), item.labels["x"], item.labels["y"]
        shown = np.argwhere((picture.max(2) - picture.min(2)) > 100)
        if item.labels["shape"] != "triangle":
            assert np.allclose(shown.mean(0) / 64, [y, x], atol=0.03)
