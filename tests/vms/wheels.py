"""The mesh as hosts without a way out install it: from a wheelhouse.

Its dependencies are kept in the test cache, as are a virtual environment with them in a layer for
hosts (see :mod:`tests.vms.host`); both are made again when the lock changes.  The mesh's own wheel
is built for each test session from the sources as they are.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from tests.vms import host

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION: Final = str(PROJECT["version"])
PLACE: Final = f"/opt/mesh/{VERSION}"
"""Where the mesh is installed in a host."""

_SOURCES: Final = ("mesh", "systemd", "pyproject.toml", "README.md")
_GLIBC: Final = range(36, 4, -1)
"""That of Debian 12, the oldest that hosts have, and those whose wheels work there."""
_PIN: Final = re.compile(r"^[\w.-]+==[^\s\\]+(?: *;[^\\]*)?", re.MULTILINE)
_PIP: Final = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
_INSTALL: Final = f"""
python3 -m venv --clear {PLACE}
{PLACE}/bin/pip --quiet --disable-pip-version-check install --no-index --find-links /mnt \\
  $(cd /mnt && ls | sed -n 's/^consul_mesh-.*/\\/mnt\\/&[vault,ratelimit]/p')
"""
_RENEW: Final = f"""
{PLACE}/bin/pip --quiet --disable-pip-version-check install \\
  --no-index --no-deps --force-reinstall /mnt/consul_mesh-*.whl
ln -sfn {VERSION} /opt/mesh/current
ln -sfn /opt/mesh/current/bin/mesh /usr/local/bin/mesh
adduser --system --group --quiet --no-create-home --home /var/lib/mesh mesh
install -d -m 0750 -o root -g mesh /etc/mesh
cp {PLACE}/share/mesh/systemd/* /etc/systemd/system/
"""


async def wheelhouse(directory: Path) -> Path:
    """Put the mesh's wheel and those of all that it needs into ``directory``, which is there."""
    wheel = await _build(directory)
    with host.one_at_a_time("wheels"):
        dependencies = await _dependencies(wheel)
    for each in dependencies.iterdir():
        try:
            os.link(each, directory / each.name)
        except OSError:  # another file system
            shutil.copy(each, directory)
    return directory


async def layers(wheels: Path, directory: Path) -> list[Path]:
    """Return the layers of a host on which the mesh is installed, with user and units.

    Args:
        wheels: the wheelhouse.
        directory: where the layer with the mesh itself may be.

    """
    base = await host.script("base", within=600)
    recipe = hashlib.sha256(f"{_locked()} {base} {_INSTALL}".encode()).hexdigest()[:12]
    environment = host.CACHE / "vms" / f"environment-{VERSION}-{recipe}"
    with host.one_at_a_time("environment"):
        if not environment.exists():
            new = host.owned("environment")
            await _layer(new, wheels, [], _INSTALL)
            new.rename(environment)
    await _layer(directory, wheels, [environment / "upper"], _RENEW)
    return [environment / "upper", directory / "upper"]


async def _layer(directory: Path, wheels: Path, below: list[Path], commands: str) -> None:
    shell = ("--", "sh", "-euc", commands)
    await host.script("layer", str(directory), str(wheels), *map(str, below), *shell, within=300)


async def _build(directory: Path) -> Path:
    with tempfile.TemporaryDirectory() as sources:
        for each in _SOURCES:
            copy = shutil.copytree if (ROOT / each).is_dir() else shutil.copy
            copy(ROOT / each, Path(sources, each))
        build = "import sys, setuptools.build_meta as b; print(b.build_wheel(sys.argv[1]))"
        words = ("env", "-C", sources, sys.executable, "-c", build, str(directory))
        name = (await host.run(*words)).split()[-1]
    return directory / name


async def _dependencies(wheel: Path) -> Path:
    kept = host.CACHE / f"wheels-{_locked()}"
    if kept.exists():
        return kept
    base = Path(await host.script("base", within=600))
    version = (await host.run("chroot", str(base), "python3", "-V")).split()[1]
    machine = os.uname().machine
    new = host.owned("wheels")
    new.mkdir(parents=True)
    pins = new / "pins.txt"
    locked = list(_pins(version))
    pins.write_text("".join(f"{each.name}{each.specifier}\n" for each in locked))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC]
    # pip asks markers of the Python that runs it: what only the hosts' needs is asked for by name.
    asked = [f"{each.name}{each.specifier}" for each in locked if "python_" in str(each.marker)]
    await host.run(
        *(*_PIP, "download", "--only-binary=:all:", "--dest", str(new)),
        *("--python-version", version, "--constraint", str(pins)),
        *(f"--platform={each}" for each in (*platforms, f"manylinux2014_{machine}")),
        f"{wheel}[vault,ratelimit]",
        *asked,
        within=600,
    )
    pins.unlink()
    (new / wheel.name).unlink()
    new.rename(kept)
    return kept


def _pins(version: str) -> Iterator[Requirement]:
    """Return what the lock says for a host with Python ``version``."""
    full = {"python_full_version": version, "python_version": version.rpartition(".")[0]}
    for each in map(Requirement, _PIN.findall((ROOT / "requirements.lock").read_text())):
        if each.marker is None or each.marker.evaluate(full):
            yield each


def _locked() -> str:
    """Return what the dependencies depend on, in short."""
    needs = [PROJECT["dependencies"], PROJECT["optional-dependencies"]]
    lock = (ROOT / "requirements.lock").read_text()
    return hashlib.sha256(f"{needs} {lock}".encode()).hexdigest()[:12]
