"""Secrets of stored credentials, encrypted: AES-256-GCM by `gateway.credentials_key`.

A signature is verified with the secret itself, so a hash of it would not do.
"""

from __future__ import annotations

import os
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mynamo.errors import ConfigError

_NONCE = 12
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def new_key_pair() -> tuple[str, str]:
    """An access key id and its secret, in the form of AWS's."""
    identity = "".join(secrets.choice(_ALPHABET) for _ in range(16))
    return f"AKIA{identity}", secrets.token_urlsafe(30)


def sealed(secret: str, key: bytes, access_key_id: str) -> bytes:
    """A secret, encrypted; it can be opened as that of the same access key id only."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, secret.encode(), access_key_id.encode())


def unsealed(data: bytes, key: bytes, access_key_id: str) -> str:
    """The secret.

    Raises:
        ConfigError: it was encrypted by another key, or for another access key id.
    """
    try:
        opened = AESGCM(key).decrypt(data[:_NONCE], data[_NONCE:], access_key_id.encode())
    except InvalidTag:
        raise ConfigError(
            f"the secret of {access_key_id} was encrypted by another key than "
            "gateway.credentials_key; rotate the credential, or set the key that it was made with"
        ) from None
    return opened.decode()
