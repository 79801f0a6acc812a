"""What is loaded, how frames get through it, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ofctl.agent import EXIT_REFUSED, host_options, main
from ofctl.apps import CORE_APPS
from ofctl.apps.loading import find_apps, load_apps
from ofctl.apps.testing import flows_of
from ofctl.config import load
from ofctl.errors import AppFailed, AppRefused, ConfigError
from ofctl.pipeline.anchors import place_apps
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.flow import Resubmit
from ofctl.pipeline.tables import DELIVER, FORWARD, ORIGIN, SENDER, SOURCE_KNOWN, host_cookie
from ofctl.plugin import AnchoredTable, App, Counter, FeatureApp, RegisterBits
from tests.unit.plugins import apps as examples
from tests.unit.plugins.apps import WORLD, Both, Second, wrong

BOTH = f"{Both.__module__}:Both"
GUARD = str(Path(__file__).parents[3] / "examples/feature_guard/ofctl_guard/__init__.py")


def test_frames_meet_the_apps_in_the_order_of_the_configuration() -> None:
    placed = place_apps([Both, Second], {})
    compiler = Compiler((*CORE_APPS, *placed))
    flows = compiler.compile_all(WORLD).flows
    first, second = (app.tables[0] for app in placed)
    first_out, second_out = (app.tables[1] for app in placed)
    assert [table.number for app in placed for table in app.tables] == [20, 120, 21, 121]
    entered = {flow.goto for flow in flows if flow.table in (ORIGIN, SENDER)}
    assert first in entered and SOURCE_KNOWN not in entered
    onward = {flow.table: flow.goto for flow in flows if flow.priority == 0 and not flow.match.terms}
    assert onward[first] == second and onward[second] == SOURCE_KNOWN
    assert onward[first_out] == second_out and onward[second_out] == DELIVER
    assert {flow.goto for flow in flows if flow.table == first} == {second}
    for group in compiler.compile_all(WORLD).groups:
        ways = {action.table for bucket in group.buckets for action in bucket.actions if isinstance(action, Resubmit)}
        assert ways <= {first_out}
    assert DELIVER not in {flow.goto for flow in flows if flow.table not in (second_out,)}


def test_registers_overlap_nobodys() -> None:
    one, two = place_apps([Both, Second], {})
    left, right = one.register("CLASS"), two.register("CLASS")
    assert left.register == right.register
    assert not left.mask & right.mask


def test_without_apps_the_pipeline_is_as_if_there_were_no_anchors() -> None:
    assert Compiler(CORE_APPS).compile_all(WORLD) == Compiler((*CORE_APPS, *place_apps([], {}))).compile_all(WORLD)


def test_a_change_compiles_what_a_whole_compilation_would() -> None:
    compiler = Compiler((*CORE_APPS, *place_apps([Both], {})))
    before = WORLD.without_port(max(WORLD.ports))
    added = {change.flow for change in compiler.changes(before, WORLD) if hasattr(change, "flow")}
    whole = set(compiler.compile_all(WORLD).flows)
    assert added == whole - set(compiler.compile_all(before).flows)
    assert any(flow.table.owner == "both" for flow in added)


@pytest.mark.parametrize(
    ("flow_of", "problem"),
    [
        (examples.output, "whose action output:7 is not one that apps have"),
        (examples.foreign_table, "which lies in table flood, not in one of its own"),
        (examples.foreign_cookie, f"which bears cookie {host_cookie():#x}, and port rehearsal-3 has"),
        (examples.foreign_register, "which sets SOURCE, no register of its own"),
        (examples.all_registers, "which sets xxreg2, no register of its own"),
        (examples.foreign_goto, "which leads to flood, neither ONWARD nor a table of its own"),
        (examples.miss, "which is the table's miss: that is the core's"),
        (examples.broken, "cannot compile port rehearsal-3: ZeroDivisionError"),
    ],
)
def test_flows_that_an_app_may_not_make(flow_of: object, problem: str) -> None:
    with pytest.raises(AppFailed) as failed:
        flows_of(wrong(flow_of), world=WORLD)
    assert failed.value.message.startswith("app wrong ") and problem in failed.value.message


def test_two_flows_of_one_identity_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "Same", wrong(examples.same), raising=False)
    with pytest.raises(AppRefused, match="app wrong cannot be loaded: two of one identity"):
        load_apps(find_apps([f"{examples.__name__}:Same"], bridge="br-int").classes, {})


def variant(**changes: Any) -> type[FeatureApp]:
    return type("Variant", (Both,), changes)


@pytest.mark.parametrize(
    ("app", "problem"),
    [
        (variant(name="No Name"), "its name is 'No Name'"),
        (variant(api_version=2), "written for version 2 of the contract, and this ofctl has 1"),
        (variant(tables=(FORWARD,)), "choose table numbers"),
        (variant(anchored=(AnchoredTable(name="x", purpose="x", after="flood"),)), "the anchors there are"),
        (variant(anchored=(AnchoredTable(name="x", purpose="x", after="classify"),) * 2), "'x' is there twice"),
        (
            variant(anchored=[AnchoredTable(name=f"x{n}", purpose="x", after="classify") for n in range(11)]),
            "no table is left after classify: there are 10",
        ),
        (variant(counters=(Counter(name="flows", table="in", priority=1, purpose="x"),)), "is every app's"),
        (variant(counters=(Counter(name="x", table="y", priority=1, purpose="x"),)), "of table y, which it does not"),
        (variant(registers=(RegisterBits(name="X", bits=33, purpose="x"),)), "33 bits for register X"),
        (variant(registers=[RegisterBits(name=f"X{n}", bits=32, purpose="x") for n in range(5)]), "are not left"),
    ],
)
def test_apps_that_declare_what_cannot_be(app: type[FeatureApp], problem: str) -> None:
    with pytest.raises(AppRefused) as refused:
        place_apps([app], {})
    assert problem in refused.value.message and app.name in refused.value.message


def test_two_apps_of_one_name_are_refused() -> None:
    with pytest.raises(AppRefused, match="app both cannot be loaded: another app has the same name"):
        place_apps([Both, Both], {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{Both.__module__}:Missing", "has no Missing"),
        (f"{Both.__module__}:WORLD", "neither a FeatureApp nor a Binder"),
        (examples.__file__, "it has 2 apps: write"),
    ],
)
def test_what_cannot_be_found(text: str, problem: str) -> None:
    with pytest.raises(AppRefused) as refused:
        find_apps([text], bridge="br-int")
    assert problem in refused.value.message


def test_an_app_is_found_by_module_by_file_and_by_file_and_class() -> None:
    found = find_apps([BOTH, GUARD], bridge="br-int").classes
    assert [app.name for app in found] == ["both", "guard"] and issubclass(found[1], App)
    assert find_apps([f"{GUARD}:Guard"], bridge="br-int").classes == (found[1],)


def test_the_configuration_has_the_options_of_the_apps(tmp_path: Path) -> None:
    file = tmp_path / "ofctl.conf"
    file.write_text(f"[apps]\nload = {GUARD}\n[app:guard]\ntcp_ports = 25, 465\n")
    settings = load(["--config-file", str(file), "--app", BOTH])
    assert settings.apps.load == (GUARD, BOTH)
    assert settings.app_options["guard"] == {"tcp_ports": ["25", "465"]}
    loaded = load_apps(settings.apps.classes, settings.app_options)
    assert [app.name for app in loaded.features] == ["guard", "both"] and not loaded.binders
    file.write_text("[app:guard]\ntcp_ports = 25\n")
    with pytest.raises(ConfigError, match=r"there is no group \[app:guard\]"):
        load(["--config-file", str(file)])
    file.write_text(f"[apps]\nload = {GUARD}\n[app:guard]\ntcp_port = 25\n")
    with pytest.raises(ConfigError, match=r"\[app:guard\] has no option tcp_port"):
        load(["--config-file", str(file)])


def test_the_agent_hands_the_apps_to_the_engine() -> None:
    options = host_options(load(["--app", GUARD, "--app", BOTH], config_files=[]))
    assert [app.name for app in options.apps] == ["guard", "both"]
    assert options.binders == () and options.bind_timeout_s == 10.0


def test_the_agent_does_not_start_with_an_app_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--app", "/no/such/app.py"]) == EXIT_REFUSED
    assert "app /no/such/app.py cannot be loaded: there is no file" in capsys.readouterr().err
