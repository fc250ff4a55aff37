"""``mesh validate``: whether policies in files are valid, without asking anybody."""

from __future__ import annotations

import typer

from mesh.cli.errors import NO
from mesh.cli.output import Output, OutputOption, show
from mesh.cli.policies import Fault, FileOption, faults_of, read
from mesh.routing.validate import violations

app = typer.Typer()


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh validate -f policies/\n"
    "  git show HEAD:policies/timeouts.yaml | mesh validate -f -"
)
def validate(*, file: FileOption, output: OutputOption = Output.TABLE) -> None:
    """Tell everything that is wrong with policies in files.

    Nothing is asked of Consul or a zone: it serves editors and CI.  Exits with 1 if anything is
    wrong.
    """
    reading = read(file)
    together = violations(None, {each.document.key: each.document for each in reading.given})
    faults = [*reading.faults, *faults_of(reading.given, together)]
    labels = [each.document.label for each in reading.given]
    document = {"valid": labels, "violations": [_document(each) for each in faults]}
    if faults:
        show(output, document, *(str(each.as_violation) for each in faults))
        raise typer.Exit(NO)
    show(output, document, *(f"{label}: valid" for label in labels))


def _document(fault: Fault) -> dict[str, object]:
    return {
        "file": fault.place.file,
        "line": fault.place.line or None,
        "document": fault.label,
        "path": fault.violation.path,
        "message": fault.violation.message,
    }
