"""Canonical JSON is RFC 8785: compared with another hand's implementation."""

from __future__ import annotations

import hashlib
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from blaidctl.core.canonical import GENESIS, canonical, fingerprint, quote, sha256_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.text(st.characters(max_codepoint=0x7F), max_size=8)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_the_text_is_that_of_rfc_8785(value: object):
    assert canonical(value).encode() == rfc8785.dumps(value)  # type: ignore[arg-type]
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(KEYS, VALUES, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, object], dice: object):
    items = list(value.items())
    dice.shuffle(items)  # type: ignore[attr-defined]
    assert canonical(dict(items)) == canonical(value)
    assert fingerprint(dict(items)) == hashlib.sha256(rfc8785.dumps(value)).hexdigest()  # type: ignore[arg-type]


@given(TEXTS)
def test_one_string_is_quoted_as_inside_a_document(text: str):
    """`audit verify` builds the start of an entry from its columns with this."""
    assert quote(text) == canonical(text)
    assert sha256_text(text) == hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (1.0, TypeError),
        (float("nan"), TypeError),
        (float("inf"), TypeError),
        ({"a": [0.1]}, TypeError),
        (b"bytes", TypeError),
        ({1: "x"}, TypeError),
        ({"é": "x"}, TypeError),
        ({None: "x"}, TypeError),
        ({1}, TypeError),
        (2**53 + 1, ValueError),
        (-(2**53) - 1, ValueError),
        ([{"a": 10**30}], ValueError),
    ],
    ids=repr,
)
def test_what_has_no_exact_form_is_refused(value: object, error: type[Exception]):
    with pytest.raises(error):
        canonical(value)


def test_the_chain_begins_with_32_zero_bytes():
    assert bytes(32) == GENESIS
