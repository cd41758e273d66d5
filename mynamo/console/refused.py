"""`Refused`: what a page says instead of what it was asked for."""

from __future__ import annotations

from http import HTTPStatus


class Refused(Exception):  # noqa: N818
    """A request is answered with an error page. It never leaves the console.

    Args:
        message: for a person.
        status: of the HTTP answer.
        kind: the name of DynamoDB's exception, if it is one.
        wait: seconds after which it may be tried again; 0: nobody knows.
    """

    def __init__(
        self,
        message: str,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
        kind: str = "",
        wait: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.wait = wait
