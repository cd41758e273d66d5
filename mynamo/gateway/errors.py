"""Errors as DynamoDB's API answers them."""

from __future__ import annotations

from typing import Any

_DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
_CORAL = "com.amazon.coral.service#"
_VALIDATE = "com.amazon.coral.validate#"
_NAMESPACES = {
    "ValidationException": _VALIDATE,
    "AccessDeniedException": _CORAL,
    "ExpiredTokenException": _CORAL,
    "IncompleteSignatureException": _CORAL,
    "InvalidSignatureException": _CORAL,
    "MissingAuthenticationTokenException": _CORAL,
    "SerializationException": _CORAL,
    "ServiceUnavailableException": _CORAL,
    "UnknownOperationException": _CORAL,
    "UnrecognizedClientException": _CORAL,
}


class ServiceError(Exception):
    """An answer that is an error; it never leaves the gateway.

    Args:
        kind: the exception's name, such as "ResourceNotFoundException".
        message: its text; None for the few answers that have none.
        status: of the HTTP answer.
        members: further members of the answer, such as `Item`.
    """

    def __init__(
        self, kind: str, message: str | None = None, status: int = 400, **members: Any
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.members = members

    def body(self) -> dict[str, Any]:
        """The answer's JSON object."""
        named = {"__type": _NAMESPACES.get(self.kind, _DYNAMODB) + self.kind}
        if self.message is not None:
            # The serialization layer of AWS spells the member differently from DynamoDB itself.
            named["Message" if self.kind == "SerializationException" else "message"] = self.message
        return {**named, **self.members}


def invalid(message: str) -> ServiceError:
    """A ValidationException."""
    return ServiceError("ValidationException", message)
