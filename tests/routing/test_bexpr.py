"""Filter expressions: how they are read, what they ask, and what is refused and where."""

import pytest

from mesh.model.filters import And, Condition, Filter, Not, Operator, Or
from mesh.model.services import Health, Instance, Registration
from mesh.routing import bexpr
from mesh.routing.bexpr.grammar import MAX_CONDITIONS, MAX_DEPTH, MAX_LENGTH

WEB = Instance(
    "web-1-sidecar",
    "n1",
    "10.0.0.1",
    2000,
    health=Health.WARNING,
    tags=("blue", "not"),
    meta={"version": "v2", "empty": "", "a-b": "c\n"},
    node_meta={"rack": "a"},
    registration=Registration("web-proxy", "connect-proxy", "", "10.0.0.1", 10, 2),
)
VERSION = ("Service", "Meta", "version")
TAGS = ("Service", "Tags")


def selects(text: str, instance: Instance = WEB) -> bool:
    return bexpr.evaluate(bexpr.parse(text), instance, service="web", zone="dc1")


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(bexpr.InvalidFilterError) as caught:
        bexpr.parse(text)
    return caught.value.faults


def port(value: str) -> Condition:
    return Condition(("Service", "Port"), Operator.EQUAL, value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Service.Meta.version==v2", Condition(VERSION, Operator.EQUAL, "v2")),
        ("Service.Meta.version != 2.5", Condition(VERSION, Operator.NOT_EQUAL, "2.5")),
        ("Service.Meta.version == -1", Condition(VERSION, Operator.EQUAL, "-1")),
        ("Service.Meta.version == true", Condition(VERSION, Operator.EQUAL, "true")),
        ('Service.Meta.version == "a\\tb"', Condition(VERSION, Operator.EQUAL, "a\tb")),
        ('Service.Meta.version == "\\u00e9\\x41"', Condition(VERSION, Operator.EQUAL, "éA")),
        ("Service.Meta.version == `a\\tb`", Condition(VERSION, Operator.EQUAL, "a\\tb")),
        ("Service.Meta.version == a.b", Condition(VERSION, Operator.EQUAL, "a.b")),
        ('Service["Meta"][ `version` ] == v2', Condition(VERSION, Operator.EQUAL, "v2")),
        ('"/Service/Meta/version" == v2', Condition(VERSION, Operator.EQUAL, "v2")),
        ('v2 in "/Service/Meta/a~1b"', Condition((*VERSION[:2], "a/b"), Operator.IN, "v2")),
        ("Service.Meta.version matches `^v`", Condition(VERSION, Operator.MATCHES, "^v")),
        ("Service.Meta.version not  matches v", Condition(VERSION, Operator.NOT_MATCHES, "v")),
        ("blue in Service.Tags", Condition(TAGS, Operator.IN, "blue")),
        ("1 not in Service.Tags", Condition(TAGS, Operator.NOT_IN, "1")),
        ("Service.Tags contains blue", Condition(TAGS, Operator.IN, "blue")),
        ("Service.Tags not contains blue", Condition(TAGS, Operator.NOT_IN, "blue")),
        ("Service.Tags is empty", Condition(TAGS, Operator.EMPTY)),
        ("Service.Tags is not\nempty", Condition(TAGS, Operator.NOT_EMPTY)),
        ("not in Service.Tags", Condition(TAGS, Operator.IN, "not")),
        ("in in Service.Tags", Condition(TAGS, Operator.IN, "in")),
        ("not not in Service.Tags", Not(Condition(TAGS, Operator.IN, "not"))),
        ("not not Service.Port == 1", port("1")),
        ("(\tService.Port == 1 )", port("1")),
    ],
)
def test_one_condition(text: str, expected: Filter) -> None:
    assert bexpr.parse(text) == expected


def test_not_binds_tighter_than_and_and_and_than_or() -> None:
    one, two, three = (f"Service.Port=={value}" for value in "123")
    assert bexpr.parse(f"not {one} and {two} or {three}") == Or(
        And(Not(port("1")), port("2")), port("3")
    )
    assert bexpr.parse(f"{one} or {two} and {three}") == Or(port("1"), And(port("2"), port("3")))
    assert bexpr.parse(f"({one} or {two}) and {three}") == And(Or(port("1"), port("2")), port("3"))
    assert bexpr.parse(f"not ({one} or {two})") == Not(Or(port("1"), port("2")))


@pytest.mark.parametrize(
    "text",
    [
        'Service.ID == "web-1-sidecar"',
        'Service.Service == "web-proxy"',
        'Service.Kind == "connect-proxy"',
        'Service.Address == ""',
        'Service.Port == "0x7d0" and Service.Port == "2_000" and Service.Port == "03720"',
        "Service.Weights.Passing == 10 and Service.Weights.Warning == 2",
        "Service.Proxy.DestinationServiceName == web",
        "Service.Tags contains blue and Service.Tags is not empty",
        "version in Service.Meta and blue not in Service.Meta",
        "v in Service.Meta.version",
        "Service.Meta.version matches `[0-9]`",
        'Service.Meta["a-b"] matches `c\n$` and Service.Meta["a-b"] not matches `c$`',
        'Node.Node == n1 and Node.Datacenter == dc1 and Node.Address == "10.0.0.1"',
        "Node.Meta.rack == a",
        "Checks.Status != passing and not Checks.Status == critical",
    ],
)
def test_what_can_be_asked_of_an_instance(text: str) -> None:
    assert selects(text)
    assert not selects(f"not ({text})")


def test_a_missing_key_is_as_consul_has_it() -> None:
    """Real Consul says the same of each: see the oracle's test."""
    held = {
        'Service.Meta.missing == ""': False,
        'Service.Meta.missing != ""': True,
        '"" in Service.Meta.missing': False,
        '"" not in Service.Meta.missing': True,
        'Service.Meta.missing matches "x"': True,
        'Service.Meta.missing not matches ""': True,
        'Service.Meta.empty == ""': True,
        '"" in Service.Meta.empty': True,
        'Service.Meta.empty matches "x"': False,
    }
    assert {text: selects(text) for text in held} == held


def test_an_instance_of_unknown_registration_counts_as_registered_by_the_mesh() -> None:
    plain = Instance("web-1", "n", "10.0.0.1", 1)
    assert selects('Service.Service == "web-sidecar-proxy"', plain)
    assert selects('Service.Kind == "connect-proxy" and Service.Address == "10.0.0.1"', plain)


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("", 1, "a value, but the text ends"),
        ("Service.Port", 13, "an operator, but the text ends"),
        ("Service.Port ==", 16, "a value, but the text ends"),
        ("Service.Port == 01", 17, "a number, not '01'"),
        ("Service.Port = 1", 13, "an operator, not ' = 1'"),
        ("Service.Port == 1 AND x", 19, "'and', 'or' or the end, not 'AND x'"),
        ("Service.Port == 1)", 18, "'and', 'or' or the end, not ')'"),
        ("(Service.Port == 1", 19, "')', but the text ends"),
        ("not(Service.Port == 1)", 4, "an operator, not '(Service.Port == 1)'"),
        ("Service.Meta.2 == 1", 14, "a name, not '2 == 1'"),
        ("Service.Meta[a] == 1", 14, "a key in quotes, not 'a] == 1'"),
        ("Service.Meta[`a` == 1", 18, "']', not '== 1'"),
        ("x in [Service.Tags]", 6, "a selector such as Service.Tags, not '[Service.Tags]'"),
        ('Service.Meta.a == "b', 19, "a text that ends in \", not '\"b'"),
        ("Service.Meta.a == `b", 19, "a text that ends in `, not '`b'"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(
    text: str, place: int, expected: str
) -> None:
    assert faults(text) == (f"at character {place}: expected {expected}",)


@pytest.mark.parametrize("escape", [r"\'", r"\q", r"\x4", r"\400", r"\ud800", r"\xff", "\\", "\n"])
def test_a_text_with_wrong_escapes_is_refused(escape: str) -> None:
    assert "Go's escapes" in faults(f'Service.Meta.a == "{escape}"')[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Service.Meta == x", "Service.Meta is a map, which has no '=='"),
        ("Service.Tags matches x", "Service.Tags is a list, which has no 'matches'"),
        ("Service.Meta.a is empty", "Service.Meta.a is a text, which has no 'is empty'"),
        ("1 in Service.Port", "Service.Port is a whole number, which has no 'in'"),
        ("Service.Port == 1.5", "Service.Port is a whole number, which '1.5' is not"),
        ('Service.Port == "9223372036854775808"', "which '9223372036854775808' is not"),
        ("Service.Port == `0x`", "which '0x' is not"),
        ("service.port == 1", "service.port is no field of an instance"),
        ("Meta.version == 1", "Meta.version is no field of an instance"),
        ("Service.Meta.a.b == 1", "Service.Meta.a.b is no field of an instance"),
        ('Node.ID == ""', "Node.ID is a field of Consul's that the mesh does not keep"),
        ("Service.TaggedAddresses.lan.Port == 1", "that the mesh does not keep"),
        ("Checks is empty", "that the mesh does not keep"),
        ("Checks.Status == passing", "answered only as '== critical' or '!= passing'"),
        ("Service.Meta.a matches `(?=x)`", "no usable RE2 expression"),
        ("Service.Meta.a matches `(?m)^x$`", "the flag m is not possible"),
    ],
)
def test_what_cannot_be_asked_is_refused_instead_of_never_true(text: str, words: str) -> None:
    (fault,) = faults(text)
    assert fault.startswith("at character ")
    assert words in fault


def test_every_wrong_condition_is_named_with_its_place() -> None:
    text = "Service.Port == x or (Node.ID == y and not Service.Tags == z) and Service.Port == 1"
    places = [fault.partition(":")[0] for fault in faults(text)]
    assert places == ["at character 1", "at character 23", "at character 44"]


def test_expressions_have_bounds() -> None:
    condition = "Service.Port == 1"
    assert "is longer than" in faults(condition + " " * MAX_LENGTH)[0]
    assert "conditions" in faults(" or ".join([condition] * (MAX_CONDITIONS + 1)))[0]
    deep = "(" * (MAX_DEPTH + 1) + condition + ")" * (MAX_DEPTH + 1)
    assert "levels" in faults(deep)[0]
    assert "levels" in faults("not " * 1000 + condition)[0]
    bexpr.parse(deep[1:-1])
    bexpr.parse(" or ".join([condition] * MAX_CONDITIONS))


def test_a_condition_that_was_never_parsed_is_refused_too() -> None:
    made_up = Condition(("Service", "Bogus"), Operator.EQUAL, "1")
    with pytest.raises(bexpr.InvalidFilterError):
        bexpr.evaluate(made_up, WEB, service="web", zone="dc1")
