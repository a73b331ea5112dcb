"""The third-party programs: pinned Go modules, built once into the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .gotool import go_environment, go_program, go_version
from .settings import LabError, cache_folder, locked

MODULES = Path(__file__).parent / "modules"


@dataclass(frozen=True)
class Component:
    """One Go module whose programs the lab runs."""

    name: str
    module: str
    tags: str = ""
    # Linker settings "variable=value"; {version}, {major} and {minor} are filled in.
    variables: tuple[str, ...] = ()
    optional: bool = False

    @property
    def folder(self) -> Path:
        """Where go.mod, go.sum and the list of programs are."""
        return MODULES / self.name

    @property
    def version(self) -> str:
        """The pinned version without its leading v."""
        text = (self.folder / "go.mod").read_text()
        found = re.search(rf"^\s*(?:require )?{re.escape(self.module)} v(\S+)", text, re.MULTILINE)
        if not found:
            raise LabError(f"{self.folder / 'go.mod'} does not require {self.module}")
        return found[1]

    @property
    def packages(self) -> tuple[str, ...]:
        """The program packages, which are the blank imports of tools.go."""
        text = (self.folder / "tools.go").read_text()
        return tuple(re.findall(r'^\s*_ "([^"]+)"', text, re.MULTILINE))

    @property
    def programs(self) -> tuple[str, ...]:
        """The file names that `go build` gives to the programs."""
        return tuple(_program_name(package) for package in self.packages)

    def flags(self) -> list[str]:
        """The arguments of `go build` that decide what comes out."""
        major, minor, *_ = [*self.version.split("."), "0"]
        settings = ["-s", "-w"]
        for variable in self.variables:
            filled = variable.format(version=self.version, major=major, minor=minor)
            settings += ["-X", filled]
        flags = ["-mod=readonly", "-trimpath", "-ldflags", " ".join(settings)]
        return [*flags, "-tags", self.tags] if self.tags else flags


COMPONENTS: tuple[Component, ...] = (
    Component(
        "kubernetes",
        "k8s.io/kubernetes",
        variables=(
            # Without these the nodes report v0.0.0.
            "k8s.io/component-base/version.gitVersion=v{version}",
            "k8s.io/component-base/version.gitMajor={major}",
            "k8s.io/component-base/version.gitMinor={minor}",
        ),
    ),
    Component(
        "cilium",
        "github.com/cilium/cilium",
        tags="ipam_provider_operator",
        variables=("github.com/cilium/cilium/pkg/version.ciliumVersion={version}",),
    ),
    Component(
        "istio",
        "istio.io/istio",
        tags="vtprotobuf,disable_pgv",
        variables=("istio.io/istio/pkg/version.buildVersion={version}",),
    ),
    Component(
        "gatekeeper",
        "github.com/open-policy-agent/gatekeeper/v3",
        variables=("github.com/open-policy-agent/gatekeeper/v3/pkg/version.Version=v{version}",),
    ),
    Component("coredns", "github.com/coredns/coredns"),
    Component("helm", "helm.sh/helm/v4"),
    Component("opa", "github.com/open-policy-agent/opa"),
    Component("cyclonus", "github.com/mattfenwick/cyclonus", optional=True),
    Component("agnhost", "k8s.io/kubernetes", optional=True),
)


def component(name: str) -> Component:
    """The component of this name."""
    for candidate in COMPONENTS:
        if candidate.name == name:
            return candidate
    raise LabError(f"unknown component {name!r}")


def program(lab_cache: Path, component_name: str, name: str) -> Path:
    """The path of a built program."""
    found = component(component_name)
    if name not in found.programs:
        raise LabError(f"{component_name} has no program {name!r}: {', '.join(found.programs)}")
    # Any Go version will do here, so that a filled cache serves where Go is not installed.
    built = sorted(
        _shelf(lab_cache, found).glob(f"{_fingerprint(found)}-*"), key=lambda p: p.stat().st_mtime
    )
    if not built:
        raise LabError(f"{component_name} is not built yet; run: ci/zt-lab build")
    return built[-1] / name


def module_dir(component_name: str) -> Path:
    """The source folder of the pinned module, fetched alone if it is not there."""
    found = component(component_name)
    cache = cache_folder()
    done = subprocess.run(
        [str(go_program(cache)), "mod", "download", "-json", found.module],
        cwd=found.folder,
        env=go_environment(cache),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"cannot fetch the module {found.module}: {done.stderr.strip()}")
    return Path(json.loads(done.stdout)["Dir"])


def ensure(
    cache: Path, log: Callable[[str], None], *, everything: bool = False, names: Sequence[str] = ()
) -> None:
    """Build what the cache lacks."""
    wanted = [
        item
        for item in COMPONENTS
        if (item.name in names if names else everything or not item.optional)
    ]
    version = go_version(cache)
    missing = [item for item in wanted if not _shelf_place(cache, item, version).exists()]
    begun = time.monotonic()
    for count, item in enumerate(missing, start=1):
        title = f"component {count} of {len(missing)}: {item.name} {item.version}"
        # Another `up` may be building the same thing: wait for it, then look again.
        with locked(f"build-{item.name}"):
            if _shelf_place(cache, item, version).exists():
                continue
            log(f"{title}, elapsed {_clock(begun)}")
            _build(cache, item, version, title, log)
            log(f"{title}: built, elapsed {_clock(begun)}")


def _build(
    cache: Path, item: Component, version: str, title: str, log: Callable[[str], None]
) -> None:
    place = _shelf_place(cache, item, version)
    for leftover in place.parent.glob("partial-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            # What a failed build said.
            leftover.unlink()
    partial = place.parent / f"partial-{os.getpid()}"
    partial.mkdir(parents=True)
    errors = partial.with_suffix(".log")
    begun = time.monotonic()
    command = [str(go_program(cache)), "build", *item.flags(), "-o", f"{partial}/", *item.packages]
    with errors.open("w") as stream:
        running = subprocess.Popen(
            command,
            cwd=item.folder,
            env=go_environment(cache),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
        try:
            while True:
                try:
                    status = running.wait(timeout=30)
                    break
                except subprocess.TimeoutExpired:
                    log(f"{title}, building for {_clock(begun)}")
        except BaseException:
            running.terminate()
            running.wait(timeout=30)
            raise
    if status != 0:
        tail = "\n".join(errors.read_text(errors="replace").splitlines()[-20:])
        raise LabError(f"building {item.name} failed (exit status {status}):\n{tail}")
    absent = [name for name in item.programs if not (partial / name).exists()]
    if absent:
        raise LabError(f"building {item.name} did not produce {', '.join(absent)}")
    errors.unlink()
    partial.rename(place)


def _fingerprint(item: Component) -> str:
    digest = hashlib.sha256()
    for part in (
        (item.folder / "go.mod").read_bytes(),
        (item.folder / "go.sum").read_bytes(),
        "\0".join([*item.flags(), *item.packages]).encode(),
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _shelf(cache: Path, item: Component) -> Path:
    return cache / "programs" / item.name


def _shelf_place(cache: Path, item: Component, version: str) -> Path:
    return _shelf(cache, item) / f"{_fingerprint(item)}-{version}"


def _program_name(package: str) -> str:
    *_, parent, last = ["", *package.split("/")]
    # As the go command does: a major version suffix is not a name.
    return parent if re.fullmatch(r"v\d+", last) else last


def _clock(since: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - since), 60)
    return f"{minutes} min {seconds:02d} s"
