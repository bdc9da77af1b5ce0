"""What is on a page, whether it is whole, and where the next one begins: without a database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.ledger.fills import Fill, Refusal
from blaidctl.providers import pages
from blaidctl.providers.rules import BadReplyError, Reply
from blaidctl.providers.vocabulary import Failure, ProviderKind
from tests.support.provider import activity, fill, fills

if TYPE_CHECKING:
    from blaidctl.providers.pages import Page

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
PAGED, ALPACA = ProviderKind.PAGED, ProviderKind.ALPACA


def page(kind: ProviderKind, body: Any, cursor: str | None = None, **headers: str) -> Page:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return pages.page_of(kind, Reply(200, headers, raw), cursor, NOW, 60)


def test_a_page_says_where_the_next_one_begins_and_where_a_later_pull_does():
    found = page(PAGED, {"fills": fills(2), "next": "c2"}, "c1")
    assert (found.next, found.resume_from, len(found.objects)) == ("c2", "c2", 2)
    last = page(PAGED, {"fills": [], "next": None}, "c2")
    assert (last.next, last.resume_from) == (None, "c2")
    both = [activity(1), activity(2)]
    found = page(ALPACA, both)
    assert found.next == found.resume_from == both[1]["id"]
    end = page(ALPACA, [], both[1]["id"])
    assert (end.next, end.resume_from) == (None, both[1]["id"])
    assert pages.query(ALPACA, None) == {"direction": "asc", "page_size": "100"}
    assert pages.query(ALPACA, "x").get("page_token") == "x"
    assert (pages.query(PAGED, None), pages.query(PAGED, "x")) == ({}, {"cursor": "x"})


def test_numbers_are_the_texts_that_were_sent():
    body = b'{"fills": [' + json.dumps(fill(1)).replace('"6001.25"', "6001.10").encode() + b'], "next": null}'
    (found,) = page(PAGED, body).records(before=7)
    assert isinstance(found, Fill)
    assert (found.line, found.price, found.exact) == (8, Decimal("6001.10"), False)


def test_records_are_numbered_on_from_the_pages_before():
    (one,) = page(ALPACA, [activity(1)]).records(before=100)
    assert (one.line, isinstance(one, Fill)) == (101, True)
    (bad,) = page(PAGED, {"fills": [fill(1, surprise="x")], "next": None}).records(before=3)
    assert isinstance(bad, Refusal)
    assert (bad.line, bad.reasons) == (4, ("unknown name: 'surprise'",))


OLD, FRESH = ((NOW - timedelta(seconds=age)).isoformat() for age in (61, 1))


@pytest.mark.parametrize(
    ("kind", "body", "cursor", "failure"),
    [
        (PAGED, b"", None, Failure.BAD_JSON),
        (PAGED, b'{"fills": [], "next": null} {}', None, Failure.BAD_JSON),
        (PAGED, b'{"fills": [], "fills": [], "next": null}', None, Failure.BAD_JSON),
        (PAGED, [], None, Failure.BAD_JSON),
        (PAGED, {"next": None}, None, Failure.PARTIAL),
        (PAGED, {"fills": []}, None, Failure.PARTIAL),
        (PAGED, {"fills": {}, "next": None}, None, Failure.BAD_JSON),
        (PAGED, {"fills": [1], "next": None}, None, Failure.BAD_JSON),
        (PAGED, {"fills": fills(2), "count": 3, "next": None}, None, Failure.PARTIAL),
        (PAGED, {"fills": [], "next": ""}, None, Failure.BAD_JSON),
        (PAGED, {"fills": [], "next": 5}, None, Failure.BAD_JSON),
        (PAGED, {"fills": [], "next": "x" * 1001}, None, Failure.BAD_JSON),
        (PAGED, {"fills": [], "next": "a\nb"}, None, Failure.BAD_JSON),
        (PAGED, {"fills": [], "next": "c1"}, "c1", Failure.BAD_JSON),
        (PAGED, {"fills": [], "next": None, "as_of": OLD}, None, Failure.STALE),
        (PAGED, {"fills": [], "next": None, "as_of": "now"}, None, Failure.STALE),
        (PAGED, {"fills": [], "next": None, "as_of": FRESH, "count": 0}, None, None),
        (ALPACA, {}, None, Failure.BAD_JSON),
        (ALPACA, [{"activity_type": "FILL"}], None, Failure.BAD_JSON),
        (ALPACA, [{**activity(1), "id": 5}], None, Failure.BAD_JSON),
        (ALPACA, [activity(1)], activity(1)["id"], Failure.BAD_JSON),
        (ALPACA, [activity(2), activity(1)], None, Failure.BAD_JSON),
        (ALPACA, [activity(1)], activity(2)["id"], Failure.BAD_JSON),
        (ALPACA, [activity(1), activity(3), activity(2)], None, None),
        (ALPACA, [activity(1)], None, None),
        (PAGED, {"fills": [], "next": None, "as_of": int(NOW.timestamp())}, None, None),
        (PAGED, {"fills": [], "next": None, "as_of": int(NOW.timestamp() * 1000)}, None, None),
        (PAGED, {"fills": [], "next": None, "as_of": int(NOW.timestamp()) - 61}, None, Failure.STALE),
    ],
)
def test_what_is_not_one_whole_fresh_page_is_refused(kind: ProviderKind, body: Any, cursor: str | None, failure: Any):
    if failure is None:
        page(kind, body, cursor)
        return
    with pytest.raises(BadReplyError) as refused:
        page(kind, body, cursor)
    assert refused.value.failure == failure


def test_a_page_out_of_an_old_cache_is_refused():
    with pytest.raises(BadReplyError, match="cache"):
        page(PAGED, {"fills": [], "next": None}, age="61")
    with pytest.raises(BadReplyError, match="cache"):
        page(PAGED, {"fills": [], "next": None}, age="00000000061")
