"""Image archives: what they hold, and bringing them into a containerd."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from .settings import LabError
from .shell import run

NAMESPACE = "k8s.io"


@dataclass(frozen=True)
class Contents:
    """What an archive holds, told apart by the names and digests in its manifest."""

    digest: str
    tags: tuple[str, ...]


def contents(archive: Path) -> Contents:
    """Read an archive's manifest."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile("manifest.json")
        if member is None:
            raise LabError(f"{archive} is not an image archive")
        manifest = member.read()
    tags = tuple(str(tag) for image in json.loads(manifest) for tag in image["RepoTags"])
    return Contents(hashlib.sha256(manifest).hexdigest(), tags)


def import_into(socket: Path, archive: Path) -> None:
    """Import an archive into the containerd behind a socket."""
    command = ["ctr", f"--address={socket}", f"--namespace={NAMESPACE}", "images", "import"]
    run([*command, "--snapshotter=overlayfs", str(archive)], timeout=300)


def present(socket: Path) -> set[str]:
    """The names of the images in the containerd behind a socket."""
    command = ["ctr", f"--address={socket}", f"--namespace={NAMESPACE}", "images", "list"]
    return set(run([*command, "--quiet"]).stdout.split())


def remember(store: Path, archive: Path) -> None:
    """Note in a containerd's store that it has an archive's images."""
    note = _note(store, archive)
    note.parent.mkdir(exist_ok=True)
    note.touch()


def remembered(store: Path, archive: Path) -> bool:
    """Whether the store had the archive's images once."""
    return _note(store, archive).exists()


def _note(store: Path, archive: Path) -> Path:
    # Goes with the store, so that it never tells of images that went with it.
    return store / "imported" / contents(archive).digest
