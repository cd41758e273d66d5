"""`Console`: what all requests share. `Visit`: one request, and what its sender may do."""

from __future__ import annotations

import hmac
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from secrets import token_urlsafe
from typing import Any

import orjson

from mynamo.catalog.cluster import Cluster
from mynamo.console.comparison_jobs import ComparisonJobs
from mynamo.console.item_forms import encoded
from mynamo.console.page_parts import PageParts, Part
from mynamo.console.refused import Refused
from mynamo.console.sign_ins import FailedAttempts, Sessions, still_counts
from mynamo.gateway.auth.credentials import Find
from mynamo.gateway.context import Sender, Signer
from mynamo.gateway.service import Service
from mynamo.gateway.service_errors import ServiceError
from mynamo.log.dead_letter_topic import DeadLetterList
from mynamo.reader import Plan
from mynamo.schemas.gateway_config import AccessKey, GatewayConfig

FORM_TOKEN = "form_token"  # noqa: S105 -- the name of a field
"""The field of every form that shows that it came from a page of the console."""
DENIED = "AccessDeniedException"


class Console:
    """The console of a cluster, for all who use it. Safe to share between threads.

    Args:
        cluster: that is shown.
        config: the gateway's; its region, account and TLS are the console's too.
        find: credentials that count; None: nobody signs in, and everybody may do everything.
        writes: forms may change items, indexes and dead letters, where rights allow it.
    """

    def __init__(
        self, cluster: Cluster, config: GatewayConfig, find: Find | None, writes: bool
    ) -> None:
        self.cluster = cluster
        self.service = Service(cluster, config)
        self.find = find
        self.writes = writes
        self.secure = config.cert is not None
        self.host = config.host
        self.cookie = f"mynamo_console_{cluster.fingerprint:08x}"
        """Its name: a browser has the same cookies for all ports of a host, and may show several
        clusters."""
        self.sessions = None if find is None else Sessions(find)
        self.attempts = FailedAttempts()
        self.parts = PageParts()
        self.dead_letters = DeadLetterList(cluster.config.kafka)
        self.dead_letters_lock = threading.Lock()
        self.jobs = ComparisonJobs(cluster)
        self.form_token = token_urlsafe(32)
        """Of all forms, where nobody signs in."""

    def close(self) -> None:
        """Stop what runs in the background."""
        self.jobs.close()


@dataclass(slots=True)
class Answered:
    """An answer of the API.

    Attributes:
        plan: of a query or a scan.
    """

    body: dict[str, Any]
    plan: Plan | None = None


@dataclass(slots=True)
class Visit:
    """One request.

    Attributes:
        path: as it came, without its query.
        given: parts of the path, by name.
        query: of the address; the last value of each name.
        sender: whose policies count.
        form_token: that its form must bring along, and those of its page do.
        cookies: that came along.
        session: its name; empty: there is none.
        pair: that whoever sends it signed in with.
        form: of the body, as `query`.
    """

    console: Console
    path: str
    given: Mapping[str, str]
    query: Mapping[str, str]
    sender: Sender
    form_token: str
    cookies: Mapping[str, str]
    session: str = ""
    pair: AccessKey | None = None
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_write(self) -> bool:
        """Whether the console was started so that forms may change something."""
        return self.console.writes

    def check_form(self) -> None:
        """Refuse a form that came from another page than one of the console, for this session.

        Raises:
            Refused: it has another token, or none.
        """
        given = self.form.get(FORM_TOKEN, "")
        if not hmac.compare_digest(given.encode(), self.form_token.encode()):
            raise Refused(
                "the form is out of date, or came from elsewhere: go back, load the page again, "
                "and send it once more",
                HTTPStatus.FORBIDDEN,
            )

    def check_writes(self) -> None:
        """Refuse what changes something, unless the console was started to allow that.

        Raises:
            Refused: it was not.
        """
        if not self.may_write:
            raise Refused(
                "this console is read-only: `mynamo console --allow-writes` starts one that is not",
                HTTPStatus.FORBIDDEN,
            )

    def call(self, operation: str, **request: Any) -> Answered:
        """Call DynamoDB's API with the rights of whoever signed in.

        Raises:
            Refused: the answer is an error.
        """
        answer = self.console.service.call(
            operation, encoded(request), {}, str(uuid.uuid4()), self.sender
        )
        body = orjson.loads(answer.body)
        if answer.status == HTTPStatus.OK:
            return Answered(body, answer.plan)
        kind = body["__type"].rpartition("#")[2]
        raise refused(answer.status, kind, body.get("message") or body.get("Message"))

    def check_right(self, action: str, table: str | None = None) -> None:
        """Check an operator's action, see `Service.check_operator`.

        Raises:
            Refused: it is not allowed.
        """
        try:
            self.console.service.check_operator(self.sender, action, table)
        except ServiceError as error:
            raise refused(error.status, error.kind, error.message) from None

    def has_right(self, action: str, table: str | None = None) -> bool:
        """Whether an operator's action is allowed; to offer it or not."""
        return self.console.service.allows_operator(self.sender, action, table)

    def lasting_right(self, action: str, table: str) -> Callable[[], bool]:
        """What says, at any later time, whether the sender still has a right: while his credential
        counts, though the session may have ended."""
        console, pair, peer = self.console, self.pair, self.sender.peer

        def holds() -> bool:
            if console.find is None or pair is None:
                return True
            credential = still_counts(console.find, pair)
            if credential is None:
                return False
            sender = Sender(Signer(credential.user, credential.principal), peer)
            return console.service.allows_operator(sender, action, table)

        return holds

    def note_done(
        self, action: str, table: str | None = None, dead_letter: str = "", error: str = ""
    ) -> None:
        """Write to the audit log what an operator did, see `Service.note_operator`."""
        self.console.service.note_operator(self.sender, action, table, dead_letter, error)

    def parts(self, works: Mapping[str, Callable[[], Any]]) -> dict[str, Part]:
        """Parts of the page, see `PageParts.of`."""
        return self.console.parts.of(works)


def refused(status: int, kind: str, message: str | None) -> Refused:
    """The error of an answer of the API, for a person."""
    if kind == DENIED:
        status = HTTPStatus.FORBIDDEN
    elif kind == "ResourceNotFoundException":
        status = HTTPStatus.NOT_FOUND
    return Refused(message or kind, HTTPStatus(status), kind)
