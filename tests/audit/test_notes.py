"""Signed notes: byte for byte what others write and read, and every broken one refused."""

from __future__ import annotations

import base64

import pytest

from blaidctl.core import notes
from blaidctl.core.notes import NoteError

#: Somebody else's key and note, from the documentation of the Elixir package signed_note 1.0.0 on hex.pm.
THEIR_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
THEIR_TEXT = "This is an example message.\n"
THEIR_SIGNATURE = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
#: RFC 8032, section 7.1, test 1: the secret key and the public key that belongs to it.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
HASH = bytes(range(32))
DESK = notes.Signer("desk.example/log", SEED)
TEXT = notes.checkpoint_text("desk.example/log", 7, HASH)
NOTE = DESK.note(TEXT)


def test_a_note_of_another_program_is_verified():
    key = notes.read_verifier(THEIR_KEY)
    raw = base64.b64decode(THEIR_SIGNATURE)
    assert key.text() == THEIR_KEY
    assert raw[:4] == key.key_id
    assert key.verifies(THEIR_TEXT.encode(), raw[4:])
    assert not key.verifies(THEIR_TEXT.encode() + b" ", raw[4:])


def test_the_key_is_the_one_of_the_rfc():
    assert DESK.verifier.public == PUBLIC
    assert notes.read_signer(DESK.text()) == DESK
    assert notes.read_verifier(DESK.verifier.text()) == DESK.verifier


def test_a_checkpoint_is_three_lines_and_a_signature():
    name, size, head_hash, empty, signature, end = NOTE.decode().split("\n")
    assert (name, size, empty, end) == ("desk.example/log", "7", "", "")
    assert base64.b64decode(head_hash) == HASH
    assert signature.startswith("— desk.example/log ")
    raw = base64.b64decode(signature.rpartition(" ")[2])
    assert (raw[:4], len(raw)) == (DESK.verifier.key_id, 68)


def test_what_was_signed_is_read_again():
    note = notes.read_note(NOTE)
    assert (note.origin, note.size, note.head_hash) == ("desk.example/log", 7, HASH)
    assert note.signed_by([DESK.verifier]) == DESK.verifier


def test_signatures_of_strangers_are_ignored_and_those_of_known_keys_must_hold():
    other = notes.new_signer("witness.example")
    both = NOTE + other.note(TEXT).split(b"\n\n")[1]
    assert notes.read_note(both).signed_by([DESK.verifier]) == DESK.verifier
    assert notes.read_note(both).signed_by([other.verifier, DESK.verifier]) == DESK.verifier
    lie = other.note(TEXT.replace("7", "8")).split(b"\n\n")[1]
    with pytest.raises(NoteError, match=r"the signature of witness\.example .* is wrong"):
        notes.read_note(NOTE + lie).signed_by([DESK.verifier, other.verifier])
    assert notes.read_note(NOTE + lie).signed_by([DESK.verifier])


def test_a_note_of_unknown_keys_only_is_nobodys():
    with pytest.raises(NoteError, match=r"signed by no known key, only by desk\.example/log"):
        notes.read_note(NOTE).signed_by([notes.new_signer("desk.example/log").verifier])


def test_a_note_is_its_origins_own():
    """A key that signs for another log does not vouch for this one."""
    with pytest.raises(NoteError, match="its origin other is not the name of the key"):
        notes.read_note(DESK.note(notes.checkpoint_text("other", 7, HASH))).signed_by([DESK.verifier])


@pytest.mark.parametrize("position", range(len(TEXT)))
def test_every_character_of_the_text_is_signed(position: int):
    changed = bytearray(NOTE)
    changed[position] = ord("x") if changed[position] != ord("x") else ord("y")
    with pytest.raises(NoteError):
        notes.read_note(bytes(changed)).signed_by([DESK.verifier])


def lines(*text: str) -> bytes:
    return DESK.note("".join(f"{line}\n" for line in text))


CODED = base64.b64encode(HASH).decode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a text, an empty line and signatures"),
        (NOTE[:-1], "not a text, an empty line and signatures"),
        (TEXT.encode(), "not a text, an empty line and signatures"),
        (NOTE.replace(b"\n\n", b"\n"), "not a text, an empty line and signatures"),
        (NOTE.replace(b"log\n7", b"log\r\n7"), "control characters"),
        (b"\xff" + NOTE, "not UTF-8"),
        (NOTE + b"-- somebody AAAA\n", "no signature"),
        (NOTE.replace("—".encode(), b"-"), "no signature"),
        (NOTE + "— a+b AAAAAAA=\n".encode(), "no signature"),
        (NOTE + "— somebody AAAAAA==\n".encode(), "too short"),
        (NOTE + "— somebody A*AA\n".encode(), "not base64"),
        (lines("desk.example/log", "7"), "origin, size and hash"),
        (lines("desk.example/log", "", "7", CODED), "origin, size and hash"),
        (lines("desk.example/log", "07", CODED), "not a number"),
        (lines("desk.example/log", "-7", CODED), "not a number"),
        (lines("desk.example/log", "\u0667", CODED), "not a number"),
        (lines("desk.example/log", "9" * 20, CODED), "not a number"),
        (lines("desk.example/log", "7", CODED[:-1]), "not base64"),
        (lines("desk.example/log", "7", CODED[:-4]), "not 32 bytes"),
        (NOTE + b"x" * notes.MOST_BYTES, "longer than"),
    ],
)
def test_a_note_of_another_form_is_refused(data: bytes, why: str):
    with pytest.raises(NoteError, match=why):
        notes.read_note(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+530d903a",
        "name+530d903a+",
        THEIR_KEY.replace("530d903a", "530d903b"),
        THEIR_KEY.replace("foo", "bar"),
        THEIR_KEY.replace("Aeky", "Beky"),
        THEIR_KEY[:-4],
        THEIR_KEY.replace("example.com/foo", "two words"),
        DESK.text(),
        f"PRIVATE {DESK.text()}",
    ],
)
def test_what_is_no_verifier_key_is_refused_and_never_quoted(text: str):
    with pytest.raises(NoteError) as caught:
        notes.read_verifier(text)
    assert DESK.text()[-20:] not in str(caught.value)


@pytest.mark.parametrize("text", ["", THEIR_KEY, DESK.text().replace("log", "lag"), DESK.text()[:-8]])
def test_what_is_no_private_key_is_refused_and_never_quoted(text: str):
    with pytest.raises(NoteError) as caught:
        notes.read_signer(text)
    assert text[-20:] not in str(caught.value) or not text


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\nb", "a\u2003b", "x" * 201])
def test_a_name_that_would_break_a_line_is_refused(name: str):
    with pytest.raises(NoteError, match="the name must be"):
        notes.new_signer(name)


def test_a_private_key_is_not_shown_by_accident():
    assert str(SEED) not in repr(DESK)
    assert "seed" not in repr(DESK)
