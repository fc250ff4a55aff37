"""``/v1/txn``: up to 64 operations on keys, nodes, services and checks, all or none.

Every operation that fails is named; one failure undoes all.
"""

from __future__ import annotations

from http import HTTPStatus

from mesh.embedded import verbs
from mesh.embedded.decode import Body
from mesh.embedded.errors import RefusedError
from mesh.embedded.store import Transaction
from mesh.embedded.verbs import Operation, Results, Surroundings

LIMIT = 64


class TransactionFailedError(Exception):
    """Some operations failed and none was done; ``failures`` are (place, reason)."""

    def __init__(self, failures: list[tuple[int, str]]) -> None:
        """Keep the failures."""
        super().__init__(f"{len(failures)} operations failed")
        self.failures = failures


def read(raw: object) -> list[Operation]:
    """Read the list of operations.

    Raises:
        RefusedError: it is not a list of objects, or too long.

    """
    if not isinstance(raw, list):
        raise RefusedError(
            "Failed to parse body: expected a list of operations", HTTPStatus.BAD_REQUEST
        )
    if len(raw) > LIMIT:
        raise RefusedError(
            f"Transaction contains too many operations ({len(raw)} > {LIMIT})",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )
    operations = []
    for item in raw:
        body = Body(item)
        for table in verbs.APPLY:
            if table in body:
                inner = body.body(table)
                operations.append(Operation(table, inner.text("Verb"), inner))
                break
    return operations


def apply(tx: Transaction, operations: list[Operation], surroundings: Surroundings) -> Results:
    """Do every operation and return what each has to show.

    Raises:
        TransactionFailedError: at least one cannot be done.

    """
    results: Results = []
    failures: list[tuple[int, str]] = []
    for place, operation in enumerate(operations):
        try:
            results += verbs.APPLY[operation.table](tx, operation, surroundings)
        except RefusedError as error:
            failures.append((place, str(error)))
    if failures:
        raise TransactionFailedError(failures)
    return results


def decode_values(operations: list[Operation]) -> None:
    """Refuse, before anything is done, values that are not base64."""
    for operation in operations:
        if operation.table == "KV":
            verbs.value(operation.body)
