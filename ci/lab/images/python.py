"""The Python base of our images: the distribution's own interpreter, and nothing around it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from . import debian
from .archive import Directory, Entry, File, Link, complete, merged_links

USER = 65532

_PASSWD = f"""root:x:0:0:root:/root:/sbin/nologin
probe:x:{USER}:{USER}:probe:/tmp:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
"""
_GROUP = f"""root:x:0:
probe:x:{USER}:
nogroup:x:65534:
"""
# Files first, then DNS: what the C library is told on every ordinary machine.
_NAME_SERVICES = "hosts: files dns\n"


def accounts() -> list[Entry]:
    """The files that name the users, with a writable /tmp."""
    return [
        File("etc/passwd", _PASSWD.encode()),
        File("etc/group", _GROUP.encode()),
        File("etc/nsswitch.conf", _NAME_SERVICES.encode()),
        Directory("tmp", 0o1777),
    ]


def base(cache: Path, log: Callable[[str], None]) -> list[Entry]:
    """The layer with python3, its standard library compiled, and the C library."""
    packages = debian.fetch(cache, "python3", debian.PYTHON, log)
    found = complete([*merged_links(), *debian.entries(packages), *accounts()])
    interpreter = max(
        entry.path
        for entry in found
        if isinstance(entry, File) and entry.path.startswith("usr/bin/python3.")
    )
    found.append(Link("usr/bin/python3", interpreter.rpartition("/")[2]))
    return [*found, *_compiled(found, f"/{interpreter}")]


def _compiled(entries: Iterable[Entry], interpreter: str) -> list[Entry]:
    # Packages compile the library when they are installed, which nobody does here. Without it
    # every start of Python in a container with a read-only root compiles all it imports.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        unpack(entries, root)
        library = f"/usr/lib/{interpreter.rpartition('/')[2]}"
        command = ["chroot", folder, interpreter, "-s", "-S", "-m", "compileall", "-qq"]
        command += ["--invalidation-mode", "unchecked-hash", library]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})
        return [
            File(str(path.relative_to(root)), path.read_bytes())
            for path in sorted(root.glob(f"{library[1:]}/**/__pycache__/*.pyc"))
        ]


def unpack(entries: Iterable[Entry], root: Path) -> None:
    """Write entries below a folder."""
    for entry in complete(entries):
        place = root / entry.path
        match entry:
            case Directory():
                place.mkdir(exist_ok=True)
            case Link():
                place.symlink_to(entry.target)
            case File(source=bytes() as content):
                place.write_bytes(content)
                place.chmod(entry.mode)
            case File(source=Path() as source):
                place.write_bytes(source.read_bytes())
                place.chmod(entry.mode)
