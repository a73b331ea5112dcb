"""Container images made on the spot, since there is no registry to pull them from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from ..settings import locked
from .archive import architecture, write_archive
from .recipes import PAUSE, Recipe, wanted

__all__ = ["PAUSE", "ensure"]

SOURCES = Path(__file__).parent


def ensure(cache: Path, log: Callable[[str], None], mesh: bool, admission: bool) -> list[Path]:
    """The archives with all images of such a lab, built where they are missing.

    The archive with the sandbox image comes first.
    """
    shelf = cache / "images"
    shelf.mkdir(parents=True, exist_ok=True)
    archives: list[Path] = []
    for recipe in wanted(mesh=mesh, admission=admission):
        with locked(f"image-{recipe.name}"):
            target = shelf / f"{recipe.name}-{_key(recipe, cache, log)}.tar"
            if not target.exists():
                log(f"making image {recipe.name}")
                write_archive(recipe.images(cache, log), target)
                _discard(shelf.glob(f"{recipe.name}-*.tar"))
        archives.append(target)
    return archives


def _key(recipe: Recipe, cache: Path, log: Callable[[str], None]) -> str:
    # Programs and packages are large and never change in place, so their names, sizes and times
    # stand for them; our own sources are small and are read.
    facts: list[object] = [architecture()]
    for path in recipe.inputs(cache, log):
        state = path.stat()
        facts.append([str(path), state.st_size, state.st_mtime_ns])
    sources = sorted(SOURCES.rglob("*.py"))
    facts += [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _discard(archives: Iterable[Path]) -> None:
    # The last but one stays: a lab of another checkout may be about to import it.
    newest_first = sorted(archives, key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[2:]:
        path.unlink(missing_ok=True)
