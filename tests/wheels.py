"""mynamo's wheel: building it, and a virtual environment with it and what it asks for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def build_wheel(source: Path) -> Path:
    """Build a wheel as a build server would.

    Args:
        source: an empty folder for the sources.
    """
    shutil.copytree(
        ROOT / "mynamo", source / "mynamo", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "LICENSE", "docs/package.md"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    build = "import setuptools.build_meta as b; b.build_wheel('dist')"
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.mkdir('dist'); {build}"],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = (source / "dist").glob("*.whl")
    return built


def install_alone(wheel: Path, extra: str, folder: Path) -> Path:
    """Make a virtual environment with a wheel, and of the packages that are installed here those
    that it asks for and no others.

    Args:
        extra: of the wheel.
        folder: of the environment, which is made.

    Returns:
        The folder of its programs.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    there = Path(
        sysconfig.get_path("purelib", "venv", {"base": str(folder), "installed_base": str(folder)})
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
    (own,) = Distribution.discover(name="mynamo", path=[str(there)])
    for found in _asked_for(own, {extra}, set()):
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (there / top).exists() and not top.endswith(".pth"):
                (there / top).symlink_to(Path(str(found.locate_file(top))).resolve())
    subprocess.run([*pip, "check"], check=True, stdout=subprocess.DEVNULL)
    return python.parent


def _asked_for(asking: Distribution, extras: set[str], seen: set[str]) -> Iterator[Distribution]:
    """The packages that one needs, and that these need."""
    for requirement in map(Requirement, asking.requires or ()):
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            continue
        wanted = f"{requirement.name}[{','.join(sorted(requirement.extras))}]"
        if wanted in seen:
            continue
        seen.add(wanted)
        itself = requirement.name == asking.name
        found = asking if itself else distribution(requirement.name)
        if not itself:
            yield found
        yield from _asked_for(found, requirement.extras, seen)
