"""``mesh validate``: everything wrong with files, offline; and what files may hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Mesh

GOOD = """\
type: MeshTimeout
name: slow
spec:
  to:
    - targetRef: {kind: Mesh}
      default: {idleTimeout: 5s}
"""


def validate(mesh: Mesh, file: Path, text: str) -> tuple[int, list[str]]:
    """Write ``text`` and return the exit code and what is said, without the file's name."""
    file.write_text(text)
    result = mesh("validate", "-f", str(file), env={"CONSUL_HTTP_ADDR": "http://127.0.0.1:1"})
    return result.exit_code, result.output.replace(f"{file}:", "").splitlines()


def test_what_is_valid_says_so(mesh: Mesh, tmp_path: Path) -> None:
    assert validate(mesh, tmp_path / "p.yaml", GOOD) == (0, ["MeshTimeout slow: valid"])
    document = {"type": "MeshTimeout", "name": "j", "spec": {"to": []}}
    document["spec"] = {"to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "5s"}}]}
    found = validate(mesh, tmp_path / "p.json", json.dumps([document, {**document, "name": "k"}]))
    assert found == (0, ["MeshTimeout j: valid", "MeshTimeout k: valid"])


def test_every_violation_of_every_document_is_told_with_its_line(
    mesh: Mesh, tmp_path: Path
) -> None:
    text = f"""\
type: MeshTimeout
name: a.b
mesh: other
extra: 1
spec: {{to: [{{targetRef: {{kind: Mesh, name: x}}, default: {{idleTimeout: 1 s, odd: 1}}}}]}}
---
type: MeshSorcery
name: m
---
{GOOD}
---
# nothing
---
just text
"""
    code, lines = validate(mesh, tmp_path / "p.yaml", text)
    assert code == 1
    assert [line.partition(" is ")[0] for line in lines] == [
        "1: MeshTimeout a.b: extra: unknown field",
        "1: MeshTimeout a.b: name: 'a.b': use 1 to 64 letters, digits, '-' or '_'",
        "1: MeshTimeout a.b: spec.to[0].targetRef: kind Mesh takes no name",
        "1: MeshTimeout a.b: spec.to[0].default.idleTimeout: '1 s'",
        "1: MeshTimeout a.b: spec.to[0].default.odd: unknown field",
        "7: MeshSorcery m: type: 'MeshSorcery'",
        "20: expected an object with type, name and spec",
    ]


def test_violations_for_programs(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"{GOOD}---\n{GOOD.replace('slow', 'odd').replace('5s', 'soon')}")
    result = mesh("validate", "-f", str(file), "-o", "json")
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert found["valid"] == ["MeshTimeout slow"]
    (violation,) = found["violations"]
    assert (violation["file"], violation["line"]) == (str(file), 8)
    assert violation["document"] == "MeshTimeout odd"
    assert violation["path"] == "spec.to[0].default.idleTimeout"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "holds no document"),
        ("a: [", "is neither YAML nor JSON: expected the node content"),
        ("\ttype: x", "found character '\\t'"),
        ("a: \x01", "is neither YAML nor JSON"),
        ("type: MeshTimeout\ntype: MeshTimeout", "2: is neither YAML nor JSON: the key 'type' is"),
        ("on: true", "1: is neither YAML nor JSON: the key 'on' is no text"),
        ("type: !!python/name:os.system x", "could not determine a constructor"),
        ("type: !!set {a, b}", "is not what JSON can hold"),
        ("spec: .nan", "is not what JSON can hold"),
        ("spec: &a [*a]", "is not what JSON can hold"),
        (f"{GOOD}---\n{GOOD}", "8: MeshTimeout slow: name: is given 2 times"),
        (f"mesh: other\n{GOOD}", "mesh: 'other' is no mesh here"),
        ("type: MeshTimeout\nname: 2025-01-01\nspec: {}", "MeshTimeout 2025-01-01: spec: says no"),
        ("Kind: service-router\nName: x", "write it with `consul config write`"),
        ("Kind: service-intentions\nName: x", "apply it with `mesh intention apply`"),
        ("apiVersion: v1\nkind: MeshTimeout", "is in the form of Kubernetes"),
    ],
)
def test_what_a_file_may_not_hold(mesh: Mesh, tmp_path: Path, text: str, wrong: str) -> None:
    code, lines = validate(mesh, tmp_path / "p.yaml", text)
    assert code == 1
    assert any(wrong in line for line in lines), lines


def test_a_merge_key_may_be_overridden(mesh: Mesh, tmp_path: Path) -> None:
    text = GOOD.replace("{idleTimeout: 5s}", "{<<: {idleTimeout: 5s}, idleTimeout: 6s}")
    assert validate(mesh, tmp_path / "p.yaml", text)[0] == 0


def test_a_directory_gives_all_of_its_files_and_stdin_one_more(mesh: Mesh, tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json", "d.txt"):
        (tmp_path / name).write_text(GOOD.replace("slow", name[0]))
    (tmp_path / "c.json").write_text("{")
    result = mesh("validate", "-f", str(tmp_path), "-f", "-", "-o", "json", input=GOOD)
    found = json.loads(result.output)
    assert found["valid"] == ["MeshTimeout a", "MeshTimeout b", "MeshTimeout slow"]
    assert [each["file"] for each in found["violations"]] == [str(tmp_path / "c.json")]


def test_what_cannot_be_opened_is_bad_input(mesh: Mesh, tmp_path: Path) -> None:
    absent = mesh("validate", "-f", str(tmp_path / "absent.yaml"))
    assert (absent.exit_code, "No such file" in absent.output) == (2, True)
    (tmp_path / "empty").mkdir()
    empty = mesh("validate", "-f", str(tmp_path / "empty"))
    assert (empty.exit_code, "holds no .yaml, .yml or .json" in empty.output) == (2, True)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    assert "is not text in UTF-8" in mesh("validate", "-f", str(tmp_path / "bytes.yaml")).output


def test_what_documents_contradict_of_one_another_is_told(mesh: Mesh, tmp_path: Path) -> None:
    text = GOOD.replace("kind: Mesh}", "kind: MeshExternalService, name: mail}")
    code, lines = validate(mesh, tmp_path / "p.yaml", text)
    assert code == 1
    assert lines == [
        "1: MeshTimeout slow: spec.to[0].targetRef.name: there is no MeshExternalService mail"
    ]
    external = (
        "type: MeshExternalService\nname: mail\nspec:\n  match: {protocol: tcp}\n"
        "  endpoints: [{address: mail.example.com, port: 25}]\n"
    )
    assert validate(mesh, tmp_path / "p.yaml", f"{text}---\n{external}")[0] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("MeshTimeout", "MeshTimout"), "; did you mean MeshTimeout?"),
        (GOOD.replace("MeshTimeout", "meshtimeout"), "; did you mean MeshTimeout?"),
        (GOOD.replace("kind: Mesh", "kind: Mash"), "kind: must be 'Mesh', 'MeshService'"),
        (GOOD.replace("5s", "5"), "idleTimeout: "),
        (GOOD.replace("  to:", "  from:"), "spec.from: unknown field; what holds for callers"),
        (GOOD.replace("spec:\n  to:", "spec:\n  to: all\n  rules:"), "spec.to: must be a list"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(
    mesh: Mesh, tmp_path: Path, text: str, said: str
) -> None:
    code, lines = validate(mesh, tmp_path / "p.yaml", text)
    assert code == 1
    assert said in "\n".join(lines)
