"""Write container images as docker-archive tars, byte for byte the same from the same input."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

# Distributions merged these directories into /usr. Packages still name the old paths, and an
# image that is put together from package files must join the two, or the loader is not found.
MERGED_DIRECTORIES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Directory:
    """A directory; parents of files need not be listed."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class File:
    """A regular file whose bytes are given, or lie in a file of this machine."""

    path: str
    source: bytes | Path
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str


Entry = Directory | File | Link


@dataclass(frozen=True)
class Config:
    """What a runtime does with an image when the pod says nothing else."""

    entrypoint: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""


@dataclass(frozen=True)
class Image:
    """One image: the names it goes by, its layers from bottom to top, its configuration."""

    names: Sequence[str]
    layers: Sequence[Sequence[Entry]]
    config: Config = Config()


def architecture() -> str:
    """The name that image configurations have for this machine's processor."""
    machine = platform.machine()
    return _MACHINES.get(machine, machine)


def merged(path: str) -> str:
    """The path below /usr for a path in one of the merged directories, else the path itself."""
    parts = PurePosixPath("/" + path.lstrip("./")).parts[1:]
    if parts and parts[0] in MERGED_DIRECTORIES:
        return str(PurePosixPath("usr", *parts))
    return str(PurePosixPath(*parts))


def merged_links() -> list[Entry]:
    """The links /bin -> usr/bin and so on that belong to the root of a merged file system."""
    links: list[Entry] = []
    for name in MERGED_DIRECTORIES:
        links.append(Link(name, f"usr/{name}"))
        links.append(Directory(f"usr/{name}"))
    return links


def complete(entries: Iterable[Entry]) -> list[Entry]:
    """Entries in path order, each once (the last one wins), with all parent directories."""
    by_path: dict[str, Entry] = {}
    for entry in entries:
        by_path[_normal(entry.path)] = entry
    for path in list(by_path):
        for parent in PurePosixPath(path).parents:
            if str(parent) != ".":
                by_path.setdefault(str(parent), Directory(str(parent)))
    return [by_path[path] for path in sorted(by_path)]


def write_layer(entries: Iterable[Entry], stream: IO[bytes]) -> str:
    """Write one layer's tar; the answer is its digest (hexadecimal SHA-256)."""
    hashing = _HashingWriter(stream)
    with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for entry in complete(entries):
            info = _header(_normal(entry.path))
            match entry:
                case Directory():
                    info.type, info.mode = tarfile.DIRTYPE, entry.mode
                    info.uid, info.gid = entry.uid, entry.gid
                    tar.addfile(info)
                case Link():
                    info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, entry.target
                    tar.addfile(info)
                case File(source=bytes() as content):
                    info.mode, info.size = entry.mode, len(content)
                    tar.addfile(info, io.BytesIO(content))
                case File(source=Path() as source):
                    with source.open("rb") as content_file:
                        info.mode, info.size = entry.mode, os.fstat(content_file.fileno()).st_size
                        tar.addfile(info, content_file)
    return hashing.hexdigest()


def write_archive(images: Sequence[Image], target: Path) -> None:
    """Write the images into one docker-archive; a layer that several share is stored once.

    The file appears under its name only when it is complete, so that an interrupted build is
    never taken for a finished one.
    """
    partial = target.with_name(target.name + ".partial")
    manifest: list[dict[str, object]] = []
    stored: dict[tuple[Entry, ...], str] = {}
    names: set[str] = set()
    with tarfile.open(partial, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for image in images:
            digests: list[str] = []
            for layer in image.layers:
                key = tuple(layer)
                if key not in stored:
                    stored[key] = _store_layer(tar, layer, partial, names)
                digests.append(stored[key])
            content = _config_json(image.config, digests)
            config_name = f"{hashlib.sha256(content).hexdigest()}.json"
            _store_bytes(tar, config_name, content, names)
            manifest.append(
                {
                    "Config": config_name,
                    "RepoTags": list(image.names),
                    "Layers": [f"{digest}.tar" for digest in digests],
                }
            )
        _store_bytes(tar, "manifest.json", json.dumps(manifest).encode(), names)
    partial.replace(target)


def _store_layer(
    tar: tarfile.TarFile, layer: Sequence[Entry], beside: Path, names: set[str]
) -> str:
    # The name of a layer is its digest, which is known only after it was written once.
    scratch = beside.with_name(beside.name + ".layer")
    try:
        with scratch.open("wb") as stream:
            digest = write_layer(layer, stream)
        name = f"{digest}.tar"
        if name not in names:
            names.add(name)
            info = _header(name)
            info.mode, info.size = 0o644, scratch.stat().st_size
            with scratch.open("rb") as stream:
                tar.addfile(info, stream)
    finally:
        scratch.unlink(missing_ok=True)
    return digest


def _store_bytes(tar: tarfile.TarFile, name: str, content: bytes, names: set[str]) -> None:
    if name in names:
        return
    names.add(name)
    info = _header(name)
    info.mode, info.size = 0o644, len(content)
    tar.addfile(info, io.BytesIO(content))


def _config_json(config: Config, digests: Sequence[str]) -> bytes:
    runtime: dict[str, object] = {"WorkingDir": "/"}
    if config.entrypoint:
        runtime["Entrypoint"] = list(config.entrypoint)
    if config.env:
        runtime["Env"] = [f"{name}={value}" for name, value in sorted(config.env.items())]
    if config.user:
        runtime["User"] = config.user
    document = {
        "architecture": architecture(),
        "os": "linux",
        "config": runtime,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    return json.dumps(document, sort_keys=True).encode()


def _normal(path: str) -> str:
    return str(PurePosixPath(path.lstrip("/")))


def _header(path: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.mtime = 0  # a time stamp would make every build a different image
    return info


class _HashingWriter(io.RawIOBase):
    """Pass bytes on and keep their digest."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._digest.update(data)
        return self._stream.write(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
