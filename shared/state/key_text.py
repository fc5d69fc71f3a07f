"""The text of client keys, `aos_<id>_<secret>`.

The secret has 256 random bits, then a check over the whole text that only the app can compute. So a
mistyped or guessed key is refused without a read from storage, and every key that is looked up was
issued by the app.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass
from typing import Self

KEY_PREFIX = "aos_"

ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_CHARS = 10
"""50 random bits; ids are not secret."""

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARS = 43
"""The fewest digits of base 62 that have 256 bits."""
_CHECK_CHARS = 8
"""47 bits: a guess passes the check once in 10^14 tries."""

KEY_ID = rf"[{ID_ALPHABET}]{{{ID_CHARS}}}"
_ID = re.compile(KEY_ID)
_KEY = re.compile(
    rf"{KEY_PREFIX}(?P<id>{KEY_ID})_(?P<random>[0-9A-Za-z]{{{_RANDOM_CHARS}}})"
    rf"(?P<check>[0-9A-Za-z]{{{_CHECK_CHARS}}})"
)


@dataclass(frozen=True, slots=True, repr=False)
class KeyText:
    """A client key as its caller sends it. Its secret is in no representation of it."""

    key_id: str
    _random: str
    _check: str

    @classmethod
    def new(cls, key_id: str, seal: bytes) -> Self:
        """A new key with a random secret."""
        random = _digits(int.from_bytes(secrets.token_bytes(32)), _RANDOM_CHARS)
        return cls(key_id, random, _check_of(key_id, random, seal))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read an untrusted text; None if it does not have the form of a key."""
        match = _KEY.fullmatch(text)
        return cls(match["id"], match["random"], match["check"]) if match else None

    @property
    def digest(self) -> str:
        """SHA-256 of the secret, which is all of it that is stored.

        One round is enough: 256 random bits cannot be found from it by trying.
        """
        return hashlib.sha256(f"{self._random}{self._check}".encode()).hexdigest()

    def is_sealed_by(self, seal: bytes) -> bool:
        """Whether the check is one that the holder of ``seal`` computed."""
        return hmac.compare_digest(self._check, _check_of(self.key_id, self._random, seal))

    def show(self) -> str:
        """The whole key, to be shown once."""
        return f"{KEY_PREFIX}{self.key_id}_{self._random}{self._check}"


def is_key_id(text: str) -> bool:
    """Whether an untrusted text has the form of an id."""
    return _ID.fullmatch(text) is not None


def new_key_id() -> str:
    """A random id."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_CHARS))


def key_id_from(name: str) -> str:
    """The id that belongs to a name: always the same one."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest())
    return _digits(number, ID_CHARS, ID_ALPHABET)


def _check_of(key_id: str, random: str, seal: bytes) -> str:
    code = hmac.digest(seal, f"{key_id}_{random}".encode(), "sha256")
    return _digits(int.from_bytes(code), _CHECK_CHARS)


def _digits(number: int, count: int, alphabet: str = _ALPHABET) -> str:
    """The last ``count`` digits of a number."""
    digits: list[str] = []
    for _ in range(count):
        number, rest = divmod(number, len(alphabet))
        digits.append(alphabet[rest])
    return "".join(digits)
