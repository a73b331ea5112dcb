"""A filled containerd store in the cache, from which every new node gets its own.

Importing the images anew into each node would write gigabytes at every start of a lab. A
store's large files never change once they are written, so nodes share them as hard links.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import archives
from .processes import SEARCH_PATH
from .settings import LabError, locked
from .shell import run

# What containerd alters in place, which therefore no two nodes may share.
DATABASES = (
    "io.containerd.metadata.v1.bolt/meta.db",
    "io.containerd.snapshotter.v1.overlayfs/metadata.db",
)
KEPT = 4


def ensure(cache: Path, images: Sequence[Path], log: Callable[[str], None]) -> Path:
    """The store with exactly these images."""
    digests = [archives.contents(image).digest for image in images]
    key = hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]
    shelf = cache / "stores"
    place = shelf / key
    with locked("store"):
        if not place.exists():
            log(f"filling an image store with {len(images)} archives")
            _fill(shelf / "partial", images)
            (shelf / "partial").rename(place)
            _discard(shelf)
        os.utime(place)
    return place


def plant(seed: Path, place: Path) -> None:
    """Give a node its store, unless it has one."""
    if place.exists():
        return
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if seed.stat().st_dev == place.parent.stat().st_dev:
        run(["cp", "--archive", "--link", str(seed), str(partial)], timeout=300)
        for name in DATABASES:
            (partial / name).unlink()
            shutil.copy2(seed / name, partial / name)
    else:
        run(["cp", "--archive", "--reflink=auto", str(seed), str(partial)], timeout=300)
    partial.rename(place)


def _fill(place: Path, images: Sequence[Path]) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    scratch = place.with_name("scratch")
    with _containerd(place, scratch) as socket:
        for image in images:
            archives.import_into(socket, image)
            archives.remember(place, image)
    shutil.rmtree(scratch)


@contextmanager
def _containerd(root: Path, scratch: Path) -> Iterator[Path]:
    """A containerd of our own for as long as the images are imported."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    socket = scratch / "socket"
    settings = scratch / "containerd.toml"
    settings.write_text(
        f'version = 2\nroot = "{root}"\nstate = "{scratch / "state"}"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
    )
    # Its mounts are nobody else's, and it does not outlive this command.
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--", "setpriv"]
    command += ["--pdeathsig", "KILL", "containerd", f"--config={settings}"]
    with (scratch / "log").open("w") as log:
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": SEARCH_PATH}
        )
        try:
            deadline = time.monotonic() + 30
            while run(["ctr", f"--address={socket}", "version"], check=False).returncode != 0:
                if running.poll() is not None or time.monotonic() > deadline:
                    raise LabError(f"containerd does not start: {(scratch / 'log').read_text()}")
                time.sleep(0.1)
            yield socket
        finally:
            running.terminate()
            running.wait(timeout=30)


def _discard(shelf: Path) -> None:
    stores = [path for path in shelf.iterdir() if path.name not in ("partial", "scratch")]
    for old in sorted(stores, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(old)
