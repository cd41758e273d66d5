"""The part of Prometheus' HTTP API that pictures and `mynamo demo-watch` need."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from typing import Any

from mynamo.errors import LocalServerError

TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Series:
    """A series over time.

    Attributes:
        labels: of it.
        points: seconds since 1970 and values; there is none where the query gave nothing.
    """

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """An alert that is pending or firing.

    Attributes:
        name: of its rule.
        labels: its other labels, without the severity.
        firing: False: it is pending.
        since: seconds since 1970 at which its condition began to hold.
    """

    name: str
    labels: tuple[tuple[str, str], ...]
    firing: bool
    since: float


class PrometheusApi:
    """Asks a Prometheus.

    Args:
        url: of it, without a path.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def over_time(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """The values of a query at each step of a span of time.

        Args:
            start, end: seconds since 1970.
            step: seconds.

        Raises:
            LocalServerError: Prometheus does not answer, or refuses the query.
        """
        found = self._get("query_range", query=query, start=start, end=end, step=step)
        return [
            Series(one["metric"], tuple((float(at), float(text)) for at, text in one["values"]))
            for one in found["result"]
        ]

    def now(self, query: str) -> float | None:
        """The value of a query that gives one, at this moment; None: it gives nothing.

        Raises:
            LocalServerError: likewise.
        """
        found = self._get("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def values_of(self, label: str, metric: str) -> list[str]:
        """The values that a label of a metric has.

        Raises:
            LocalServerError: likewise.
        """
        values: list[str] = self._get(f"label/{label}/values", **{"match[]": metric})
        return values

    def alerts(self) -> list[ActiveAlert]:
        """All that are pending or firing.

        Raises:
            LocalServerError: likewise.
        """
        return [_alert(one) for one in self._get("alerts")["alerts"]]

    def lasting(self) -> dict[str, float]:
        """For how many seconds the condition of each rule must hold before it fires, by its name.

        Raises:
            LocalServerError: likewise.
        """
        return {
            rule["name"]: float(rule["duration"])
            for group in self._get("rules", type="alert")["groups"]
            for rule in group["rules"]
        }

    def _get(self, path: str, **parameters: object) -> Any:
        address = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")[:500]
            raise LocalServerError(f"Prometheus refuses {path} {parameters}: {said}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise LocalServerError(f"Prometheus at {self._url} does not answer: {error}") from None


def _alert(found: Mapping[str, Any]) -> ActiveAlert:
    labels = dict(found["labels"])
    name = labels.pop("alertname")
    labels.pop("severity", None)
    since = datetime.fromisoformat(found["activeAt"]).timestamp()
    return ActiveAlert(name, tuple(sorted(labels.items())), found["state"] == "firing", since)
