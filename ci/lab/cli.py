"""The lab's verbs and options; each verb is a few lines that call the module which does it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from .settings import CNI_MODES, DEFAULT_NAME, LabError, cache_folder, load, locked, obtain

ENGINES = ("gatekeeper", "opa")


def main(argv: Sequence[str]) -> int:
    """Run one verb; the exit status is 0 when the lab is as asked for."""
    options = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = options.run
    try:
        return verb(options)
    except LabError as problem:
        print(f"zt-lab: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("zt-lab: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _up(options: argparse.Namespace) -> int:
    from .boot import up

    _need_root()
    _check_scenario(options.scenario)
    # Only now, so that a lab is not entered into the books before it can be made.
    without = set(options.without)
    lab = obtain(
        options.name,
        with_mesh="mesh" not in without,
        with_admission="admission" not in without,
        cni=options.cni,
    )
    with _lab_lock(options.name):
        up(lab, options.scenario, _stamped())
    return 0


def _down(options: argparse.Namespace) -> int:
    from .teardown import down

    _need_root()
    with _lab_lock(options.name):
        down(options.name, _stamped())
    return 0


def _status(options: argparse.Namespace) -> int:
    from .status import report

    text, healthy = report(load(options.name))
    print(text)
    return 0 if healthy else 1


def _logs(options: argparse.Namespace) -> int:
    from .status import log_file

    path = log_file(load(options.name), options.component)
    command = ["tail", f"--lines={options.lines}", str(path)]
    if options.follow:
        command.insert(1, "--follow=name")
    os.execvp(command[0], command)


def _kubeconfig(options: argparse.Namespace) -> int:
    path = load(options.name).kubeconfig
    if not path.exists():
        raise LabError(f"lab {options.name!r} has no kubeconfig yet; run: ci/zt-lab up")
    print(path)
    return 0


def _build(options: argparse.Namespace) -> int:
    from . import build, packages

    _need_root()
    packages.ensure(_stamped())
    build.ensure(cache_folder(), _stamped(), everything=options.all)
    return 0


def _scenario(options: argparse.Namespace) -> int:
    from .goal import Goal, reach

    _check_scenario(options.scenario)
    lab = load(options.name)
    with _lab_lock(options.name):
        reach(lab, Goal(options.scenario, options.engine))
    return 0


def _check_scenario(name: str | None) -> None:
    from .scenario import NAMES

    if name is not None and name not in NAMES:
        raise LabError(f"unknown scenario {name!r}; one of: {', '.join(NAMES)}")


def _lab_lock(name: str) -> AbstractContextManager[None]:
    return locked(f"lab-{name}", wait=False, busy=f"another zt-lab command is changing lab {name}")


def _need_root() -> None:
    if os.geteuid() != 0:
        raise LabError("this needs root (namespaces, links, cgroups)")


def _stamped() -> Callable[[str], None]:
    begun = time.monotonic()

    def log(text: str) -> None:
        print(f"[{time.monotonic() - begun:6.1f} s] {text}", flush=True)

    return log


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zt-lab", description="A real two-node Kubernetes cluster on this machine."
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--name", default=DEFAULT_NAME, help="which lab, where several run (default: %(default)s)"
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(
        name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, parents=[common], help=text, description=text)
        made.set_defaults(run=run)
        return made

    up = verb("up", _up, "bring the lab up, or back to health; does nothing to a healthy lab")
    up.add_argument(
        "--without",
        action="append",
        default=[],
        choices=("mesh", "admission"),
        metavar="PART",
        help="leave out 'mesh' or 'admission' for a faster start (repeatable)",
    )
    up.add_argument(
        "--cni",
        default="cilium",
        choices=CNI_MODES,
        help="'ptp' gives a network in which no policy is enforced (default: %(default)s)",
    )
    up.add_argument("--scenario", help="the scenario to apply in the end (default: hardened)")

    verb("down", _down, "take the lab away: processes, namespaces, links, mounts, cgroups, state")
    verb("status", _status, "show every component and node; exit status 0 when all is well")
    logs = verb("logs", _logs, "print a component's log")
    logs.add_argument("component", metavar="NAME", help="a component's name as `status` shows it")
    logs.add_argument("-f", "--follow", action="store_true", help="go on printing")
    logs.add_argument("-n", "--lines", type=int, default=200, help="how many (%(default)s)")
    verb("kubeconfig", _kubeconfig, "print the path of the administrator's kubeconfig")
    build = verb("build", _build, "build what the cache lacks, without starting anything")
    build.add_argument("--all", action="store_true", help="also what only comparisons need")
    scenario = verb("scenario", _scenario, "bring the running lab to a scenario from any other")
    scenario.add_argument("scenario", metavar="NAME", help="open, reference or hardened")
    scenario.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="which admission webhook serves the rules (default: %(default)s)",
    )
    return parser
