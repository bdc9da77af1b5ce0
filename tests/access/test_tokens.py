"""Tokens: shown once, stored as a hash, worthless when revoked; no other place ever holds one."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.kill.fleet import done, dump, entries, fleet, refused, verified

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

ADD = ("token", "add", "--user", "alice", "--label", "desk dashboard")


@pytest.mark.operation("token add")
def test_a_token_is_shown_once_and_only_its_hash_is_kept(cli: CommandLine, database: Database):
    fleet(cli)
    run = done(cli("token", "add", "--user", "alice", "--label", "desk dashboard", "--request-id", "t1"))
    made = run.json["result"]
    assert (made["user_id"], made["label"]) == ("alice", "desk dashboard")
    assert re.fullmatch(r"blaid_[A-Za-z0-9_-]{43}", made["token"])
    ((sha256, revoked_at),) = database.sql("SELECT token_sha256, revoked_at FROM api_tokens")
    assert (bytes(sha256), revoked_at) == (hashlib.sha256(made["token"].encode()).digest(), None)
    everything = repr(dump(database)) + repr(database.sql("SELECT answer FROM requests")) + repr(entries(database))
    assert made["token"].removeprefix("blaid_") not in everything
    assert made["token"] not in run.stderr
    entry = entries(database)[-1]
    assert (entry["action"], entry["what"]["target"]) == ("token add", {"token": made["token_id"]})
    digest = bytes(sha256).hex()
    assert entry["what"]["after"] == {"user": "alice", "label": "desk dashboard", "sha256": digest}
    verified(cli)


def test_a_replay_shows_no_token_and_makes_none(cli: CommandLine, database: Database):
    fleet(cli)
    first = done(cli(*ADD, "--request-id", "t1")).json
    again = done(cli(*ADD, "--request-id", "t1")).json
    assert (again["replayed"], again["audit"]) == (True, first["audit"])
    assert again["result"] == first["result"] | {"token": None}
    assert len(database.sql("SELECT id FROM api_tokens")) == 1
    other = done(cli(*ADD)).json["result"]
    assert other["token"] != first["result"]["token"]
    refused(cli("token", "add", "--user", "alice", "--label", "another", "--request-id", "t1"), 4, "REQUEST_ID_REUSED")


def test_a_dry_run_shows_no_token_because_it_makes_none(cli: CommandLine, database: Database):
    fleet(cli)
    before = dump(database)
    answer = done(cli(*ADD, "--dry-run")).json
    assert (answer["dry_run"], answer["result"]["token"], answer["audit"]) == (True, None, None)
    assert dump(database) == before


def test_who_owns_a_token_must_be_known_and_what_for_must_be_said(cli: CommandLine, database: Database):
    fleet(cli)
    error = refused(cli("token", "add", "--user", "alicia", "--label", "x"), 3, "USER_NOT_FOUND")
    assert "alice" in error["message"]
    for label in ("", " ", "x" * 201, "..."):
        refused(cli("token", "add", "--user", "alice", "--label", label), 2, "INVALID_REQUEST")
    refused(cli("token", "add", "--user", "alice"), 2, "USAGE")
    assert database.sql("SELECT id FROM api_tokens") == []


@pytest.mark.operation("token list")
def test_the_list_shows_no_secret(cli: CommandLine):
    fleet(cli)
    made = [done(cli(*ADD)).json["result"], done(cli("token", "add", "--user", "bob", "--label", "b")).json["result"]]
    for output in ("json", "table", "csv"):
        run = done(cli("token", "list", "--output", output))
        for token in made:
            assert token["token_id"] in run.stdout
            assert token["token"] not in run.stdout
    listed = done(cli("token", "list")).json["result"]["tokens"]
    assert [(t["token_id"], t["user_id"], t["revoked_at"]) for t in listed] == [
        (t["token_id"], t["user_id"], None) for t in made
    ]
    bob_s = done(cli("token", "list", "--user", "bob")).json["result"]["tokens"]
    assert [t["user_id"] for t in bob_s] == ["bob"]
    refused(cli("token", "list", "--user", "nobody"), 3, "USER_NOT_FOUND")


@pytest.mark.operation("token revoke")
def test_revoking_is_final_and_harmless_to_repeat(cli: CommandLine, database: Database):
    fleet(cli)
    token_id = done(cli(*ADD)).json["result"]["token_id"]
    dry = done(cli("token", "revoke", token_id, "--dry-run")).json
    assert dry["dry_run"]
    assert database.sql("SELECT revoked_at FROM api_tokens") == [(None,)]
    first = done(cli("token", "revoke", token_id, "--reason", "leaked")).json["result"]
    again = done(cli("token", "revoke", token_id)).json["result"]
    assert first == again
    assert done(cli("token", "list")).json["result"]["tokens"][0]["revoked_at"] == first["revoked_at"]
    leaked, repeated = entries(database)[-2:]
    assert (leaked["what"]["reason"], leaked["what"]["before"]) == ("leaked", {"revoked": False})
    assert repeated["what"]["before"] == {"revoked": True}
    error = refused(cli("token", "revoke", "0000000000000000"), 3, "TOKEN_NOT_FOUND")
    assert error["missing_requirements"] == ["token 0000000000000000"]
    verified(cli)


def test_the_secret_itself_in_place_of_its_id_is_not_recorded(cli: CommandLine, database: Database):
    fleet(cli)
    made = done(cli(*ADD)).json["result"]
    before = dump(database)
    run = cli("token", "revoke", made["token"])
    error = refused(run, 2, "INVALID_REQUEST")
    assert "token list" in error["message"]
    assert made["token"] not in run.stderr
    assert dump(database) == before


def test_a_table_shows_the_whole_token(cli: CommandLine):
    fleet(cli)
    run = done(cli(*ADD, tty=True))
    assert re.search(r"blaid_[A-Za-z0-9_-]{43}", run.stdout), "a token that is folded or cut cannot be copied"
