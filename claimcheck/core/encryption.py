"""Encrypted claims: which keys encrypt them and decrypt them, and how a setting names these.

    data key      given in the settings, or made by KMS and used for a while
    message key   of each message, derived from a data key; see `aes_gcm`

A ticket names its data key. A reader that does not have it refuses the message before it asks the
store for anything.
"""

from __future__ import annotations

import hashlib
import importlib
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from claimcheck.core.compression import Parts
from claimcheck.core.ticket import ALGORITHM, Bound, Encrypted, SealedMessage
from claimcheck.errors import (
    EncryptionError,
    EncryptionKeyRefused,
    EncryptionKeyUnknown,
    SettingsInvalid,
)
from letsgo_queue.forking import forks_wait

if TYPE_CHECKING:
    import boto3.session

KEY_BYTES = 32
SETTING = "encryption (CLAIMCHECK_ENCRYPTION)"

_NONE = "none"
_KEY_ID_CHARACTERS = 16
Decrypt: TypeAlias = Callable[[Parts], None]
"""Puts decrypted parts in place of a message's parts; raises `ClaimCorrupted`."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key that message keys are derived from.

    Attributes:
        name: Its name in tickets, by which a reader finds the key.
        secret: The key.
    """

    name: str
    secret: bytes = field(repr=False)


class Keys(Protocol):
    """Where data keys come from: one entry of the setting."""

    @property
    def kind(self) -> str:
        """How the names of its keys begin."""
        ...

    def for_sealing(self) -> DataKey:
        """Return the data key for a message to be sent.

        Raises:
            EncryptionKeyRefused: KMS gave none.
        """
        ...

    def for_opening(self, name: str) -> bytes | None:
        """Return the data key with a name from a ticket, without its kind; None for another kind.

        Raises:
            EncryptionKeyRefused: KMS did not give it.
        """
        ...


@runtime_checkable
class RemoteKeys(Protocol):
    """Keys that somebody else has, who may refuse them."""

    def try_out(self) -> None:
        """Get a data key for sealing and again for opening, whatever is kept here.

        Raises:
            EncryptionKeyRefused: Either was refused.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Decryption:
    """Decrypts one message. A traceback may show it, and then shows no key."""

    secret: bytes = field(repr=False)
    bound: Bound
    tag: str

    def __call__(self, parts: Parts) -> None:
        from claimcheck.core import aes_gcm

        aes_gcm.decrypt(parts, self.secret, self.bound, self.tag)


class Aes256Key:
    """A key that the setting itself has."""

    kind = "aes256"

    def __init__(self, secret: bytes) -> None:
        """Take the key."""
        # Of 256 random bits, 64 bits of their hash tell nothing.
        self._id = hashlib.sha256(secret).hexdigest()[:_KEY_ID_CHARACTERS]
        self._secret = secret

    def for_sealing(self) -> DataKey:
        """The key; see `Keys`."""
        return DataKey(f"{self.kind}:{self._id}", self._secret)

    def for_opening(self, name: str) -> bytes | None:
        """The key, if it has that id; see `Keys`."""
        return self._secret if name == self._id else None


class Encryption:
    """Encrypts with the first of its keys, and decrypts with any: that is rotation.

    Attributes:
        encrypts: Whether messages are encrypted.
        accepts_plain: Whether messages that are not encrypted are opened too.
    """

    def __init__(
        self, keys: Sequence[Keys], *, encrypts: bool = True, accepts_plain: bool = False
    ) -> None:
        """Take the keys; `open_encryption` makes them of a setting."""
        self._keys = keys
        self.encrypts = encrypts
        self.accepts_plain = accepts_plain

    def encrypt(self, parts: Parts, bound: Bound) -> Encrypted:
        """Put encrypted parts in place of a message's parts, each of the same length.

        Args:
            parts: The encoded bytes. Each is taken out of the list when it is encrypted.
            bound: The facts about the message that its bytes are bound to.

        Returns:
            The part of its ticket about encryption.

        Raises:
            EncryptionKeyRefused: KMS gave no key.
        """
        try:
            key = self._keys[0].for_sealing()
        except EncryptionError as error:
            text = f"message of type {bound.type!r} was not sent: {error}"
            raise type(error)(text) from error.__cause__
        from claimcheck.core import aes_gcm

        tag = aes_gcm.encrypt(parts, key.secret, bound)
        return Encrypted(algorithm=ALGORITHM, key=key.name, tag=tag)

    def decryption(self, sealed: SealedMessage, encrypted: Encrypted, *, what: str) -> Decrypt:
        """Get the key of a message; nothing of it is read or decrypted yet.

        Args:
            sealed: The message.
            encrypted: The part of its ticket about encryption.
            what: The message, for errors.

        Raises:
            EncryptionKeyUnknown: The key is not here.
            EncryptionKeyRefused: KMS did not give it.
        """
        try:
            secret = self._secret_of(encrypted.key)
        except EncryptionError as error:
            raise type(error)(f"{what}: {error}") from error.__cause__
        return _Decryption(secret, Bound.of(sealed), encrypted.tag)

    def try_out(self) -> None:
        """Find out whether the key that encrypts can be used here, to seal and to open.

        Raises:
            EncryptionKeyRefused: KMS refused.
        """
        if isinstance(self._keys[0], RemoteKeys):
            self._keys[0].try_out()

    def _secret_of(self, key: str) -> bytes:
        kind, _, name = key.partition(":")
        refused: EncryptionKeyRefused | None = None
        for keys in self._keys:
            if keys.kind != kind:
                continue
            try:
                secret = keys.for_opening(name)
            except EncryptionKeyRefused as error:  # the right key may be another
                refused = refused or error
            else:
                if secret is not None:
                    return secret
        if refused is not None:
            raise refused
        raise EncryptionKeyUnknown(
            f"it is encrypted with {f'the key {key}' if kind == 'aes256' else 'a key of KMS'}, "
            f"which is not among those in {SETTING} here. Give this reader the sender's key too, "
            "separated from its own by a comma."
        )


def open_encryption(
    setting: str | Sequence[str],
    *,
    region: str | None = None,
    session: boto3.session.Session | None = None,
) -> Encryption:
    """Make an encryption of a setting; KMS is not asked yet.

    Args:
        setting: `kms://KEY` or `aes256:BASE64`; or several, in a list or separated by commas. The
            first encrypts, all decrypt. Behind `aes256:` more keys may follow without it. With
            `none` among them, messages that are not encrypted are accepted; with `none` first,
            messages are sent so. That is for the time in which encryption is turned on.
        region: The region of KMS, where neither the key's ARN nor `?region=` says it.
        session: The boto3 session for requests to KMS. By default one of the environment.

    Raises:
        SettingsInvalid: It is none of these, or `cryptography` is not installed.
    """
    try:
        with forks_wait():
            importlib.import_module("claimcheck.core.aes_gcm")
    except ModuleNotFoundError:
        raise SettingsInvalid(
            f"{SETTING} needs cryptography: pip install 'letsgo-claimcheck[encryption]'"
        ) from None
    keys: list[Keys] = []
    # An error shows no entry: it may be a key, whatever is before it.
    entries = setting.split(",") if isinstance(setting, str) else setting
    if not isinstance(entries, list | tuple) or not all(isinstance(each, str) for each in entries):
        raise SettingsInvalid(f"{SETTING}: give text, a list of texts, or an Encryption.")
    entries = [entry.strip() for entry in entries]
    for position, entry in enumerate(entries, 1):
        scheme, separator, rest = entry.partition(":")
        if entry == _NONE:
            continue
        if scheme == "kms" and rest.startswith("//"):
            from claimcheck.core.kms import kms_key

            keys.append(kms_key(rest.removeprefix("//"), region=region, session=session))
        elif scheme == "aes256" and separator:
            keys.append(Aes256Key(_secret(rest, position)))
        elif not separator and keys and isinstance(keys[-1], Aes256Key):
            keys.append(Aes256Key(_secret(scheme, position)))
        else:
            raise SettingsInvalid(
                f"{SETTING}: entry {position} does not begin with kms:// or aes256:. Give "
                "kms://KEY (an id, an alias or an ARN) or aes256:BASE64 (32 random bytes)."
            )
    if not keys:
        raise SettingsInvalid(f"{SETTING}: there is no key in it. Give kms://KEY or aes256:BASE64.")
    return Encryption(keys, encrypts=entries[0] != _NONE, accepts_plain=_NONE in entries)


def _secret(text: str, position: int) -> bytes:
    try:
        secret = b64decode(text, validate=True)
    except ValueError:  # it has the key in it
        secret = b""
    if len(secret) != KEY_BYTES:
        raise SettingsInvalid(
            f"{SETTING}: key {position} is not {KEY_BYTES} bytes in base64. "
            "`openssl rand -base64 32` makes one."
        )
    return secret
