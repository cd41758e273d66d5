"""The package sources of this machine, and other suites of the same archives."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITE_ALIASES = ("oldstable", "stable", "testing", "unstable", "sid")


@dataclass(frozen=True)
class Source:
    """One package source.

    Attributes:
        uris: the archives, all with the same content.
        suites: such as `bookworm` and `bookworm-updates`.
        components: such as `main`.
        signed_by: path of a keyring, or a whole key; None for the machine's default keys.
    """

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str | None = None

    def deb822(self) -> str:
        """Write it the way `*.sources` files have it."""
        lines = [
            "Types: deb",
            f"URIs: {' '.join(self.uris)}",
            f"Suites: {' '.join(self.suites)}",
            f"Components: {' '.join(self.components)}",
        ]
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


def machine_sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """Read all of the machine's enabled sources of binary packages."""
    found: list[Source] = []
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))):
        found += parse_one_line(_read(path))
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        found += parse_deb822(_read(path))
    return found


def parse_one_line(text: str) -> list[Source]:
    """Read the format of `sources.list`: `deb [options] uri suite component...`."""
    found = []
    for line in text.splitlines():
        entry = re.fullmatch(
            r"deb\s+(?:\[(?P<options>[^]]*)]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>.*)",
            line.partition("#")[0].strip(),
        )
        if entry:
            options = re.search(r"signed-by=(\S+)", entry["options"] or "", re.IGNORECASE)
            signed_by = options[1] if options else None
            components = tuple(entry["rest"].split())
            found.append(Source((entry["uri"],), (entry["suite"],), components, signed_by))
    return found


def parse_deb822(text: str) -> list[Source]:
    """Read the format of `*.sources` files: paragraphs of `Field: value`."""
    found = []
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in re.split(r"\n\s*\n", kept):
        fields = _fields(paragraph)
        if "deb" in fields.get("types", "").split() and fields.get("enabled") != "no":
            found.append(
                Source(
                    tuple(fields.get("uris", "").split()),
                    tuple(fields.get("suites", "").split()),
                    tuple(fields.get("components", "").split()),
                    fields.get("signed-by"),
                )
            )
    return found


def own_suite(sources: Iterable[Source], codename: str) -> list[Source]:
    """Keep the sources of the distribution itself, with its updates and security fixes."""
    return [source for source in sources if any(_is_of(suite, codename) for suite in source.suites)]


def debian_suite(sources: Iterable[Source], codename: str, suite: str) -> Source | None:
    """Derive the source of another Debian suite from the machine's own main archive.

    Args:
        sources: the machine's.
        codename: of the release that it runs.
        suite: the wanted one.

    Returns:
        The source, to be verified against Debian's own keyring; None when the machine has
        no Debian archive among its sources.
    """
    names = (codename, *SUITE_ALIASES)
    candidates = [
        source
        for source in sources
        if "main" in source.components and any(name in names for name in source.suites)
    ]
    # Other publishers use Debian's suite names as well, but not its keyring.
    candidates.sort(key=lambda source: "debian-archive" not in (source.signed_by or ""))
    if not candidates:
        return None
    return replace(candidates[0], suites=(suite,), components=("main",), signed_by=DEBIAN_KEYRING)


def _is_of(suite: str, codename: str) -> bool:
    return re.split(r"[-/]", suite)[0] in (codename, *SUITE_ALIASES)


def _fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line[:1] in " \t" and name:
            fields[name] += "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
