"""`audit verify` in several processes, and `tail` and `export` beside it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from blaidctl.audit import chain
from blaidctl.audit.service import OF_TRACE
from blaidctl.core.canonical import GENESIS
from tests.audit.tampering import blob, broken, history, read, tamper
from tests.kill.fleet import WHY, done, entries, fleet, refused, verified

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

FORGED = "UPDATE audit_log SET actor = 'nobody' WHERE seq = {seq}"


def in_stretches(database: Database, *bounds: tuple[int, int | None]) -> chain.Stretch:
    """Verify stretch by stretch and join, as several processes do."""

    def look(connection: Connection, _settings: object) -> chain.Stretch:
        whole, *parts = (chain.verify_stretch(connection, first, last, lambda _: None) for first, last in bounds)
        for part in parts:
            chain.join(whole, part)
        return whole

    found: chain.Stretch = read(database, look)
    return found


def test_every_cut_of_an_intact_chain_joins(cli: CommandLine, database: Database):
    last = history(cli)["last"]
    whole = in_stretches(database, (1, None))
    assert (whole.entries, whole.last_seq, whole.defects, whole.first_prev) == (last, last, [], GENESIS)
    for cut in range(1, last):
        assert in_stretches(database, (1, cut), (cut + 1, None)) == whole
    assert in_stretches(database, *((n, n) for n in range(1, last + 1))) == whole


@pytest.mark.parametrize(
    "statement",
    [
        FORGED,
        "DELETE FROM audit_log WHERE seq = {seq}",
        "DELETE FROM audit_log WHERE seq BETWEEN {seq} AND {seq} + 2",
        "UPDATE audit_log SET prev_hash = {one} WHERE seq = {seq}",
        "UPDATE audit_log SET entry_hash = {one} WHERE seq = {seq}",
    ],
)
def test_every_cut_finds_the_same_first_bad_entry(cli: CommandLine, database: Database, statement: str):
    numbers = history(cli)
    seq, last = numbers["second kill"], numbers["last"]
    tamper(database, statement.format(seq=seq, one=blob(database, "11" * 32)))
    for cut in range(1, last):
        found = in_stretches(database, (1, cut), (cut + 1, None))
        assert min(where for where, _ in found.defects) == seq, cut
        assert found.last_seq == last
    for width in (1, 2, 3):
        bounds = [(first, first + width - 1) for first in range(1, last + 1, width)]
        assert min(where for where, _ in in_stretches(database, *bounds).defects) == seq


def test_a_missing_tail_is_left_to_the_head(cli: CommandLine, database: Database):
    last = history(cli)["last"]
    tamper(database, f"DELETE FROM audit_log WHERE seq > {last - 3}")
    for cut in range(1, last):
        found = in_stretches(database, (1, cut), (cut + 1, None))
        assert (found.last_seq, found.defects) == (last - 3, [])


def test_defects_beyond_a_hundred_are_counted_out(cli: CommandLine, database: Database):
    fleet(cli)
    for number in range(110):
        done(cli("user", "add", f"user-{number}"))
    tamper(database, "UPDATE audit_log SET actor = 'nobody'")
    run, _, first = broken(cli)
    assert (len(run.json["result"]["defects"]), first) == (chain.MOST_DEFECTS, 1)


@pytest.mark.operation("audit verify")
def test_several_processes_answer_as_one_does(cli: CommandLine, database: Database, monkeypatch: pytest.MonkeyPatch):
    """Real processes: with the smallest stretch made small, three of them share a log of a dozen entries."""
    numbers = history(cli)
    monkeypatch.setattr(chain, "LEAST_ENTRIES_A_WORKER", 4)
    alone = verified(cli)
    assert done(cli("audit", "verify", "--workers", "3")).json["result"] == alone
    tamper(database, FORGED.format(seq=numbers["third kill"]))
    run, checks, first = broken(cli, "--workers", "3")
    assert (checks, first) == ({"chain"}, numbers["third kill"])
    assert run.json["result"] == broken(cli)[0].json["result"]


def test_a_log_that_grows_meanwhile_is_not_broken(
    cli: CommandLine, database: Database, monkeypatch: pytest.MonkeyPatch
):
    """The other processes look later than the first: what was appended in between is not theirs to judge."""
    history(cli)
    monkeypatch.setattr(chain, "LEAST_ENTRIES_A_WORKER", 4)
    grown = []

    def pool(count: int, **_: object) -> ThreadPoolExecutor:
        grown.append(done(cli("kill", "a3", *WHY)).json["audit"]["seq"])
        return ThreadPoolExecutor(count)

    monkeypatch.setattr(chain, "ProcessPoolExecutor", pool)

    def look(connection: Connection, settings: Any) -> chain.Stretch:
        ((head,),) = connection.exec_driver_sql("SELECT seq FROM audit_head").fetchall()
        found = chain.verify_chain(connection, settings, head, 3, lambda _: None)
        assert (found.last_seq, found.defects) == (head, [])
        return found

    with mock.patch.dict(os.environ, cli.environment(), clear=True):
        assert read(database, look).last_seq + 1 == grown[0]


def test_workers_have_limits(cli: CommandLine):
    for number in ("0", "65", "-1"):
        refused(cli("audit", "verify", "--workers", number), 2, "INVALID_REQUEST")


def test_verify_reads_only(cli: CommandLine, database: Database):
    from tests.kill.fleet import dump

    history(cli)
    before = dump(database)
    verified(cli)
    done(cli("audit", "tail"))
    done(cli("audit", "export"))
    assert dump(database) == before


def test_an_empty_log_verifies(cli: CommandLine):
    result = verified(cli)
    assert (result["entries"], result["event_rows"], result["head_seq"]) == (0, 0, 0)
    assert result["head_hash"] == "00" * 32


@pytest.mark.operation("audit tail")
def test_tail_shows_the_latest_last(cli: CommandLine, database: Database):
    last = history(cli)["last"]
    shown = done(cli("audit", "tail", "--limit", "3")).json["result"]["entries"]
    assert [entry["seq"] for entry in shown] == [last - 2, last - 1, last]
    assert shown == done(cli("audit", "tail", "--limit", "100")).json["result"]["entries"][-3:]
    refusal = shown[0]
    stored = entries(database)[last - 3]
    assert (refusal["outcome"], refusal["error_code"]) == ("REFUSED", "BOT_NOT_FOUND")
    assert (refusal["actor"], refusal["trace_id"]) == (stored["actor"], stored["trace_id"])
    refused(cli("audit", "tail", "--limit", "0"), 2, "INVALID_REQUEST")


TRACE, ANOTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7" * 2


def of_trace(cli: CommandLine, trace: str, *options: str) -> dict[str, Any]:
    """Look a trace id up; the look itself runs under another one."""
    answer = done(cli("audit", "tail", "--of-trace", trace, "--trace-id", ANOTHER, *options)).json
    assert answer["trace_id"] == ANOTHER
    result: dict[str, Any] = answer["result"]
    return result


def test_what_happened_under_a_trace_id(cli: CommandLine, database: Database):
    fleet(cli)
    done(cli("kill", "a1", *WHY, "--trace-id", TRACE))
    done(cli("kill", "b1", *WHY))
    refused(cli("kill", "nobody", *WHY, "--trace-id", TRACE), 3, "BOT_NOT_FOUND")
    refused(cli("bot", "show", "nobody", "--trace-id", TRACE), 3, "BOT_NOT_FOUND")
    done(cli("resurrect", "a1", "--reason-code", "DRILL_DONE", "--reason", "x", "--trace-id", TRACE))
    done(cli("audit", "tail", "--trace-id", TRACE))

    found = of_trace(cli, TRACE)
    assert [(e["action"], e["outcome"], e["error_code"]) for e in found["entries"]] == [
        ("kill", "DONE", None),
        ("kill", "REFUSED", "BOT_NOT_FOUND"),
        ("resurrect", "DONE", None),
    ], "a look leaves no entry"
    seqs = [entry["seq"] for entry in found["entries"]]
    assert [(seq,) for seq in seqs] == database.sql(
        f"SELECT seq FROM audit_log WHERE trace_id = '{TRACE}' ORDER BY seq"
    )
    assert seqs[1] - seqs[0] > 1, "what happened in between has another trace id"
    assert {entry["trace_id"] for entry in found["entries"]} == {TRACE}
    assert found["older_left_out"] is False

    newest = of_trace(cli, TRACE, "--limit", "2")
    assert (newest["entries"], newest["older_left_out"]) == (found["entries"][1:], True)
    assert of_trace(cli, TRACE, "--limit", "3") == found
    shown = done(cli("audit", "tail", "--of-trace", TRACE, "--limit", "2", "--output", "table")).stdout
    assert "older left out: yes" in shown
    lines = done(cli("audit", "tail", "--of-trace", TRACE, "--output", "csv")).stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == ["seq", *map(str, seqs)]


def test_the_error_object_s_trace_id_finds_its_refusal(cli: CommandLine):
    fleet(cli)
    error = refused(cli("kill", "nobody", *WHY), 3, "BOT_NOT_FOUND")
    (entry,) = of_trace(cli, error["trace_id"])["entries"]
    assert (entry["error_code"], entry["target"]["request"]["bots"]) == ("BOT_NOT_FOUND", ["nobody"])


def test_a_trace_id_that_nothing_happened_under_is_an_empty_list(cli: CommandLine):
    fleet(cli)
    assert of_trace(cli, TRACE) == {"entries": [], "older_left_out": False}
    shown = done(cli("audit", "tail", "--of-trace", TRACE, "--output", "table")).stdout
    assert shown.splitlines()[0] == "(none)"


@pytest.mark.parametrize(
    "malformed",
    ["", "0" * 32, TRACE.upper(), TRACE[:-1], f"{TRACE}0", f"{TRACE}\n", f" {TRACE}", "4bf9", "%", "٤" * 32],
)
def test_what_is_no_trace_id_is_refused(cli: CommandLine, malformed: str):
    error = refused(cli("audit", "tail", "--of-trace", malformed), 2, "INVALID_REQUEST")
    assert error["missing_requirements"] == ["of_trace: must be 32 lowercase hex digits, not all 0"]


def test_a_trace_id_is_looked_up_in_an_index(database: Database):
    """The plan, not the milliseconds: in a log of a million entries nobody waits for a look at each."""
    text = str(OF_TRACE.clause(database.kind)).replace(":trace", f"'{TRACE}'").replace(":limit", "21")
    with contextlib.closing(database.raw()) as connection:
        if database.kind == "postgresql":  # no statistics speak of an empty table
            connection.execute("SET enable_seqscan = off")
        explain = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}[database.kind]
        plan = repr(connection.execute(explain + text).fetchall())
    assert "ix_audit_log_trace_id" in plan


@pytest.mark.operation("audit export")
def test_the_export_is_checked_by_anyone_with_sha256(cli: CommandLine, process: ProcessCommandLine, database: Database):
    last = history(cli)["last"]
    done(cli("kill", "a3", "--reason-code", "DRILL", "--reason", "\x9b31m red \u202e reversed \x7f [/] é ⚠"))
    run = done(process("audit", "export"))
    lines = run.stdout.splitlines()
    assert len(lines) == last + 1
    previous = "00" * 32
    for number, line in enumerate(lines, 1):
        assert all(character.isprintable() for character in line), "a control character went to the terminal"
        record = json.loads(line)
        entry = json.loads(record["canonical"])
        assert (record["seq"], entry["seq"], entry["prev_hash"]) == (number, number, previous)
        previous = record["entry_hash"]
        assert hashlib.sha256(record["canonical"].encode()).hexdigest() == previous
    assert previous == verified(cli)["head_hash"]
    assert [(text,) for text in (json.loads(line)["canonical"] for line in lines)] == database.sql(
        "SELECT canonical FROM audit_log ORDER BY seq"
    )
