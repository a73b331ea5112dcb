"""Take the files of Debian packages, as entries of an image layer."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from .archive import Directory, Entry, File, Link, merged

# What nobody reads in a container. Character set tables (gconv) are the C library's; Python
# brings its own.
_UNUSED = re.compile(
    r"(etc|var|usr/share)/"
    r"|usr/lib/[^/]+/(gconv|audit)/"
    r"|usr/lib/python3[^/]*/(test|idlelib|lib2to3|ensurepip|tkinter|turtledemo|pydoc_data)/"
)

# The C library and the interpreter with what it links to: all that a program in plain Python
# needs, whichever Python and OpenSSL the distribution ships.
PYTHON = re.compile(
    r"(lib)?python3\.\d+-(minimal|stdlib)|libc6|libgcc-s1|libssl\d+(t64)?|zlib1g|libexpat1"
    r"|libffi\d+|libbz2-1\.0|liblzma5|libcrypt1|libuuid1"
)
C_LIBRARY = re.compile(r"libc6|libgcc-s1")
SHELL_BOX = re.compile(r"busybox-static")


def fetch(
    cache: Path, root: str, wanted: re.Pattern[str], log: Callable[[str], None]
) -> list[Path]:
    """The package files of `root` and of what it depends on, as far as their names match.

    Packages are downloaded once and then kept: a security update in the distribution does not
    silently make tomorrow's lab a different one.
    """
    key = hashlib.sha256(f"{root} {wanted.pattern}".encode()).hexdigest()[:12]
    folder = cache / "debian" / f"{root}-{key}"
    if not folder.is_dir():
        names = _names(root, wanted)
        log(f"downloading {len(names)} Debian packages: {' '.join(names)}")
        partial = folder.with_name(folder.name + ".partial")
        partial.mkdir(parents=True, exist_ok=True)
        # The download user of apt may not enter the folder; root may.
        command = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "-qq", *names]
        subprocess.run(command, cwd=partial, check=True)
        partial.replace(folder)
    return sorted(folder.glob("*.deb"))


def entries(packages: Iterable[Path]) -> list[Entry]:
    """The files of the packages, without what no container uses."""
    found: list[Entry] = []
    for package in packages:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE
        ) as reader:
            assert reader.stdout is not None
            with tarfile.open(fileobj=reader.stdout, mode="r|") as tar:
                found += read_tar(tar)
        if reader.returncode:
            raise RuntimeError(f"{package} cannot be read as a Debian package")
    return found


def read_tar(tar: tarfile.TarFile) -> list[Entry]:
    """The entries of an open tar stream whose paths are of use in a container."""
    found: list[Entry] = []
    for member in tar:
        path = merged(member.name)
        if path == "." or _UNUSED.match(path + "/"):
            continue
        if member.isdir():
            found.append(Directory(path, member.mode))
        elif member.issym():
            found.append(Link(path, member.linkname))
        elif member.isfile():
            stream = tar.extractfile(member)
            assert stream is not None
            found.append(File(path, stream.read(), member.mode))
        else:
            raise RuntimeError(f"{member.name} is neither a file, a link nor a directory")
    return found


def _names(root: str, wanted: re.Pattern[str]) -> Sequence[str]:
    # Names alone, of the package and everything below it; pure virtual ones are in <>.
    command = ["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests"]
    command += ["--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", root]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = {line.strip() for line in listing.splitlines() if line and not line.startswith(" ")}
    return sorted(name for name in names if wanted.fullmatch(name))
