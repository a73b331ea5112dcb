"""The image writer: what containerd reads is there, once, and the same every time."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from ci.lab.images.archive import (
    Config,
    Directory,
    Entry,
    File,
    Image,
    Link,
    complete,
    merged,
    write_archive,
    write_layer,
)
from ci.lab.images.debian import C_LIBRARY, PYTHON, read_tar


def read(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        stream = tar.extractfile(name)
        assert stream is not None
        return stream.read()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("./lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("/lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("./bin/busybox", "usr/bin/busybox"),
        ("./usr/bin/python3.11", "usr/bin/python3.11"),
        ("./library/file", "library/file"),
        ("./", "."),
    ],
)
def test_old_package_paths_lead_below_usr(given: str, expected: str) -> None:
    assert merged(given) == expected


def test_parents_come_before_their_files_and_the_last_of_two_wins() -> None:
    entries: list[Entry] = [File("a/b/c", b"first"), Directory("a", 0o700), File("/a/b/c", b"last")]
    listed = complete(entries)
    assert [entry.path.lstrip("/") for entry in listed] == ["a", "a/b", "a/b/c"]
    assert listed[0] == Directory("a", 0o700)
    assert listed[2] == File("/a/b/c", b"last")


def test_a_layer_keeps_kind_mode_owner_and_link_target() -> None:
    stream = io.BytesIO()
    digest = write_layer(
        [
            Directory("tmp", 0o1777),
            File("bin/tool", b"x", 0o755),
            Link("lib", "usr/lib"),
            Directory("data", 0o755, 1337, 1338),
        ],
        stream,
    )
    assert digest == hashlib.sha256(stream.getvalue()).hexdigest()
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        members = {member.name: member for member in tar}
    assert members["tmp"].isdir()
    assert members["tmp"].mode == 0o1777
    assert members["bin/tool"].isfile()
    assert members["bin/tool"].mode == 0o755
    assert members["lib"].issym()
    assert members["lib"].linkname == "usr/lib"
    assert (members["data"].uid, members["data"].gid) == (1337, 1338)
    assert all(member.mtime == 0 for member in members.values())


def test_the_archive_says_what_a_runtime_needs(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    config = Config(["/tool", "serve"], {"B": "2", "A": "1"}, "65532:65532")
    write_archive([Image(["example.test/tool:1"], [[File("tool", b"x", 0o755)]], config)], target)

    (entry,) = json.loads(read(target, "manifest.json"))
    assert entry["RepoTags"] == ["example.test/tool:1"]
    raw = read(target, entry["Config"])
    assert entry["Config"] == f"{hashlib.sha256(raw).hexdigest()}.json"
    document = json.loads(raw)
    assert document["os"] == "linux"
    assert document["config"]["Entrypoint"] == ["/tool", "serve"]
    assert document["config"]["Env"] == ["A=1", "B=2"]
    assert document["config"]["User"] == "65532:65532"
    (layer,) = entry["Layers"]
    digest = hashlib.sha256(read(target, layer)).hexdigest()
    assert document["rootfs"]["diff_ids"] == [f"sha256:{digest}"]


def test_shared_layers_are_stored_once(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    base: list[Entry] = [File("base", b"shared")]
    write_archive(
        [Image(["one:1"], [base]), Image(["two:1", "three:1"], [base, [File("top", b"own")]])],
        target,
    )
    first, second = json.loads(read(target, "manifest.json"))
    assert first["Layers"][0] == second["Layers"][0]
    assert second["RepoTags"] == ["two:1", "three:1"]
    with tarfile.open(target) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "program"
    digests = []
    for attempt in range(2):
        source.write_bytes(b"program")
        source.touch()
        target = tmp_path / f"{attempt}.tar"
        layer: list[Entry] = [File("program", source, 0o755), Link("p", "program")]
        write_archive([Image(["example.test/program:1"], [layer])], target)
        digests.append(hashlib.sha256(target.read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_a_failed_build_leaves_no_archive(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    with pytest.raises(FileNotFoundError):
        write_archive([Image(["x:1"], [[File("gone", tmp_path / "absent")]])], target)
    assert not target.exists()


def test_package_files_are_taken_without_documents() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in ("./lib/a.so", "./usr/share/doc/a/copyright", "./etc/a.conf"):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        assert read_tar(tar) == [File("usr/lib/a.so", b"x", 0o644)]


def test_what_is_no_file_in_a_package_is_not_dropped_silently() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("./usr/bin/device")
        member.type = tarfile.CHRTYPE
        tar.addfile(member)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar, pytest.raises(RuntimeError, match=r"bin/device"):
        read_tar(tar)


@pytest.mark.parametrize(
    "name",
    ["python3.11-minimal", "libpython3.12-stdlib", "libssl3", "libssl3t64", "libffi8", "libc6"],
)
def test_the_interpreters_packages_are_known_by_name(name: str) -> None:
    assert PYTHON.fullmatch(name)


@pytest.mark.parametrize("name", ["python3", "perl-base", "dpkg", "libc6-dev", "libsqlite3-0"])
def test_what_surrounds_the_interpreter_stays_out(name: str) -> None:
    assert not PYTHON.fullmatch(name)
    assert not C_LIBRARY.fullmatch(name)
