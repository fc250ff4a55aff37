"""What a join does to a host, from what is wanted and what is there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.model.violations import InvalidInputError
from mesh.vm import departure
from mesh.vm.errors import VmError
from mesh.vm.layout import BACKOFF, CAPTURE_UNIT, TARGET, TEMPLATE, Layout, unit
from mesh.vm.plan import Facts, Found, plan
from mesh.vm.request import Capture, Join
from mesh.vm.steps import (
    CaptureFollows,
    Deregister,
    Expect,
    MakeLink,
    MakeUser,
    PutAway,
    Remove,
    RemoveTable,
    RemoveUser,
    Restart,
    Start,
    Stop,
    Systemctl,
    WriteFile,
)

LAYOUT = Layout()
TOKEN = "a.join.token"
UNITS = {TEMPLATE: "proxy", TARGET: "target", CAPTURE_UNIT: "capture"}
BARE = Facts(units=UNITS, prefix=Path("/opt/mesh/current"))
WEB = Join(service="web", app="127.0.0.1:8080", zone_api=("zone.example:5678",))
CAPTURED = dataclasses.replace(WEB, capture=Capture(("web",)))
API = dataclasses.replace(WEB, service="api", app="127.0.0.1:8081", capture=Capture(("api",)))


def leave(service: str, facts: departure.Facts) -> list[Any]:
    return list(departure.plan(service, facts, LAYOUT))


BOTH = departure.Facts(
    services=frozenset({"web", "api"}),
    paths=frozenset(
        {
            *(place(each) for each in ("web", "api") for place in (LAYOUT.settings, LAYOUT.state)),
            *(LAYOUT.units / each for each in (TEMPLATE, TARGET, CAPTURE_UNIT)),
            *(LAYOUT.etc, LAYOUT.home, LAYOUT.capture, LAYOUT.program),
        }
    ),
    enrolled=frozenset({"web", "api"}),
    capture={"proxies": [{"service": "web", "outbound": 15001}]},
    running=frozenset({"web", "api"}),
    loaded=frozenset({unit("web"), unit("api"), TARGET, CAPTURE_UNIT}),
    has_user=True,
)


def after(join: Join, facts: Facts, token: str = TOKEN) -> Facts:
    """Return what is there when a plan was carried out."""
    made = plan(join, facts, LAYOUT, token=token)
    files = dict(facts.files)
    for each in (*made.steps, *made.later):
        if isinstance(each, WriteFile):
            files[each.path] = Found(each.content, each.group, each.mode)
    settings = dict(facts.settings)
    settings[join.service] = yaml.safe_load(files[LAYOUT.settings(join.service)].content)
    capture = files.get(LAYOUT.capture)
    started = {TARGET, unit(join.service)} | ({CAPTURE_UNIT} if join.capture else set())
    return dataclasses.replace(
        facts,
        has_user=True,
        directories=frozenset({LAYOUT.etc, LAYOUT.home, LAYOUT.state(join.service)}),
        files=files,
        settings=settings,
        capture=yaml.safe_load(capture.content) if capture else {},
        enabled=facts.enabled | started,
        active=facts.active | started,
        program=Path("/opt/mesh/0.1.0/bin/mesh"),
        enrolled=True,
        foreign="",
    )


def written(join: Join, facts: Facts, path: Path, token: str = TOKEN) -> WriteFile:
    made = plan(join, facts, LAYOUT, token=token)
    steps = (*made.steps, *made.later)
    (found,) = (each for each in steps if isinstance(each, WriteFile) and each.path == path)
    return found


def commands(join: Join, facts: Facts, token: str = TOKEN) -> list[str]:
    made = plan(join, facts, LAYOUT, token=token)
    calls = (
        each for each in (*made.steps, *made.later) if isinstance(each, Systemctl | Start | Restart)
    )
    return [str(each).removeprefix("run      systemctl ") for each in calls]


def test_a_bare_host_gets_all_of_it() -> None:
    steps = plan(WEB, BARE, LAYOUT, token=TOKEN).steps
    assert isinstance(steps[0], MakeUser)
    assert MakeLink(LAYOUT.program, Path("/opt/mesh/current/bin/mesh")) in steps
    token = written(WEB, BARE, LAYOUT.token("web"))
    assert (token.content, token.group, token.mode) == (f"{TOKEN}\n", "root", 0o600)
    settings = written(WEB, BARE, LAYOUT.settings("web"))
    assert (settings.group, settings.mode) == ("mesh", 0o640)
    assert yaml.safe_load(settings.content) == {
        "service": "web",
        "app": "127.0.0.1:8080",
        "zone_api": ["zone.example:5678"],
        "state_dir": "/var/lib/mesh/web",
        "inbound_port": 15006,
        "listen": "127.0.0.1:15020",
        "registration": "zone",
    }
    assert commands(WEB, BARE) == [
        "daemon-reload",
        "enable --quiet mesh.target",
        "enable --quiet mesh-proxy@web.service",
        "start --no-block mesh-proxy@web.service",
        "start --no-block mesh.target",
    ]


@pytest.mark.parametrize(
    "join", [WEB, dataclasses.replace(WEB, capture=Capture(("web",), inbound=True))]
)
def test_what_is_as_wanted_gets_no_step(join: Join) -> None:
    there = after(join, BARE)
    assert plan(join, there, LAYOUT).is_nothing
    # Another token is no use to one that is enrolled.
    assert plan(join, there, LAYOUT, token="another.join.token").is_nothing


def test_no_step_tells_the_token() -> None:
    assert TOKEN not in "\n".join(map(str, plan(WEB, BARE, LAYOUT, token=TOKEN).steps))


def test_each_service_has_ports_of_its_own_and_keeps_them() -> None:
    api = dataclasses.replace(WEB, service="api", app="127.0.0.1:8081")
    there = dataclasses.replace(after(WEB, BARE), enrolled=False)
    settings = yaml.safe_load(written(api, there, LAYOUT.settings("api")).content)
    assert (settings["inbound_port"], settings["listen"]) == (15016, "127.0.0.1:15030")
    both = after(api, there)
    assert plan(api, both, LAYOUT).ports.index == 1
    gone = dataclasses.replace(both, settings={"api": both.settings["api"]}, enrolled=False)
    assert plan(api, gone, LAYOUT, token=TOKEN).ports.index == 1
    assert plan(WEB, gone, LAYOUT, token=TOKEN).ports.index == 0


def test_other_settings_restart_the_one_proxy() -> None:
    there = after(WEB, BARE)
    changed = dataclasses.replace(WEB, upstreams=("api:9001",))
    assert commands(changed, there, "") == ["daemon-reload", "restart --no-block " + unit("web")]
    assert written(changed, there, LAYOUT.settings("web"), "").exists


def test_who_is_not_enrolled_needs_a_token() -> None:
    with pytest.raises(VmError, match="not enrolled as web") as refused:
        plan(WEB, BARE, LAYOUT)
    assert "mesh token create --service web" in refused.value.remedy


def test_a_copied_machine_needs_a_token_and_puts_away_what_was_copied() -> None:
    copied = dataclasses.replace(after(WEB, BARE), foreign="its machine-id is another")
    with pytest.raises(VmError, match="another machine's"):
        plan(WEB, copied, LAYOUT)
    steps = plan(WEB, copied, LAYOUT, token="new.join.token").steps
    away = PutAway(LAYOUT.state("web"), "another machine's: its machine-id is another")
    assert (
        steps.index(Stop(unit("web")))
        < steps.index(away)
        < steps.index(Expect(LAYOUT.state("web")))
    )
    token = written(WEB, copied, LAYOUT.token("web"), "new.join.token")
    assert token.content == "new.join.token\n"
    assert commands(WEB, copied, "new.join.token")[-1] == "start --no-block " + unit("web")


def test_capture_waits_for_the_proxy() -> None:
    join = dataclasses.replace(WEB, capture=Capture(("web",), ("system.slice/w.service",), "all"))
    made = plan(join, BARE, LAYOUT, token=TOKEN)
    document = yaml.safe_load(written(join, BARE, LAYOUT.capture).content)
    assert document["proxies"] == [
        {
            "service": "web",
            "users": ["web"],
            "cgroups": ["system.slice/w.service"],
            "outbound": 15001,
            "to": "all",
        }
    ]
    assert [str(each).split()[-1] for each in made.later[-2:]] == [CAPTURE_UNIT, CAPTURE_UNIT]
    settings = yaml.safe_load(written(join, BARE, LAYOUT.settings("web")).content)
    assert (settings["capture"], settings["dns"]) == ("127.0.0.1:15001", "127.0.0.1:15053")
    assert document["dns"] == {"port": 15053}
    assert "trust_domain" not in document
    named = dataclasses.replace(join, trust_domain="corp.mesh")
    document = yaml.safe_load(written(named, BARE, LAYOUT.capture).content)
    assert document["trust_domain"] == "corp.mesh"


def test_one_proxy_of_a_host_answers_names_and_has_an_heir() -> None:
    there = after(API, dataclasses.replace(after(CAPTURED, BARE), enrolled=False))
    assert [name for name, each in there.settings.items() if "dns" in each] == ["web"]
    leaving = dataclasses.replace(BOTH, settings=there.settings, capture=there.capture)
    steps = leave("web", leaving)
    (heir,) = (
        each
        for each in steps
        if isinstance(each, WriteFile) and each.path == LAYOUT.settings("api")
    )
    assert yaml.safe_load(heir.content) == {**there.settings["api"], "dns": "127.0.0.1:15053"}
    assert steps[-1] == Systemctl(("restart", unit("api")))
    assert not any(unit("web") in str(each) for each in leave("api", leaving))


def test_who_captures_no_longer_leaves_the_names_to_its_heir() -> None:
    there = after(API, dataclasses.replace(after(CAPTURED, BARE), enrolled=False))
    heir = written(WEB, there, LAYOUT.settings("api"))
    assert yaml.safe_load(heir.content) == {**there.settings["api"], "dns": "127.0.0.1:15053"}
    assert plan(WEB, there, LAYOUT).later[:2] == (heir, Restart(unit("api")))
    assert "dns" not in yaml.safe_load(written(WEB, there, LAYOUT.settings("web")).content)
    alone = dataclasses.replace(API, capture=None)
    assert not any(unit("web") in str(each) for each in plan(alone, there, LAYOUT).later)


def test_a_capture_that_is_wanted_no_longer_ends() -> None:
    there = after(CAPTURED, BARE)
    later = plan(WEB, there, LAYOUT).later
    # The unit's stop leaves the table; what is taken back, is last of all what the file says then.
    assert later[0] == CaptureFollows(LAYOUT.capture)
    assert later[-2:] == (Remove(LAYOUT.capture), RemoveTable())


def test_restarts_grow_rarer_where_systemd_can() -> None:
    knowing = dataclasses.replace(BARE, knows_backoff=True, units={**UNITS, BACKOFF: "rarer"})
    assert written(WEB, knowing, LAYOUT.backoff).content == "rarer"
    assert plan(WEB, after(WEB, knowing), LAYOUT).is_nothing
    unknowing = plan(WEB, dataclasses.replace(knowing, knows_backoff=False), LAYOUT, token=TOKEN)
    assert not any(BACKOFF in str(each) for each in unknowing.steps)


def test_one_service_captures_everybodys_connections() -> None:
    web = dataclasses.replace(WEB, capture=Capture())
    api = dataclasses.replace(WEB, service="api", app="127.0.0.1:8081", capture=Capture())
    there = dataclasses.replace(after(web, BARE), enrolled=False)
    with pytest.raises(VmError, match="web captures everybody's") as refused:
        plan(api, there, LAYOUT, token=TOKEN)
    assert "--capture user:NAME" in refused.value.remedy
    of_user = dataclasses.replace(api, capture=Capture(("api",), inbound=True))
    document = yaml.safe_load(written(of_user, there, LAYOUT.capture).content)
    assert [each["service"] for each in document["proxies"]] == ["web", "api"]
    assert document["proxies"][1]["inbound"] == {8081: 15016}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (Facts(), "no unit mesh-proxy@.service"),
        (dataclasses.replace(BARE, prefix=Path("/root/venv")), "where no unit may look"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_touched(facts: Facts, message: str) -> None:
    with pytest.raises(VmError, match=message) as refused:
        plan(WEB, facts, LAYOUT, token=TOKEN)
    assert refused.value.remedy


def test_the_settings_are_checked_as_the_proxy_checks_them() -> None:
    wrong = dataclasses.replace(WEB, app="8080", upstreams=("api",), more={"tag": ["v1"]})
    with pytest.raises(InvalidInputError) as refused:
        plan(wrong, BARE, LAYOUT, token=TOKEN)
    assert {each.path.partition("[")[0] for each in refused.value.violations} == {
        "app",
        "upstreams",
        "tag",
    }


def test_the_first_to_leave_leaves_the_rest_alone() -> None:
    steps = leave("api", BOTH)
    assert [str(each) for each in steps] == [
        "run      systemctl stop mesh-proxy@api.service",
        "run      systemctl disable --quiet mesh-proxy@api.service",
        "remove   /etc/mesh/proxy-api.yaml",
        "remove   /var/lib/mesh/api",
    ]


def test_nobody_is_captured_for_a_proxy_that_ends() -> None:
    steps = leave("web", BOTH)
    assert steps[0] == Systemctl(("disable", "--quiet", "--now", CAPTURE_UNIT))
    assert steps[1:3] == [Remove(LAYOUT.capture), RemoveTable()]
    nobody = dataclasses.replace(
        BOTH, capture={}, loaded=BOTH.loaded - {CAPTURE_UNIT}, paths=BOTH.paths - {LAYOUT.capture}
    )
    assert RemoveTable() not in leave("", nobody)  # which may have no nftables
    two = {"proxies": [{"service": "web", "outbound": 15001}, {"service": "api", "outbound": 2}]}
    first, second, *_ = leave("web", dataclasses.replace(BOTH, capture=two))
    assert isinstance(first, WriteFile)
    assert yaml.safe_load(first.content)["proxies"] == two["proxies"][1:]
    assert second == Systemctl(("restart", CAPTURE_UNIT))


def test_with_the_last_goes_what_they_had_in_common() -> None:
    steps = leave("", BOTH)
    assert steps[-1] == RemoveUser()
    assert {each.path for each in steps if isinstance(each, Remove)} == BOTH.paths - {
        LAYOUT.program
    }
    reload = steps.index(Systemctl(("daemon-reload",)))
    assert all(steps.index(Remove(LAYOUT.units / each)) < reload for each in UNITS)
    ours = dataclasses.replace(BOTH, record={"user": False, "program": True})
    assert Remove(LAYOUT.program) in leave("", ours)
    assert RemoveUser() not in leave("", ours)


def test_a_user_whom_others_made_stays() -> None:
    theirs = dataclasses.replace(BARE, has_user=True, program=Path("/opt/mesh/0.1.0/bin/mesh"))
    record = json.loads(written(WEB, theirs, LAYOUT.record).content)
    assert record == {"user": False, "program": False}
    there = dataclasses.replace(BOTH, record=record, paths=BOTH.paths | {LAYOUT.record})
    steps = leave("", there)
    assert RemoveUser() not in steps
    assert Remove(LAYOUT.record) in steps
    assert Remove(LAYOUT.record) in leave("", dataclasses.replace(there, others=True))


def test_what_other_parts_of_the_mesh_need_stays() -> None:
    steps = leave("", dataclasses.replace(BOTH, others=True))
    assert RemoveUser() not in steps
    assert Remove(LAYOUT.units / TARGET) not in steps
    assert Remove(LAYOUT.etc, if_empty=True) not in steps


def test_who_ended_without_a_word_is_taken_out_and_a_copys_source_is_not() -> None:
    dead = dataclasses.replace(BOTH, running=frozenset())
    assert Deregister("web", LAYOUT.state("web") / "agent.json") in leave("web", dead)
    steps = leave("web", dataclasses.replace(dead, enrolled=frozenset({"api"})))
    assert not any(isinstance(each, Deregister) for each in steps)


def test_who_is_not_there_leaves_nothing() -> None:
    assert leave("", departure.Facts()) == []
    assert leave("shop", BOTH) == []
