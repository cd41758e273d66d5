"""Who is signed in: sessions, kept in memory, and attempts to sign in that failed."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mynamo.gateway.auth.credentials import Credential, Find
from mynamo.gateway.auth.signatures import check_usable
from mynamo.gateway.service_errors import ServiceError
from mynamo.schemas.gateway_config import AccessKey

IDLE_SECONDS = 30 * 60.0
"""After which a session ends in which nothing was asked for."""
LONGEST_SECONDS = 8 * 3600.0
"""After which every session ends."""
MOST_SESSIONS = 1000
ATTEMPTS = 5
"""To sign in that may fail, of one address or for one access key id, in `ATTEMPTS_SECONDS`."""
ATTEMPTS_SECONDS = 60.0
_MOST_KNOWN = 10_000
_NOBODY = secrets.token_urlsafe(32)


def signed_in(
    find: Find, access_key_id: str, secret: str, token: str | None, now: float
) -> Credential | None:
    """The credential that someone has; None: he has none that counts.

    Args:
        token: the session token, which credentials of the configuration may ask for.
        now: seconds since 1970.
    """
    credential = find(access_key_id)
    wanted = _NOBODY if credential is None else credential.pair.secret_access_key.get_secret_value()
    same = hmac.compare_digest(wanted.encode(), secret.encode())  # takes as long for an unknown id
    if credential is None or not same:
        return None
    try:
        check_usable(credential.pair, token, now)
    except ServiceError:
        return None
    return credential


def still_counts(find: Find, pair: AccessKey) -> Credential | None:
    """The credential of a pair as it is now; None: it is revoked, rotated or expired."""
    credential = find(pair.access_key_id)
    if credential is None or credential.pair != pair:
        return None
    is_over = pair.expires is not None and pair.expires.timestamp() < time.time()
    return None if is_over else credential


@dataclass(slots=True)
class Session:
    """A person who signed in.

    Attributes:
        pair: that he signed in with; another one under the same id ends the session.
        form_token: that his forms bring along.
        began_at, used_at: monotonic.
    """

    pair: AccessKey
    began_at: float
    used_at: float
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class Sessions:
    """Sessions by their names, which are random and known to one browser each. Safe to share
    between threads.

    Args:
        find: the credentials that count.
    """

    def __init__(self, find: Find, clock: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # the one last used last
        self._lock = threading.Lock()

    def begin(self, credential: Credential) -> str:
        """Begin a session; its name is for the browser's cookie alone. If there are too many, the
        one that was not used for the longest time ends."""
        name, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._sessions[name] = Session(credential.pair, now, now)
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return name

    def find(self, name: str, *, uses: bool) -> tuple[Session, Credential] | None:
        """A session that has not ended, and its credential as it is now.

        Args:
            uses: a person asks; False: a page does by itself, which keeps no session alive.
        """
        now = self._clock()
        with self._lock:
            session = self._sessions.get(name)
            if session is None:
                return None
            idle, age = now - session.used_at, now - session.began_at
            credential = still_counts(self._find, session.pair)
            if idle > IDLE_SECONDS or age > LONGEST_SECONDS or credential is None:
                del self._sessions[name]
                return None
            if uses:
                session.used_at = now
                self._sessions.move_to_end(name)
            return session, credential

    def end(self, name: str) -> None:
        """End a session, if it is one."""
        with self._lock:
            self._sessions.pop(name, None)


class FailedAttempts:
    """Bounds how often signing in may fail. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, *whose: str) -> float:
        """Note an attempt as failed until `forgive` says otherwise: so attempts at the same time
        count too.

        Args:
            whose: what it counts for, such as its address.

        Returns:
            Seconds until another attempt may be made; 0: this one may.
        """
        now = self._clock()
        with self._lock:
            wait = max(self._wait(each, now) for each in whose)
            if wait <= 0:
                for each in whose:
                    self._failed.setdefault(each, deque(maxlen=ATTEMPTS)).append(now)
                    self._failed.move_to_end(each)
            while len(self._failed) > _MOST_KNOWN:
                self._failed.popitem(last=False)
        return wait

    def forgive(self, *whose: str) -> None:
        """The last attempt did not fail."""
        with self._lock:
            for each in whose:
                if self._failed.get(each):
                    self._failed[each].pop()

    def _wait(self, each: str, now: float) -> float:
        times = self._failed.get(each)
        if times is None or len(times) < ATTEMPTS:
            return 0.0
        return max(0.0, times[0] + ATTEMPTS_SECONDS - now)
