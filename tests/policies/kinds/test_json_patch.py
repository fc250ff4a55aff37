"""JSON Patch, as the library does it: what RFC 6902 says, and how its refusals are told."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from mesh.policies.kinds.proxy_patch.json_patch import Edit, JsonPatchError, check_pointer, patched


def edit(op: str, path: str, value: Any = None, source: str = "") -> Edit:
    return Edit(op, path, json.dumps(value), source)


@pytest.mark.parametrize(
    ("document", "edits", "expected"),
    [
        pytest.param({"a": 1}, [edit("add", "/b", 2)], {"a": 1, "b": 2}, id="member-added"),
        pytest.param({"a": [1, 3]}, [edit("add", "/a/1", 2)], {"a": [1, 2, 3]}, id="item-added"),
        pytest.param({"a": 1, "b": 2}, [edit("remove", "/b")], {"a": 1}, id="member-removed"),
        pytest.param({"a": [1, 2]}, [edit("remove", "/a/0")], {"a": [2]}, id="item-removed"),
        pytest.param({"a": 1}, [edit("replace", "/a", [2])], {"a": [2]}, id="value-replaced"),
        pytest.param(
            {"a": {"x": 1}, "b": {}},
            [edit("move", "/b/y", source="/a/x")],
            {"a": {}, "b": {"y": 1}},
            id="member-moved",
        ),
        pytest.param(
            {"a": [1, 2, 3]},
            [edit("move", "/a/2", source="/a/0")],
            {"a": [2, 3, 1]},
            id="item-moved",
        ),
        pytest.param(
            {"a": "x", "b": [1, 2.0]},
            [edit("test", "/a", "x"), edit("test", "/b", [1.0, 2])],
            {"a": "x", "b": [1, 2.0]},
            id="test-passed",
        ),
        pytest.param({}, [edit("add", "/a", {"b": {}})], {"a": {"b": {}}}, id="nested-added"),
        pytest.param(
            {"/": 1, "~1": 2},
            [edit("test", "/~01", 2), edit("test", "/~1", 1)],
            {"/": 1, "~1": 2},
            id="escapes-in-order",
        ),
        pytest.param({"a": [1]}, [edit("add", "/a/-", [2])], {"a": [1, [2]]}, id="list-appended"),
        pytest.param({"a": 1}, [edit("add", "/a", 2)], {"a": 2}, id="member-overwritten"),
        pytest.param({"a": 1}, [edit("replace", "", [])], [], id="everything-replaced"),
        pytest.param(
            {"a": {"x": 1}},
            [edit("copy", "/b", source="/a"), edit("add", "/b/y", 2)],
            {"a": {"x": 1}, "b": {"x": 1, "y": 2}},
            id="copied-by-value",
        ),
        pytest.param({"a": 1}, [edit("move", "/a", source="/a")], {"a": 1}, id="moved-to-itself"),
        pytest.param({"": 1}, [edit("replace", "/", 2)], {"": 2}, id="empty-name"),
        pytest.param({"a": [1]}, [edit("replace", "/a/0", 2)], {"a": [2]}, id="item-replaced"),
    ],
)
def test_what_becomes_of_a_document(document: Any, edits: list[Edit], expected: Any) -> None:
    before = copy.deepcopy(document)
    assert patched(edits, document) == expected
    assert document == before


@pytest.mark.parametrize(
    ("document", "wrong", "message"),
    [
        ({"a": "x"}, edit("test", "/a", "y"), "is not equal to tested value y"),
        ({"a": 10}, edit("test", "/a", "10"), "is not equal to tested value 10"),
        ({"a": 1}, edit("test", "/a", value=True), "is not equal to tested value True"),
        ({"a": 1}, edit("add", "/b/c", 1), "member 'b' not found"),
        ({"a": 1}, edit("add", "/a/c", 1), "does not support indexing"),
        ({"a": [1]}, edit("add", "/a/2", 1), "outside of list"),
        ({"a": [1]}, edit("add", "/a/01", 1), "'01' is not a valid sequence index"),
        ({"a": [1]}, edit("remove", "/a/-"), "invalid array index '-'"),
        ({"a": []}, edit("remove", "/a/0"), "non-existent object '0'"),
        ({"a": 1}, edit("remove", "/b"), "non-existent object 'b'"),
        ({"a": 1}, edit("replace", "/b", 2), "non-existent object 'b'"),
        ({"a": {}}, edit("move", "/a/b", source="/a"), "into their own children"),
        ({"a": 1}, edit("copy", "/b", source="/c"), "copy /c to /b"),
        ({"a": 1}, edit("merge", "/a"), "Unknown operation 'merge'"),
    ],
)
def test_what_does_not_fit_is_told(document: Any, wrong: Edit, message: str) -> None:
    before = copy.deepcopy(document)
    with pytest.raises(JsonPatchError, match=r"jsonPatches\[1\]") as refused:
        patched([edit("add", "/z", 0), wrong], document)
    assert message in str(refused.value)
    assert document == before


@pytest.mark.parametrize("text", ["a", "/~", "/~2"])
def test_a_bad_pointer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no JSON Pointer"):
        check_pointer(text)
