"""Telling a machine from a copy of it, and never from itself after an honest change."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.agent.machine import Machine, canonical_uuid, difference, look

ID = "6f8f57715090da2632453988d9a1501b"
UUID = "4c4c4544-0051-3610-8052-b4c04f4d3332"
HERE = Machine("id", "firmware", frozenset({"02:00:00:00:00:01", "02:00:00:00:00:02"}))


def test_the_same_machine_is_the_same() -> None:
    assert difference(HERE, HERE) == ""


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(
            Machine("id", "firmware", frozenset({"02:00:00:00:00:09"})), id="every interface"
        ),
        pytest.param(Machine("id", "", frozenset({"02:00:00:00:00:01"})), id="an interface went"),
        pytest.param(
            Machine("id", "", HERE.interfaces | {"02:00:00:00:00:03"}), id="an interface came"
        ),
        pytest.param(Machine("id", "firmware"), id="no interface is up yet"),
    ],
)
def test_an_honest_change_locks_nobody_out(found: Machine) -> None:
    assert difference(HERE, found) == ""


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Machine("other", "firmware", HERE.interfaces), "machine-id"),
        (Machine("", "firmware", HERE.interfaces), "machine-id"),
        # Even with the interface of the source: it was detached there and attached here.
        (Machine("id", "other", HERE.interfaces), "firmware"),
        (Machine("id", "", frozenset({"02:00:00:00:00:09"})), "02:00:00:00:00:09"),
        (Machine("id"), "now none"),
    ],
)
def test_a_copy_is_told_by_the_first_fact_that_can(found: Machine, reason: str) -> None:
    assert reason in difference(HERE, found)


def test_what_never_had_an_id_is_bound_to_nothing() -> None:
    assert difference(Machine("", "firmware", HERE.interfaces), Machine("id", "other")) == ""


def test_a_copy_has_another_digest() -> None:
    copies = {
        HERE,
        Machine("other", "firmware", HERE.interfaces),
        Machine("id", "other", HERE.interfaces),
        Machine("id", "firmware", frozenset({"02:00:00:00:00:09"})),
    }
    assert len({each.digest() for each in copies}) == len(copies)


def test_a_record_reads_what_it_wrote() -> None:
    assert Machine.from_json(HERE.to_json()) == HERE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Not Settable",
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
    ],
)
def test_an_id_that_everybody_has_is_none(text: str) -> None:
    assert canonical_uuid(text) == ""


def test_the_byte_order_of_another_firmware_is_no_other_machine() -> None:
    swapped = "44454C4C-5100-1036-8052-B4C04F4D3332\n"
    assert canonical_uuid(swapped) == canonical_uuid(UUID) != ""


class Tree:
    """A file system as a kernel shows it."""

    def __init__(self, root: Path) -> None:
        """Begin with a machine-id."""
        self.root = root
        self.write("etc/machine-id", f"{ID}\n")

    def write(self, file: str, content: str) -> None:
        """Make a file and the folders above it."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def interface(
        self, name: str, address: str, *, kind: str = "1", assigned: str = "0", has: str = ""
    ) -> None:
        """Add a network interface; ``has`` is a folder that tells what it is."""
        for file, content in (("address", address), ("type", kind), ("addr_assign_type", assigned)):
            self.write(f"sys/class/net/{name}/{file}", f"{content}\n")
        if has:
            (self.root / f"sys/class/net/{name}/{has}").mkdir()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_devices_count_and_what_the_system_made_does_not(tree: Tree) -> None:
    tree.interface("lo", "00:00:00:00:00:00", kind="772")
    tree.interface("ens3", "52:54:00:AA:BB:CC", has="device")
    tree.interface("vf0", "de:ad:00:00:00:01", assigned="1", has="device")
    tree.interface("docker0", "02:42:ac:11:00:01", assigned="3", has="bridge")
    tree.interface("veth12", "de:ad:00:00:00:02", assigned="3")
    assert look(root=tree.root).interfaces == {"52:54:00:aa:bb:cc"}


def test_a_container_is_told_by_the_interfaces_that_it_was_given(tree: Tree) -> None:
    tree.interface("host0", "02:00:00:00:00:01", assigned="3")
    tree.interface("docker0", "02:42:ac:11:00:01", assigned="3", has="bridge")
    tree.interface("other0", "de:ad:00:00:00:02", assigned="1")
    tree.write("sys/class/dmi/id/product_uuid", UUID)
    tree.write("run/systemd/container", "systemd-nspawn")
    found = look(root=tree.root)
    assert found.interfaces == {"02:00:00:00:00:01"}
    assert found.platform == ""  # it is that of everybody on the same metal


def test_neither_id_is_kept_as_it_is(tree: Tree) -> None:
    tree.write("sys/class/dmi/id/product_uuid", UUID)
    found = look(root=tree.root)
    assert found.id
    assert found.platform
    assert not {ID, UUID} & {found.id, found.platform}


def test_a_copy_of_the_firmwares_id_does_for_who_may_not_read_it(tree: Tree) -> None:
    copy = tree.root / "credential"
    copy.write_text("\n")
    assert look(copy, tree.root).platform == ""
    copy.write_text(UUID)
    handed = look(copy, tree.root).platform
    tree.write("sys/class/dmi/id/product_uuid", UUID)
    assert look(root=tree.root).platform == handed != ""


@pytest.mark.parametrize("content", ["", "uninitialized\n", "b08dfa60"])
def test_an_image_that_was_prepared_has_no_id(tree: Tree, content: str) -> None:
    tree.write("etc/machine-id", content)
    assert look(root=tree.root).id == ""
