"""The store: what a transaction undoes, and what it says changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.embedded import catalog, kv
from mesh.embedded.errors import RefusedError
from mesh.embedded.records import Check, Node, Pair, Record, Service
from mesh.embedded.store import Store, Transaction
from mesh.embedded.tables import Key

NAMES = st.sampled_from("abc")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["node", "service", "check", "kv", "unnode", "unservice", "unkv"]),
        NAMES,
        NAMES,
        st.integers(0, 2),
    ),
    max_size=12,
)
Step = tuple[str, str, str, int]


def apply(tx: Transaction, step: Step) -> None:
    what, first, second, number = step
    match what:
        case "node":
            catalog.put_node(tx, Node(name=first, address=f"10.0.0.{number}"))
        case "service":
            catalog.put_service(tx, Service(node=first, id=second, name=second, port=number))
        case "check":
            status = ["passing", "warning", "critical"][number]
            service = second if number else ""
            check = Check(node=first, id=second, name="c", status=status, service_id=service)
            catalog.put_check(tx, check)
        case "kv":
            kv.put(tx, Pair(name=f"{first}/{second}", value=bytes([number])))
        case "unnode":
            catalog.delete_node(tx, first)
        case "unservice":
            catalog.delete_service(tx, first, second)
        case "unkv":
            kv.delete_tree(tx, first)


def run(store: Store, steps: list[Step]) -> None:
    with store.transaction() as tx:
        for step in steps:
            try:
                apply(tx, step)
            except RefusedError:
                continue


def fail(store: Store, steps: list[Step]) -> None:
    with store.transaction() as tx:
        for step in steps:
            try:
                apply(tx, step)
            except RefusedError:
                continue
        raise ZeroDivisionError


def picture(store: Store) -> object:
    indexes = {
        (table.name, name): {key: set(keys) for key, keys in index.found.items()}
        for table in store.tables
        for name, index in table.indexes.items()
    }
    rows = {table.name: dict(table.rows) for table in store.tables}
    return rows, indexes, [pair.name for pair in store.kv.scan("")]


@given(STEPS, STEPS)
def test_a_failed_transaction_leaves_no_trace(before: list[Step], failing: list[Step]) -> None:
    store = Store()
    run(store, before)
    expected, index = picture(store), store.index

    with pytest.raises(ZeroDivisionError):
        fail(store, failing)

    assert picture(store) == expected
    assert store.index == index


@given(st.lists(STEPS, max_size=4))
def test_the_rows_a_transaction_reports_rebuild_the_store(batches: list[list[Step]]) -> None:
    store = Store()
    rows: dict[tuple[str, Key], Record | None] = {}
    for steps in batches:
        with store.transaction() as tx:
            for step in steps:
                try:
                    apply(tx, step)
                except RefusedError:
                    continue
        rows.update(tx.changes.rows)

    rebuilt = Store()
    rebuilt.load((name, record) for (name, _), record in rows.items() if record is not None)

    assert picture(rebuilt) == picture(store)


@given(STEPS)
def test_doing_it_all_again_reports_nothing_for_registrations(steps: list[Step]) -> None:
    settled = {(step[0], step[1], step[2]): step for step in steps if not step[0].startswith("un")}
    ordered = sorted(settled.values(), key=lambda s: ("node", "service", "check", "kv").index(s[0]))
    store = Store()
    last = list({(step[0], step[1]): step for step in ordered if step[0] == "node"}.values())
    ordered = last + [step for step in ordered if step[0] != "node"]
    run(store, ordered)
    index = store.index
    run(store, ordered)
    assert store.index == index
