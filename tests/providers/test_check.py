"""`provider check` over real sockets: every way to fail, the states that it leads to, and who obeys them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import freezegun
import pytest

from blaidctl.providers.rehearsal import Mode, Rehearsal
from tests.providers.servers import authority, drips, says, server
from tests.support.provider import ACCOUNT, BOT, PROVIDER, QUICK, add, bound, checks, desk, done, state

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database


def register(cli: CommandLine, url: str, *more: str, **limits: str) -> None:
    words = [word for option, value in {**QUICK, **limits}.items() for word in (f"--{option}", value)]
    done(cli("provider", "add", PROVIDER, "--kind", "http", "--check-url", url, *words, *more))


def looked(cli: CommandLine, **env: str) -> dict[str, Any]:
    found: dict[str, Any] = cli("provider", "check", PROVIDER, env=env).json["result"]["providers"][0]
    return found


@pytest.mark.operation("provider add", "provider check", "provider show", "provider list", "provider transition")
def test_a_new_provider_is_blocked_until_its_first_good_check(database: Database, cli: CommandLine):
    with Rehearsal() as provider:
        made = add(cli, provider).json["result"]
        assert (made["state"], made["effect"]) == ("BLOCKED", "CREATED")
        assert add(cli, provider).json["result"]["effect"] == "EXISTS"
        other = cli("provider", "add", PROVIDER, "--kind", "http", "--check-url", provider.url("/check"))
        assert (other.code, other.error["error_code"]) == (4, "ALREADY_EXISTS")
        shown = cli("provider", "show", PROVIDER).json["result"]
        assert (shown["reason_code"], shown["checked_at"], shown["check_overdue"]) == ("NEVER_CHECKED", None, True)
        before = database.sql("SELECT count(*) FROM audit_log")
        tried = cli("provider", "check", PROVIDER, "--dry-run")
        assert (tried.code, tried.json["result"]["providers"][0]["state"], tried.json["dry_run"]) == (0, "OK", True)
        assert (state(cli), database.sql("SELECT count(*) FROM audit_log")) == ("BLOCKED", before)
        assert checks(cli, 1) == [(0, "OK")]
        (listed,) = cli("provider", "list").json["result"]["providers"]
        assert (listed["id"], listed["state"], listed["accounts"], listed["check_overdue"]) == (
            PROVIDER,
            "OK",
            0,
            False,
        )
        assert cli("provider", "list", "--output", "csv").stdout.startswith("id,kind,state")
        assert cli("audit", "verify").code == 0


@pytest.mark.operation("provider events", "provider seen")
def test_a_failing_provider_goes_down_by_steps_and_comes_back_by_steps_each_an_event(
    database: Database, cli: CommandLine
):
    with Rehearsal() as provider:
        add(cli, provider)
        checks(cli, 1)
        quiet = database.sql("SELECT count(*) FROM audit_log")
        assert checks(cli, 2) == [(0, "OK"), (0, "OK")]
        assert database.sql("SELECT count(*) FROM audit_log") == quiet, "a good look at what is OK is a sign of life"
        provider.fail("error_500")
        assert checks(cli, 4) == [(1, "DEGRADED"), (1, "DEGRADED"), (1, "BLOCKED"), (1, "BLOCKED")]
        no = cli("provider", "check", PROVIDER)
        assert no.error["error_code"] == "PROVIDER_NOT_OK"
        assert no.error["missing_requirements"] == [f"provider {PROVIDER}: BLOCKED (HTTP_STATUS: answered HTTP 500)"]
        provider.recover()
        assert checks(cli, 4) == [(1, "BLOCKED"), (1, "DEGRADED"), (1, "DEGRADED"), (0, "OK")]
        events = cli("provider", "events", PROVIDER).json["result"]["events"]
        steps = [(e["event"], e["state_before"], e["state_after"], e["reason_code"]) for e in reversed(events)]
        assert steps == [
            ("ADDED", None, "BLOCKED", "NEVER_CHECKED"),
            ("TRANSITION", "BLOCKED", "OK", "RECOVERED"),
            ("TRANSITION", "OK", "DEGRADED", "HTTP_STATUS"),
            ("TRANSITION", "DEGRADED", "BLOCKED", "HTTP_STATUS"),
            ("TRANSITION", "BLOCKED", "DEGRADED", "RECOVERED"),
            ("TRANSITION", "DEGRADED", "OK", "RECOVERED"),
        ]
        assert events[2]["metadata"]["http_status"] == 500
        acts = [e["action"] for e in cli("audit", "tail", "--limit", "20").json["result"]["entries"]]
        assert (acts.count("provider transition"), acts.count("provider seen")) == (5, 0)
        assert cli("audit", "verify").code == 0


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (Mode.REFUSED, "REFUSED"),
        (Mode.HANGS, "TIMEOUT"),
        (Mode.ERROR_500, "HTTP_STATUS"),
        (Mode.BAD_JSON, "BAD_JSON"),
        (Mode.STALE, "STALE"),
        (Mode.PARTIAL, "PARTIAL"),
    ],
)
def test_each_way_to_fail_has_its_reason(sqlite_database: Database, cli: CommandLine, mode: Mode, reason: str):
    del sqlite_database
    with Rehearsal() as provider:
        add(cli, provider)
        checks(cli, 1)
        provider.fail(mode)
        found = looked(cli)
        assert (found["outcome"], found["failure"], found["state"]) == ("FAILED", reason, "DEGRADED")


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (drips, "TIMEOUT"),
        (says(b'"' + b"x" * 2_000_000 + b'"'), "TOO_LARGE"),
        (says(b"{}", "Content-Encoding: gzip"), "PROTOCOL"),
        (says(b"{}", "Location: http://127.0.0.1:1/", status="302 Found"), "HTTP_STATUS"),
        (lambda line: line.sendall(b"SSH-2.0-OpenSSH_9\r\n"), "PROTOCOL"),
        (lambda line: line.close(), "PROTOCOL"),
    ],
    ids=["drips", "too large", "packed", "redirect", "no HTTP", "hangs up"],
)
def test_a_hostile_server_costs_a_bounded_look(sqlite_database: Database, cli: CommandLine, talk: Any, reason: str):
    del sqlite_database
    with server(talk) as port:
        register(cli, f"http://127.0.0.1:{port}/check")
        found = looked(cli)
        assert (found["failure"], found["state"]) == (reason, "BLOCKED")
        assert found["elapsed_ms"] < 30_000


def test_a_certificate_that_nobody_vouches_for_is_refused(sqlite_database: Database, cli: CommandLine, tmp_path: Path):
    del sqlite_database
    file, context = authority(tmp_path)
    with server(says(), context) as port:
        register(cli, f"https://127.0.0.1:{port}/check")
        found = looked(cli)
        assert (found["failure"], found["attempts"]) == ("TLS", 1)
        assert looked(cli, SSL_CERT_FILE=str(file))["outcome"] == "GOOD"


def test_a_blip_is_tried_again_and_a_refusal_for_good_is_not(sqlite_database: Database, cli: CommandLine):
    del sqlite_database
    with Rehearsal() as provider:
        add(cli, provider, attempts="3")
        provider.fail("error_500")
        assert looked(cli)["attempts"] == 3
        provider.fail("stale")
        assert looked(cli)["attempts"] == 1


def test_all_are_checked_though_one_is_down(sqlite_database: Database, cli: CommandLine):
    del sqlite_database
    assert done(cli("provider", "check", "--all")).json["result"]["providers"] == []
    with Rehearsal() as good, Rehearsal() as bad:
        add(cli, good, name="a")
        add(cli, bad, name="b")
        bad.fail("hangs")
        run = cli("provider", "check", "--all")
        assert run.code == 1
        assert [one["state"] for one in run.json["result"]["providers"]] == ["OK", "BLOCKED"]
    assert cli("provider", "check").error["error_code"] == "INVALID_REQUEST"
    unknown = cli("provider", "check", "c")
    assert (unknown.code, unknown.error["error_code"]) == (3, "PROVIDER_NOT_FOUND")


def test_checks_at_once_count_each_and_change_the_state_once(database: Database, process: ProcessCommandLine):
    with Rehearsal() as provider:
        add(process, provider, **{"degrade-after": "4", "block-after": "100"})
        done(process("provider", "check", PROVIDER))
        provider.fail("error_500")
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: process("provider", "check", PROVIDER), range(6)))
        assert database.sql("SELECT state, failures FROM providers") == [("DEGRADED", 6)]
        changes = database.sql("SELECT state_after FROM provider_events WHERE event = 'TRANSITION' ORDER BY id")
        assert changes == [("OK",), ("DEGRADED",)]
        assert process("audit", "verify").code == 0


# ---- who obeys -----------------------------------------------------------------------------------------------


def reasons(cli: CommandLine) -> list[str]:
    return [reason.partition(":")[0] for reason in cli("guard", BOT).json["result"]["reasons"]]


@pytest.mark.operation("provider bind", "provider unbind")
def test_the_guard_says_no_while_a_provider_of_the_account_is_not_ok(database: Database, cli: CommandLine):
    desk(cli)
    with Rehearsal() as provider:
        add(cli, provider)
        (blank,) = done(cli("guard", BOT)).json["result"]["not_checked"]
        assert "no provider is bound" in blank
        assert done(cli("provider", "bind", PROVIDER, ACCOUNT)).json["result"]["effect"] == "BOUND"
        assert done(cli("provider", "bind", PROVIDER, ACCOUNT)).json["result"]["effect"] == "ALREADY_SO"
        assert reasons(cli) == ["PROVIDER_BLOCKED"]
        checks(cli, 1)
        may = done(cli("guard", BOT)).json["result"]
        assert (may["answer"], may["not_checked"]) == ("MAY_TRADE", [])
        provider.fail("stale")
        checks(cli, 1)
        assert reasons(cli) == ["PROVIDER_DEGRADED"]
        whole = cli("status").json["result"]
        assert (whole["providers_not_ok"], whole["providers"][0]["state"]) == (1, "DEGRADED")
        doctor = cli("doctor").json["result"]["checks"]
        assert [c["verdict"] for c in doctor if c["check"] == "providers"] == ["FINDING"]
        assert done(cli("provider", "unbind", PROVIDER, ACCOUNT)).json["result"]["effect"] == "UNBOUND"
        assert reasons(cli) == []
        done(cli("provider", "bind", PROVIDER, ACCOUNT))
        assert reasons(cli) == ["PROVIDER_DEGRADED"]
    for words in (("bind", "nobody", ACCOUNT), ("bind", PROVIDER, "nobody"), ("unbind", "nobody", ACCOUNT)):
        assert cli("provider", *words).code == 3
    assert cli("audit", "verify").code == 0
    assert database.sql("SELECT count(*) FROM provider_bindings") == [(2,)]


def test_an_ok_that_nobody_has_looked_at_for_too_long_is_none(database: Database, cli: CommandLine):
    with Rehearsal() as provider:
        bound(cli, provider, **{"check-within-s": "60"})
        old = datetime.now(UTC) - timedelta(seconds=90)
        database.sql(
            "UPDATE providers SET checked_at = ?", [old.isoformat(timespec="microseconds").replace("+00:00", "Z")]
        )
        assert reasons(cli) == ["PROVIDER_STALE"]
        assert cli("status").json["result"]["providers"][0]["state"] == "STALE"
        checks(cli, 1)
        assert reasons(cli) == []


@pytest.mark.parametrize(("ahead_s", "stale"), [(30, False), (90, True), (172_800, True)])
def test_a_look_in_the_future_says_nothing(database: Database, cli: CommandLine, ahead_s: int, stale: bool):  # noqa: FBT001 - a parameter
    with Rehearsal() as provider:
        bound(cli, provider)
        ahead = datetime.now(UTC) + timedelta(seconds=ahead_s)
        database.sql(
            "UPDATE providers SET checked_at = ?", [ahead.isoformat(timespec="microseconds").replace("+00:00", "Z")]
        )
        assert reasons(cli) == ["PROVIDER_STALE"] * stale
        assert cli("status").json["result"]["providers"][0]["state"] == ("STALE" if stale else "OK")
        assert cli("provider", "show", PROVIDER).json["result"]["check_overdue"] is stale
        assert ("future" in cli("guard", BOT).stdout) is stale


# ---- credentials ---------------------------------------------------------------------------------------------

SECRET = "s3cr3t-that-nobody-may-see"  # noqa: S105 - the secret of a test


def secret_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "credentials.json"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_credentials_go_into_the_request_and_nowhere_else(database: Database, cli: CommandLine, tmp_path: Path):
    file = secret_file(tmp_path, json.dumps({"key_id": "AK1", "secret_key": SECRET}))
    with Rehearsal(wanted={"APCA-API-KEY-ID": "AK1", "APCA-API-SECRET-KEY": SECRET}) as provider:
        add(cli, provider, "--credentials", str(file), kind="alpaca")
        runs = [cli("provider", "check", PROVIDER), cli("provider", "show", PROVIDER), cli("provider", "events")]
        assert runs[0].code == 0
        provider.wanted = {"APCA-API-KEY-ID": "another"}
        runs.append(cli("provider", "check", PROVIDER))
        assert runs[-1].json["result"]["providers"][0]["detail"] == "answered HTTP 403"
        provider.fail("refused")
        runs += [cli("provider", "check", PROVIDER), cli("audit", "export")]
    assert not [run for run in runs if SECRET in run.stdout + run.stderr]
    for (table,) in database.sql(_TABLES[database.kind]):
        assert SECRET not in str(database.sql(f"SELECT * FROM {table}"))


_TABLES = {
    "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
}


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (f'{{"token": "{SECRET}"}}', 0o640, "others may read or write it"),
        (f'{{"token": "{SECRET}"}}', 0o604, "others may read or write it"),
        (f'{{"secret_key": "{SECRET}"}}', 0o600, "exactly token is expected"),
        (f'{{"token": "{SECRET}", "more": 1}}', 0o600, "exactly token is expected"),
        (SECRET, 0o600, "exactly token is expected"),
        (f'{{"token": "{SECRET}\\r\\nX-Evil: 1"}}', 0o600, "visible ASCII"),
        ('{"token": ""}', 0o600, "visible ASCII"),
        ('{"token": 5}', 0o600, "visible ASCII"),
    ],
)
def test_credentials_that_cannot_be_used_are_refused_without_a_word_of_them(  # noqa: PLR0917 - three are fixtures
    sqlite_database: Database, cli: CommandLine, tmp_path: Path, text: str, mode: int, why: str
):
    del sqlite_database
    with Rehearsal() as other, Rehearsal() as provider:
        add(cli, other, name="other")
        add(cli, provider, "--credentials", str(secret_file(tmp_path, text, mode)))
        run = cli("provider", "check", "--all")
    assert (run.code, run.error["error_code"]) == (2, "CREDENTIALS_INVALID")
    assert why in run.error["message"]
    assert SECRET not in run.stdout + run.stderr
    assert [one["provider_id"] for one in run.json["result"]["providers"]] == ["other"], "the others are checked"
    assert state(cli) == "BLOCKED"


def test_no_file_of_credentials_is_said(sqlite_database: Database, cli: CommandLine, tmp_path: Path):
    del sqlite_database
    with Rehearsal() as provider:
        add(cli, provider, "--credentials", str(tmp_path / "none"))
        add(cli, provider, "--credentials", str(tmp_path), name="folder")
        for name, why in ((PROVIDER, "cannot be read"), ("folder", "Is a directory")):
            assert why in cli("provider", "check", name).error["message"]


def test_credentials_come_out_of_the_keyring(
    sqlite_database: Database, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    del sqlite_database
    import keyring
    from keyring.backend import KeyringBackend

    class Backend(KeyringBackend):
        """A keyring of this test's own: a backend as any other."""

        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return json.dumps({"token": SECRET}) if (service, username) == ("blaidctl", "feed") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    monkeypatch.setattr("keyring.core._keyring_backend", before)
    keyring.set_keyring(Backend())
    with Rehearsal(wanted={"Authorization": f"Bearer {SECRET}"}) as provider:
        add(cli, provider, "--credentials", "keyring:blaidctl/feed")
        add(cli, provider, "--credentials", "keyring:blaidctl/nobody", name="other")
        done(cli("provider", "check", PROVIDER))
        assert "no such entry" in cli("provider", "check", "other").error["message"]


@pytest.mark.parametrize(
    "words",
    [
        ("--check-url", "http://example.com/"),
        ("--check-url", "https://a:b@example.com/"),
        ("--check-url", "https://example.com/", "--fills-url", "https://other.example.com/"),
        ("--check-url", "https://example.com/", "--fills-url", "https://example.com:8443/"),
        ("--check-url", "https://example.com/", "--credentials", "relative.json"),
        ("--check-url", "https://example.com/", "--degrade-after", "5", "--block-after", "5"),
        ("--check-url", "https://example.com/", "--timeout-s", "0"),
        ("--check-url", "https://example.com/", "--stale-field", "a..b"),
    ],
)
def test_a_provider_that_could_not_be_trusted_is_not_registered(
    sqlite_database: Database, cli: CommandLine, words: tuple[str, ...]
):
    run = cli("provider", "add", PROVIDER, "--kind", "paged", *words)
    assert (run.code, run.error["error_code"]) == (2, "INVALID_REQUEST")
    assert sqlite_database.sql("SELECT count(*) FROM providers") == [(0,)]


def test_the_clock_of_a_check_is_the_one_that_the_guard_judges_by(sqlite_database: Database, cli: CommandLine):
    del sqlite_database
    with Rehearsal() as provider:
        bound(cli, provider, **{"check-within-s": "60"})
        with freezegun.freeze_time(datetime.now(UTC) + timedelta(seconds=90)):
            assert reasons(cli) == ["PROVIDER_STALE"]
