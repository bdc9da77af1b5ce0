"""Signed notes: the C2SP format signed-note (https://c2sp.org/signed-note), with Ed25519 keys only.

The text of a checkpoint is laid out as C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint) says: origin, size and
hash. One thing is adapted: the hash is not the root of a Merkle tree but the head of blaidctl's linear chain, the
`entry_hash` of the entry whose `seq` is the size. It covers every entry before it, because each names the hash of the
one before; there are no consistency proofs, and no witness for Merkle logs may cosign it as one of its own.

`cryptography` is loaded when something is signed or verified, not before: a kill never waits for it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The signature type of Ed25519 in keys and key ids.
_ED25519 = b"\x01"
_PRIVATE = "PRIVATE+KEY+"
_RAW_KEY = 32
_KEY_ID = 4
_DASH = "\N{EM DASH} "
#: A note of sixteen signatures, post-quantum ones too, is smaller.
MOST_BYTES = 1_000_000
_LEAST_LINES = 3
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
#: No space of any kind, no plus, nothing that is not printable: a name stands between separators.
_NAME = re.compile(r"[^\s+\x00-\x20\x7f]{1,200}")
_HASH_BYTES = 32


class NoteError(ValueError):
    """What a note or key says is wrong with it; never what it holds."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and its name: what a note is checked with."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256 of name, newline, type and key: names the key in a signature line."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID]

    def text(self) -> str:
        """Return the verifier key as it is handed on: name, key id and key, joined by plus signs."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(_ED25519 + self.public)}"

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Say whether this key made the signature over the text."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and its name. It is never shown: not in its repr, not in an error."""

    name: str
    seed: bytes = field(repr=False)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Verifier(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def text(self) -> str:
        """Return the key as its file holds it."""
        return f"{_PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{_base64(_ED25519 + self.seed)}"

    def note(self, text: str) -> bytes:
        """Return the signed note of a text that ends in a newline."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return f"{text}\n{_DASH}{self.name} {_base64(self.verifier.key_id + signature)}\n".encode()


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint as it was read; worth nothing before `signed_by` named a known key."""

    text: bytes
    origin: str
    size: int
    head_hash: bytes
    #: (key name, key id, signature), in the order of the lines.
    signatures: tuple[tuple[str, bytes, bytes], ...]

    def signed_by(self, known: Iterable[Verifier]) -> Verifier:
        """Return the first known key that signed it. Raises NoteError: by none, or a known key's signature is wrong."""
        keys = {(key.name, key.key_id): key for key in known}
        found = []
        for name, key_id, signature in self.signatures:
            key = keys.get((name, key_id))
            if key is None:
                continue  # the format says so: other people's signatures are none of our business
            if not key.verifies(self.text, signature):
                msg = f"the signature of {name} ({key_id.hex()}) is wrong"
                raise NoteError(msg)
            found.append(key)
        if not found:
            others = ", ".join(f"{name} ({key_id.hex()})" for name, key_id, _ in self.signatures)
            msg = f"signed by no known key, only by {others}"
            raise NoteError(msg)
        if found[0].name != self.origin:
            msg = f"its origin {self.origin} is not the name of the key that signed it, {found[0].name}"
            raise NoteError(msg)
        return found[0]


def new_signer(name: str) -> Signer:
    """Make a key. Raises NoteError for a name that cannot stand in a note."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Signer(_named(name), Ed25519PrivateKey.generate().private_bytes_raw())


def read_signer(text: str) -> Signer:
    """Read a private key. Raises NoteError, which never quotes it."""
    if not text.startswith(_PRIVATE):
        msg = "it does not hold a private key of a signed note"
        raise NoteError(msg)
    name, key_id, raw = _key_parts(text.removeprefix(_PRIVATE).strip())
    signer = Signer(name, raw)
    if signer.verifier.key_id != key_id:
        msg = "its key id does not fit its key: it was damaged"
        raise NoteError(msg)
    return signer


def read_verifier(text: str) -> Verifier:
    """Read a verifier key. Raises NoteError; a private key in its place is refused without being quoted."""
    if text.startswith("PRIVATE"):
        msg = "this is a private key: keep it in its file, and give the verifier key that `audit key show FILE` prints"
        raise NoteError(msg)
    name, key_id, raw = _key_parts(text.strip())
    verifier = Verifier(name, raw)
    if verifier.key_id != key_id:
        msg = "its key id does not fit its key: it was damaged"
        raise NoteError(msg)
    return verifier


def checkpoint_text(origin: str, size: int, head_hash: bytes) -> str:
    """Return the three lines of a checkpoint."""
    return f"{origin}\n{size}\n{_base64(head_hash)}\n"


def read_note(data: bytes) -> Note:
    """Read a checkpoint. Raises NoteError saying what is wrong with its form."""
    text, signature_lines = _split(data)
    lines = text.decode().split("\n")[:-1]
    if len(lines) < _LEAST_LINES or not all(lines):
        msg = "its text is not origin, size and hash on a line each"
        raise NoteError(msg)
    origin, size, head_hash = lines[:_LEAST_LINES]
    if not _SIZE.fullmatch(size):
        msg = "its size is not a number"
        raise NoteError(msg)
    raw = _decoded(head_hash, "its hash")
    if len(raw) != _HASH_BYTES:
        msg = "its hash is not 32 bytes long"
        raise NoteError(msg)
    return Note(text, origin, int(size), raw, tuple(map(_signature, signature_lines)))


def _split(data: bytes) -> tuple[bytes, list[str]]:
    """Return the text that was signed, with its last newline, and the lines of the signatures."""
    if len(data) > MOST_BYTES:
        msg = f"it is longer than {MOST_BYTES} bytes"
        raise NoteError(msg)
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        msg = "it is not UTF-8"
        raise NoteError(msg) from None
    if any(character < " " and character != "\n" for character in whole):
        msg = "it holds control characters"
        raise NoteError(msg)
    text, blank, signatures = whole.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        msg = "it is not a text, an empty line and signatures"
        raise NoteError(msg)
    return f"{text}\n".encode(), signatures.split("\n")[:-1]


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, coded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _NAME.fullmatch(name):
        msg = "a line below its text is no signature"
        raise NoteError(msg)
    raw = _decoded(coded, "a signature")
    if len(raw) <= _KEY_ID:
        msg = "a signature is too short"
        raise NoteError(msg)
    return name, raw[:_KEY_ID], raw[_KEY_ID:]


def _key_parts(text: str) -> tuple[str, bytes, bytes]:
    """Return name, key id and raw key of an encoded key of either kind."""
    name, _, rest = text.partition("+")
    key_id, _, coded = rest.partition("+")
    raw = _decoded(coded, "the key")
    if not re.fullmatch(r"[0-9a-f]{8}", key_id) or raw[:1] != _ED25519 or len(raw) != 1 + _RAW_KEY:
        msg = "it is not NAME+KEY ID+KEY with an Ed25519 key"
        raise NoteError(msg)
    return _named(name), bytes.fromhex(key_id), raw[1:]


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        msg = "the name must be 1 to 200 characters without spaces and plus signs"
        raise NoteError(msg)
    return name


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or _base64(raw) != text:
        msg = f"{what} is not base64"
        raise NoteError(msg)
    return raw
