"""AES-256-GCM over the parts of a message, with a key of its own for each message.

    message key       HKDF-SHA-256 of the data key; its salt is the message's id in `Bound`
    nonce             12 bytes of zero
    additional data   the other fields of `Bound`

GCM breaks if a key encrypts two messages under one nonce. Random nonces of 96 bits are safe for
2^32 messages of a key, and one key may serve a fleet for years. So each message has a key of its
own, derived with an id of 144 random bits that no sender repeats, and the nonce is constant.

All parts together are one GCM message, and no part is given away before its tag was verified. This
is the only module that loads `cryptography`.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import (
    AEADDecryptionContext,
    AEADEncryptionContext,
    Cipher,
)
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from claimcheck.core.compression import Parts
from claimcheck.core.ticket import Bound
from claimcheck.errors import ClaimCorrupted

INFO = b"letsgo-claimcheck/1 AES-256-GCM"
"""The purpose that HKDF derives message keys for: a key for any other purpose differs."""

_KEY_BYTES = 32
_NONCE = bytes(12)
_AT_ONCE = 1024 * 1024
"""After so many bytes other threads get a turn: `cryptography` keeps them waiting."""


def encrypt(parts: Parts, secret: bytes, bound: Bound) -> str:
    """Put encrypted parts in place of a message's parts, each of the same length.

    Args:
        parts: The parts. Each is taken out of the list when it is encrypted.
        secret: The data key.
        bound: The facts about the message that its bytes are bound to.

    Returns:
        GCM's tag, in hex.
    """
    context = Cipher(AES(_message_key(secret, bound)), GCM(_NONCE)).encryptor()
    context.authenticate_additional_data(bound.additional_data)
    _replace(parts, context)
    context.finalize()
    return context.tag.hex()


def decrypt(parts: Parts, secret: bytes, bound: Bound, tag: str) -> None:
    """Put decrypted parts in place of encrypted ones.

    Args:
        parts: The encrypted parts. Each is taken out of the list when it is decrypted.
        secret: The data key.
        bound: The facts about the message that its bytes are bound to.
        tag: GCM's tag, in hex.

    Raises:
        ClaimCorrupted: They are not what was encrypted with that key for that message.
    """
    context = Cipher(AES(_message_key(secret, bound)), GCM(_NONCE, bytes.fromhex(tag))).decryptor()
    context.authenticate_additional_data(bound.additional_data)
    _replace(parts, context)
    try:
        context.finalize()
    except InvalidTag:
        parts.clear()
        raise ClaimCorrupted(
            "it does not decrypt: its bytes, its type, its claim or another field of its ticket is "
            "not that of the message that was encrypted"
        ) from None


def _message_key(secret: bytes, bound: Bound) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=bound.id.encode(), info=INFO).derive(secret)


def _replace(parts: Parts, context: AEADEncryptionContext | AEADDecryptionContext) -> None:
    """Replace each part by its result in turn, so that only one part is in memory twice."""
    for number, part in enumerate(parts):
        view, made = memoryview(part), memoryview(bytearray(len(part)))
        for start in range(0, len(part), _AT_ONCE):
            end = start + _AT_ONCE
            context.update_into(view[start:end], made[start:end])
        parts[number] = made
