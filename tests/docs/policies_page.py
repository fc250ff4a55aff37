"""``docs/reference/policies.md``: every kind of policy, read from its model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mesh.policies.defaults import DEFAULTS
from mesh.policies.kind import Kind
from mesh.policies.registry import KINDS
from mesh.policies.shape import DestinationRef, ProxyRef
from mesh.policies.units import HeaderModifier, InboundMatchModel, MatchModel
from tests.docs.markdown import table
from tests.docs.schema_rows import HEAD, Row, Schema

_INTRODUCTION: Final = """\
# Policies

A policy says how proxies treat calls: those that they make (`to`), or those that they get
(`rules`). It is a document in YAML or JSON:

```yaml
type: MeshTimeout          # the kind
name: slow-reports         # unique within the kind
spec:
  targetRef:               # whose proxies; absent, all of them
    kind: Dataplane
    labels: {service: web}
  to:                      # what these proxies call
    - targetRef: {kind: MeshService, name: reports}
      default:             # and how they treat it
        http: {requestTimeout: 60s}
```

`mesh validate -f` tells everything that is wrong with it, without asking anybody; `mesh apply -f`
makes it stand; `mesh diff -f`, `mesh get` and `mesh delete` are the rest ([commands](cli.md)).
Policies stand in Consul's KV below `mesh/policies/`; the last 10 versions of each stand below
`mesh/policy-history/`, also when it is deleted. All documents of one command are applied in one
transaction, up to 32 that change.

Unknown kinds and fields are refused, and text is no number. A *duration* is `250ms`, `15s`, `1m30s`
or `0`; a percentage is a number from 0 to 100.

## Which policy holds

Policies of one kind that concern the same calls are merged, field by field; a list is one field.
Where two say different things of a field, the particular holds over the general:

1. by whose proxies it concerns: `Mesh`, then `labels` (more are more particular), then a `name`;
2. then by what is called: `Mesh`, then a service, then the requests of a `MeshHTTPRoute`;
3. then the policy whose name sorts first.

Of `rules`, the first that matches a call holds for it: those of the particular policy stand before
those of the general. A policy holds over Consul's configuration entries about the same thing, and
those over the defaults of the mesh. `mesh explain` names what held, and what lost to it.

## Without any policy

This holds until an entry or a policy says otherwise. What is not in this table is Envoy's default.

"""
_COMMON: Final = (ProxyRef, DestinationRef, MatchModel, InboundMatchModel, HeaderModifier)
_SIDES: Final = {
    (True, True): "Concerns calls that proxies make (`to`) and calls that they get (`rules`).",
    (True, False): "Concerns calls that proxies make (`to`).",
    (False, True): "Concerns calls that proxies get (`rules`).",
    (False, False): "",
}
_ABOUT: Final = {
    ProxyRef: "`spec.targetRef` of every kind: the proxies that a policy concerns.",
    DestinationRef: "`spec.to[].targetRef`: what is called.",
    MatchModel: "Conditions on a request; all must hold.",
    InboundMatchModel: "Conditions on a call that comes in, in `rules[].matches`; all must hold.",
    HeaderModifier: "Changes to the headers of a request or an answer.",
}


def page() -> str:
    """Return the page."""
    parts = [
        _INTRODUCTION
        + table(
            ("Setting", "Default", "Why", "Changed by"),
            ((each.setting, each.value, each.why, each.policy) for each in DEFAULTS),
        )
    ]
    parts += [_section(kind) for kind in KINDS.values()]
    parts.append("## Common parts\n\n" + "\n".join(_common()))
    return "\n".join(parts)


def rows(kind: Kind) -> list[Row]:
    """Return the fields that are particular to ``kind``."""
    skipped = tuple(model.__name__ for model in _COMMON)
    if _has_default(kind) and kind.conf is not None:
        return Schema(kind.conf.model_json_schema(), skipped).rows()
    return Schema(kind.spec.model_json_schema(), skipped).rows(without=("targetRef",))


def common() -> list[tuple[str, list[Row]]]:
    """Return the parts that several kinds share, by name."""
    return [(model.__name__, Schema(model.model_json_schema()).rows()) for model in _COMMON]


def _section(kind: Kind) -> str:
    sides = _SIDES[kind.has_to, kind.has_rules]
    where = "`spec`"
    if _has_default(kind):
        named = [name for name, has in (("to", kind.has_to), ("rules", kind.has_rules)) if has]
        where = " and ".join(f"`spec.{name}[].default`" for name in named)
    about = "\n\n".join(filter(None, (kind.summary, sides, f"Fields below {where}:")))
    fields = table(HEAD, (row.cells for row in rows(kind)))
    return f"## {kind.name}\n\n{about}\n\n{fields}\n```yaml\n{kind.example.strip()}\n```\n"


def _has_default(kind: Kind) -> bool:
    return kind.conf is not None and (kind.has_to or kind.has_rules)


def _common() -> Iterator[str]:
    for model, (name, found) in zip(_COMMON, common(), strict=True):
        fields = table(HEAD, (row.cells for row in found))
        yield f"### {name}\n\n{_ABOUT[model]}\n\n{fields}"
