"""What `audit verify` finds when somebody with every right changed the past: triggers off, rows, triggers on."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest

from blaidctl.core import schema_state
from tests.audit.tampering import blob, broken, history, read, rehash, tamper, trigger_names, unguarded
from tests.kill.fleet import BACK, WHY, done, verified

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

AT = "'2026-01-01T00:00:00.000000Z'"


def test_the_untouched_log_verifies_and_so_do_triggers_that_came_back(cli: CommandLine, database: Database):
    """The ground under every other test here: taking triggers off and back on is itself no finding."""
    last = history(cli)["last"]
    with unguarded(database):
        pass
    result = verified(cli)
    assert (result["entries"], result["head_seq"], result["event_rows"]) == (last, last, 6)
    assert (result["first_bad_seq"], result["defects"]) == (None, [])


# ---- the log -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("act_id", "'forged'"),
        ("action", "'audit verify'"),
        ("actor", "'nobody@nowhere'"),
        ("created_at", AT),
        ("events", "'{}'"),
        ("events", "'{\"kill_events\":1}'"),
        ("events", "'{\"kill_events\":{}}'"),
        ("events", "'no json'"),
        ("outcome", "'REFUSED'"),
        ("request_id", "'forged'"),
        ("trace_id", f"'{'f' * 32}'"),
        ("canonical", "canonical || ' '"),
        ("canonical", "replace(canonical, 'a drill', 'a dr1ll')"),
        ("entry_hash", "{one}"),
        ("prev_hash", "{one}"),
    ],
)
def test_each_column_of_an_entry_is_bound(cli: CommandLine, database: Database, column: str, value: str):
    seq = history(cli)["second kill"]
    tamper(
        database,
        f"UPDATE audit_log SET {column} = {value.replace('{one}', blob(database, '11' * 32))} WHERE seq = {seq}",
    )
    _, checks, first = broken(cli)
    assert "chain" in checks
    assert first == seq


def test_a_rehashed_entry_no_longer_carries_the_next(cli: CommandLine, database: Database):
    seq = history(cli)["second kill"]
    rehash(database, seq, "a drill", "a fraud")
    _, checks, first = broken(cli)
    assert (checks, first) == ({"chain"}, seq + 1)


def test_a_rehashed_last_entry_no_longer_is_the_head(cli: CommandLine, database: Database):
    last = history(cli)["last"]
    rehash(database, last, "carol", "karol")
    _, checks, first = broken(cli)
    # The user that the entry made is not the one that it now says, either.
    assert (checks, first) == ({"head", "replay"}, last)


def test_a_deleted_entry_leaves_a_gap(cli: CommandLine, database: Database):
    seq = history(cli)["second kill"]
    tamper(database, f"DELETE FROM audit_log WHERE seq = {seq}")
    run, checks, first = broken(cli)
    assert first == seq
    assert {"chain", "kill_events"} <= checks
    assert f"entries {seq} to {seq} are missing" in run.stderr


def test_a_deleted_last_entry_contradicts_the_head(cli: CommandLine, database: Database):
    last = history(cli)["last"]
    tamper(database, f"DELETE FROM audit_log WHERE seq = {last}")
    run, checks, first = broken(cli)
    assert (checks, first) == ({"head"}, last)
    assert f"the head says {last}, the log ends at {last - 1}" in run.stderr


def test_a_deleted_first_entry_is_no_beginning(cli: CommandLine, database: Database):
    history(cli)
    tamper(database, "DELETE FROM audit_log WHERE seq = 1")
    assert broken(cli)[2] == 1


def test_a_chain_that_begins_with_another_past_is_no_whole_chain(cli: CommandLine, database: Database):
    """Text, columns, hash and head all agree, but the first entry names an entry before it."""
    done(cli("user", "add", "alice"))
    rehash(database, 1, f'"prev_hash":"{"00" * 32}"', f'"prev_hash":"{"11" * 32}"')
    tamper(
        database,
        f"UPDATE audit_log SET prev_hash = {blob(database, '11' * 32)}",
        "UPDATE audit_head SET entry_hash = (SELECT entry_hash FROM audit_log)",
    )
    _, checks, first = broken(cli)
    assert (checks, first) == ({"chain"}, 1)


def test_an_emptied_log_contradicts_the_head(cli: CommandLine, database: Database):
    history(cli)
    tamper(database, "DELETE FROM audit_log")
    assert broken(cli)[2] == 1


def test_swapped_entries_are_named(cli: CommandLine, database: Database):
    seq = history(cli)["first kill"]
    tamper(
        database,
        f"UPDATE audit_log SET seq = 1000 WHERE seq = {seq}",
        f"UPDATE audit_log SET seq = {seq} WHERE seq = {seq + 1}",
        f"UPDATE audit_log SET seq = {seq + 1} WHERE seq = 1000",
    )
    _, checks, first = broken(cli)
    assert ("chain" in checks, first) == (True, seq)


def test_a_forged_entry_at_the_end_contradicts_the_head(cli: CommandLine, database: Database):
    import hashlib

    last = history(cli)["last"]
    ((head, text),) = database.sql("SELECT entry_hash, canonical FROM audit_log WHERE seq = ?", (last,))
    prev = text.split('"prev_hash":"')[1][:64]
    forged = text.replace(prev, bytes(head).hex()).replace(f'"seq":{last},', f'"seq":{last + 1},')
    digest = hashlib.sha256(forged.encode()).hexdigest()
    tamper(
        database,
        f"INSERT INTO audit_log SELECT seq + 1, entry_hash, {blob(database, digest)}, act_id, action, actor,"
        f" created_at, events, outcome, request_id, trace_id, '{forged}' FROM audit_log WHERE seq = {last}",
    )
    _, checks, first = broken(cli)
    assert (checks, first) == ({"head"}, last + 1)


def test_a_forged_entry_in_the_middle_breaks_the_links(cli: CommandLine, database: Database):
    seq = history(cli)["second kill"]
    last = history_end(database)
    moves = [f"UPDATE audit_log SET seq = seq + 1 WHERE seq = {n}" for n in range(last, seq - 1, -1)]
    tamper(
        database,
        *moves,
        f"INSERT INTO audit_log SELECT {seq}, {blob(database, '22' * 32)}, {blob(database, '33' * 32)},"
        " 'forged', action, actor, created_at, '{}', outcome, request_id, trace_id, canonical"
        f" FROM audit_log WHERE seq = {seq + 1}",
    )
    _, checks, first = broken(cli)
    assert ({"chain", "head"} <= checks, first) == (True, seq)


def history_end(database: Database) -> int:
    ((last,),) = database.sql("SELECT max(seq) FROM audit_log")
    return int(last)


@pytest.mark.parametrize("change", ["seq = seq + 1", "seq = seq - 1", "entry_hash = {one}", "seq = 0"])
def test_a_changed_head_contradicts_the_log(cli: CommandLine, database: Database, change: str):
    last = history(cli)["last"]
    tamper(database, f"UPDATE audit_head SET {change.format(one=blob(database, '11' * 32))}")
    _, checks, first = broken(cli)
    assert checks == {"head"}
    assert first == {"seq = seq + 1": last + 1, "entry_hash = {one}": last, "seq = seq - 1": last, "seq = 0": 1}[change]


def test_a_head_that_is_gone_is_found_and_nothing_is_written_any_more(cli: CommandLine, database: Database):
    history(cli)
    tamper(database, "DELETE FROM audit_head")
    run, checks, _ = broken(cli)
    assert checks == {"head"}
    assert "the head is gone" in run.stderr
    before = database.sql("SELECT count(*) FROM kill_events")
    assert cli("kill", "a3", *WHY).code == 70
    assert database.sql("SELECT count(*) FROM kill_events") == before


def test_a_tail_cut_off_with_its_head_is_the_documented_limit(cli: CommandLine, database: Database):
    """Found only against a checkpoint outside the database; without one, verify says so with every answer."""
    last = history(cli)["last"]
    tamper(
        database,
        f"DELETE FROM requests WHERE audit_seq = {last}",
        f"DELETE FROM audit_log WHERE seq = {last}",
        f"UPDATE audit_head SET seq = {last - 1},"
        f" entry_hash = (SELECT entry_hash FROM audit_log WHERE seq = {last - 1})",
    )
    result = verified(cli)
    assert result["head_seq"] == last - 1
    assert "tail cut off" in result["not_checked"][0]
    assert "no checkpoint was given" in result["not_checked"][0]


# ---- the kill events -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("act_id", "'forged'"),
        ("bot_id", "'b2'"),
        ("action", "'RESURRECT'"),
        ("effect", "'ALREADY_IN_STATE'"),
        ("actor", "'nobody@nowhere'"),
        ("reason_code", "'MANUAL'"),
        ("reason", "'another reason'"),
        ("created_at", AT),
        ("metadata", "'{}'"),
        ("metadata", "'{\"channel\": 1.5}'"),
        ("metadata", "'{\"channel\": 123456789012345678901234567890}'"),
        ("metadata", "'{\"ключ\": 1}'"),
        ("metadata", "'null'"),
        ("trace_id", f"'{'f' * 32}'"),
        ("ends_kill_event_id", "1"),
        ("instances_stopped", "7"),
        ("id", "1000"),
    ],
)
def test_each_column_of_a_kill_event_is_bound(cli: CommandLine, database: Database, column: str, value: str):
    seq = history(cli)["second kill"]
    with unguarded(database) as connection:
        if database.kind == "postgresql":
            connection.execute("ALTER TABLE kill_events DROP CONSTRAINT kill_events_ends")
            definition = (
                "CHECK ((ends_kill_event_id IS NOT NULL) = (action = 'RESURRECT' AND effect = 'APPLIED')) NOT VALID"
            )
        connection.execute(f"UPDATE kill_events SET {column} = {value} WHERE bot_id = 'b1'")
        if database.kind == "postgresql":
            connection.execute(f"ALTER TABLE kill_events ADD CONSTRAINT kill_events_ends {definition}")
    _, checks, first = broken(cli)
    assert ("kill_events" in checks, first) == (True, seq)


def test_one_deleted_event_of_an_act_is_missed(cli: CommandLine, database: Database):
    seq = history(cli)["second kill"]
    tamper(database, "DELETE FROM kill_events WHERE bot_id = 'b1'")
    run, checks, first = broken(cli)
    assert ("kill_events" in checks, first) == (True, seq)
    assert "differ from what was hashed (1 of 2)" in run.stderr


@pytest.mark.parametrize("act", ["first kill", "second kill", "third kill"])
def test_all_deleted_events_of_an_act_are_missed(cli: CommandLine, database: Database, act: str):
    seq = history(cli)[act]
    tamper(database, f"DELETE FROM kill_events WHERE act_id = (SELECT act_id FROM audit_log WHERE seq = {seq})")
    run, checks, first = broken(cli)
    assert ("kill_events" in checks, first) == (True, seq)
    assert "the event rows of this act are gone" in run.stderr


def test_a_deleted_history_is_missed(cli: CommandLine, database: Database):
    seq = history(cli)["first kill"]
    tamper(database, "DELETE FROM kill_events")
    assert broken(cli)[2] == seq


@pytest.mark.parametrize("act", ["'forged'", "(SELECT act_id FROM audit_log WHERE outcome = 'REFUSED')"])
def test_an_added_event_belongs_to_no_entry(cli: CommandLine, database: Database, act: str):
    """No trigger refuses a further row of the right form: only the chain shows that no act wrote it."""
    history(cli)
    database.sql(
        "INSERT INTO kill_events (act_id, bot_id, action, effect, actor, reason_code, reason, created_at, metadata,"
        f" trace_id, instances_stopped) VALUES ({act}, 'a3', 'KILL', 'APPLIED', 'x', 'DRILL', 'x', {AT}, '{{}}',"
        f" '{'a' * 32}', 0)"
    )
    run, checks, _ = broken(cli)
    assert {"kill_events", "replay"} <= checks
    assert "event rows that no audit entry covers: ids 7 to 7" in run.stderr
    assert "bot a3: killed_at is None, its events say 2026-01-01T00:00:00.000000Z" in run.stderr


def test_an_event_added_to_a_real_act_is_named(cli: CommandLine, database: Database):
    seq = history(cli)["second kill"]
    rest = "act_id, action, effect, actor, reason_code, reason, created_at, metadata, trace_id, instances_stopped"
    database.sql(f"INSERT INTO kill_events (bot_id, {rest}) SELECT 'a3', {rest} FROM kill_events WHERE bot_id = 'b1'")
    assert broken(cli)[2] == seq


def test_reordered_ids_are_named(cli: CommandLine, database: Database):
    seq = history(cli)["first kill"]
    tamper(
        database,
        "UPDATE kill_events SET id = 900 WHERE id = 1",
        "UPDATE kill_events SET id = 1 WHERE id = 2",
        "UPDATE kill_events SET id = 2 WHERE id = 900",
    )
    _, checks, first = broken(cli)
    assert ("kill_events" in checks, first) == (True, seq)


# ---- the state that the events explain -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE bots SET killed_at = NULL WHERE id = 'a2'", r"bot a2: killed_at is None, its events say 2"),
        (f"UPDATE bots SET killed_at = {AT} WHERE id = 'a3'", r"bot a3: killed_at is 2026-01-01T.*events say None"),
        (f"UPDATE bots SET killed_at = {AT} WHERE id = 'a2'", r"bot a2: killed_at is 2026-01-01T.*, its events say 2"),
        (
            "UPDATE bot_instances SET status = 'RUNNING', stopped_at = NULL, stop_reason = NULL WHERE id = 1",
            r"instance 1 runs although its bot a1 is killed.*bot a1: its kills stopped 2 instance\(s\), 1 are there",
        ),
        (
            "UPDATE bot_instances SET status='RUNNING', stopped_at=NULL, stop_reason=NULL, bot_id='a3' WHERE id = 1",
            r"bot a1: its kills stopped 2 instance\(s\), 1 are there",
        ),
        ("UPDATE bot_instances SET stop_reason = 'EXITED' WHERE id = 1", r"its kills stopped 2 instance\(s\), 1 are"),
        (
            f"UPDATE bot_instances SET stopped_at = {AT} WHERE id = 1",
            r"instance 1 of bot a1 was stopped by a kill that",
        ),
        ("UPDATE bot_instances SET bot_id = 'b1' WHERE id = 1", r"bot a1: its kills stopped 2.*bot b1: its kills"),
    ],
)
def test_a_state_that_no_event_explains_is_named(cli: CommandLine, database: Database, change: str, what: str):
    """Outside the chain there is no sequence to name: the bot or the instance is."""
    history(cli)
    tamper(database, change)
    run, checks, first = broken(cli)
    assert (checks, first) == ({"replay"}, None)
    assert re.search(what, run.error["message"] + " ".join(run.error["missing_requirements"])), run.stderr


@pytest.mark.parametrize(
    ("change", "told", "what"),
    [
        (
            "DELETE FROM bot_instances WHERE id = 3",
            ("instance run", "b1"),
            r"bot b1: its kills stopped 1 instance\(s\), 0 are there",
        ),
        ("DELETE FROM bots WHERE id = 'a1'", ("bot add", "a1"), r"bot a1 is gone, kill event 1 names it"),
        ("DELETE FROM bots WHERE id IN ('b1', 'b2')", ("bot add", "b1"), r"bot b1 is gone, kill event 4 names it"),
        ("DELETE FROM bots", ("bot add", "a1"), r"bot a1 is gone, .*bot a2 is gone, .*bot b1 is gone"),
    ],
)
def test_a_deleted_row_is_named_with_the_entry_that_tells_of_it(
    cli: CommandLine, database: Database, change: str, told: tuple[str, str], what: str
):
    history(cli)
    action, gone = told
    tells = [
        seq
        for seq, canonical in database.sql("SELECT seq, canonical FROM audit_log WHERE action = ?", (action,))
        if f'"{gone}"' in canonical
    ]
    tamper(database, change)
    run, checks, first = broken(cli)
    assert (checks, [first]) == ({"replay"}, tells)
    said = run.error["message"] + " ".join(run.error["missing_requirements"])
    assert re.search(what, said), run.stderr
    assert f"is gone, entry {first} tells of it" in said


def test_the_finding_lasts_until_the_state_is_put_right(cli: CommandLine, database: Database):
    history(cli)
    tamper(database, "UPDATE bots SET killed_at = NULL WHERE id = 'a2'")
    broken(cli)
    done(cli("kill", "a2", *WHY))
    broken(cli)  # the forged life between the two kills stays on record
    done(cli("resurrect", "a2", *BACK))
    broken(cli)


# ---- triggers ------------------------------------------------------------------------------------------------


#: What guards nothing and only tells listeners: made in PostgreSQL's usual mode, all others are ALWAYS.
TELLING = {"bots_tell"}


def found_triggers(cli: CommandLine) -> str:
    run, checks, first = broken(cli)
    assert (checks, first) == ({"triggers"}, None)
    return " ".join(run.error["missing_requirements"])


def every_trigger_defect(database: Database) -> str:
    """All of them: verify itself keeps the first hundred defects."""
    return " ".join(read(database, lambda connection, _: schema_state.trigger_defects(connection)))


def test_each_dropped_trigger_is_named(cli: CommandLine, database: Database):
    names = trigger_names(database)
    assert len(names) >= 18
    for table, name in names:
        database.sql(f"DROP TRIGGER {name}" + (f" ON {table}" if database.kind == "postgresql" else ""))
    assert f"trigger {names[0][1]} is missing" in found_triggers(cli)
    said = every_trigger_defect(database)
    for _, name in names:
        assert f"trigger {name} is missing" in said


def test_each_trigger_that_does_nothing_any_more_is_named(cli: CommandLine, database: Database):
    names = trigger_names(database)
    with contextlib.closing(database.raw()) as connection:
        if database.kind == "sqlite":
            for table, name in names:
                connection.execute(f"DROP TRIGGER {name}")
                connection.execute(f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} BEGIN SELECT 1; END")
        else:
            connection.execute(
                "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"
            )
            for table, name in names:
                connection.execute(f"DROP TRIGGER {name} ON {table}")
                connection.execute(
                    f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION nothing()"
                )
                connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    found_triggers(cli)
    said = every_trigger_defect(database)
    for _, name in names:
        assert f"trigger {name} is not the one of this version" in said


@pytest.mark.parametrize("mode", ["DISABLE", "ENABLE REPLICA", "ENABLE"])
def test_each_trigger_in_another_mode_is_named(cli: CommandLine, postgres_database: Database, mode: str):
    names = trigger_names(postgres_database)
    for table, name in names:
        postgres_database.sql(f"ALTER TABLE {table} {mode} TRIGGER {name}")
    found_triggers(cli)
    said = every_trigger_defect(postgres_database)
    for _, name in names:
        as_made = mode == "ENABLE" and name in TELLING
        assert (f"trigger {name} is not the one of this version" in said) is not as_made, name


def test_a_trigger_function_that_does_nothing_any_more_is_named(cli: CommandLine, postgres_database: Database):
    postgres_database.sql(
        "CREATE OR REPLACE FUNCTION blaidctl_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN NEW; END $$"
    )
    assert "function blaidctl_append_only is not the one of this version" in found_triggers(cli)


def test_a_trigger_that_was_added_is_named(cli: CommandLine, database: Database):
    """A trigger of a stranger could drop rows silently."""
    if database.kind == "sqlite":
        database.sql("CREATE TRIGGER quiet BEFORE INSERT ON kill_events BEGIN SELECT RAISE(IGNORE); END")
    else:
        database.sql("CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
        database.sql("CREATE TRIGGER quiet BEFORE INSERT ON kill_events FOR EACH ROW EXECUTE FUNCTION quiet()")
    assert "trigger quiet is not of this version" in found_triggers(cli)


# ---- what only SQLite can hold -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE audit_log SET canonical = CAST(x'7bff7d' AS TEXT) WHERE seq = {seq}", "chain"),
        ("UPDATE audit_log SET actor = CAST(x'ff' AS TEXT) WHERE seq = {seq}", "chain"),
        ("UPDATE audit_log SET events = CAST(x'ff' AS TEXT) WHERE seq = {seq}", "chain"),
        ("UPDATE kill_events SET reason = CAST(x'ff' AS TEXT) WHERE bot_id = 'b1'", "kill_events"),
        ("UPDATE kill_events SET metadata = 'no json' WHERE bot_id = 'b1'", "kill_events"),
        ("UPDATE bots SET killed_at = CAST(x'ff' AS TEXT) WHERE id = 'a1'", "replay"),
    ],
)
def test_bytes_that_are_no_text_are_a_finding(cli: CommandLine, sqlite_database: Database, statement: str, check: str):
    seq = history(cli)["second kill"]
    tamper(sqlite_database, statement.format(seq=seq))
    _, checks, first = broken(cli)
    assert check in checks
    if check == "chain":
        assert first == seq
