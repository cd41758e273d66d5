"""The console over HTTP, on real servers: who may come, what he may do, and what he sees."""

from __future__ import annotations

import base64
import json
import re
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from mynamo.console import item_pages, visits
from mynamo.console.item_forms import dump_address, update_of
from mynamo.console.visits import Console
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from tests.console.conftest import (
    EVIL,
    SECRET,
    Visitor,
    gateway_config,
    key_of,
    running,
)
from tests.waiting import eventually

PAGES = (
    "/", "/lag", "/transactions", "/streams", "/tables", "/tables/orders",
    "/tables/orders/items?limit=25", "/comparisons", "/tables/orders/comparison", "/dead-letters",
)  # fmt: skip


def item_path(owner: str, at: str) -> str:
    return f"/tables/orders/item?key={dump_address({'id': {'S': owner}, 'at': {'S': at}})}"


def query(**fields: str) -> str:
    return f"/tables/orders/items?{urlencode({'limit': '25', **fields})}"


# Signing in and out


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_shown_to_who_has_not_signed_in(visitor: Visitor, path: str) -> None:
    page = visitor.get(path)
    assert page.status == 303
    assert page.headers["location"].startswith("/sign-in?next=/")
    assert visitor.get(path, X_Mynamo_Part="1").status == 401


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_there_and_says_what_it_is(admin: Visitor, path: str) -> None:
    page = admin.get(path)
    assert page.status == 200, page.shown
    assert '<main id="main"' in page.text
    assert len(re.findall("<h1", page.text)) == 1
    assert "defect" not in page.shown
    for name in ("content-security-policy", "x-frame-options", "x-content-type-options"):
        assert name in page.headers
    assert page.headers["cache-control"] == "no-store"
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert not re.search(r"<script(?! src=)|\son\w+=|\sstyle=", page.text), "script or style inside"


def test_the_cookie_of_a_session(visitor: Visitor) -> None:
    page = visitor.sign_in("admin", at="/lag")
    assert (page.status, page.headers["location"]) == (303, "/lag")
    (cookie,) = re.findall(r"mynamo_console_\w{8}=\S+.*", page.headers["set-cookie"])
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie


def test_a_session_ends_when_signing_out(admin: Visitor) -> None:
    cookies = dict(admin.cookies)
    page = admin.send("/sign-out", {}, admin.get("/"))
    assert (page.status, page.headers["location"]) == (303, "/sign-in")
    assert admin.cookies == {}
    admin.cookies = cookies  # a copy of the cookie is of no use either
    assert admin.get("/").status == 303
    page = admin.post("/tables/orders/new-item", {"after": "{}"})
    assert page.status == 401
    assert "you are signed out, so nothing was done" in page.shown


def test_signing_out_at_the_form_to_sign_in(admin: Visitor) -> None:
    page = admin.get("/sign-in")
    header = page.text.partition("<main")[0]
    token = re.search(r'name="form_token" value="([^"]+)"', header)
    assert token is not None
    assert admin.post("/sign-out", {"form_token": token[1]}).status == 303


@pytest.mark.parametrize(
    ("user", "secret"), [("admin", "another-secret"), ("nobody", SECRET), ("admin", "")]
)
def test_a_wrong_key_or_secret(visitor: Visitor, user: str, secret: str) -> None:
    page = visitor.sign_in(user, secret)
    assert page.status == 401
    assert "of no credential that counts" in page.shown
    assert visitor.get("/").status == 303


def test_signing_in_leads_nowhere_else(visitor: Visitor) -> None:
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb: c"):
        assert visitor.sign_in("admin", at=target).headers["location"] == "/"


def test_too_many_attempts(visitor: Visitor) -> None:
    for _ in range(5):
        assert visitor.sign_in("admin", "wrong-secret").status == 401
    page = visitor.sign_in("admin")  # though it is the right one now
    assert page.status == 429
    assert 0 < int(page.headers["retry-after"]) <= 61


def test_a_credential_that_does_not_count_any_more_ends_its_sessions(
    admin: Visitor, console: tuple[str, Console], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = console[1].sessions
    assert admin.get("/").status == 200
    monkeypatch.setattr(sessions, "_find", lambda _: None)
    assert admin.get("/").status == 303
    monkeypatch.undo()
    assert admin.get("/").status == 303


# Forms


def forms(admin: Visitor) -> list[tuple[str, dict[str, str]]]:
    """Every form that does something."""
    before = admin.get(item_path("ann", "01")).field("before")
    item = {"before": before, "after": before.replace('"1"', '"77"')}
    return [
        ("/sign-out", {}),
        ("/tables/orders/item", {**item, "action": "save"}),
        ("/tables/orders/item", {**item, "action": "delete"}),
        ("/tables/orders/new-item", {"after": '{"id": {"S": "new"}, "at": {"S": "1"}}'}),
        ("/tables/orders/comparison", {"action": "verify"}),
        ("/tables/orders/comparison", {"action": "repair"}),
        ("/dead-letter", {"id": "x"}),
    ]


def test_forms_from_elsewhere_do_nothing(admin: Visitor, console: tuple[str, Console]) -> None:
    other = Visitor(console[0])
    other.sign_in("admin")
    foreign = other.get("/").form_token
    own = admin.get("/").form_token
    for path, fields in forms(admin):
        for token in ("", "x", foreign):
            page = admin.post(path, {**fields, "form_token": token})
            assert page.status == 403, path
            assert "out of date, or came from elsewhere" in page.shown
        page = admin.post(path, {**fields, "form_token": own}, Origin="https://evil.example")
        assert page.status == 403
    assert admin.get("/").status == 200
    assert admin.get(item_path("ann", "01")).status == 200
    assert admin.get(item_path("new", "1")).status == 404


def test_control_without_the_check_of_forms_they_are_taken(
    admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits.Visit, "check_form", lambda _: None)
    assert admin.post("/sign-out", {}).status == 303


def test_the_form_to_sign_in_is_the_browser_s_own(
    visitor: Visitor, console: tuple[str, Console]
) -> None:
    foreign = Visitor(console[0]).get("/sign-in").form_token
    fields = {"access_key_id": key_of("admin"), "secret_access_key": SECRET}
    for token in ("", foreign):
        assert visitor.post("/sign-in", {**fields, "form_token": token}).status == 403
    visitor.get("/sign-in")
    assert visitor.post("/sign-in", {**fields, "form_token": foreign}).status == 403


def test_what_is_no_form_is_refused(admin: Visitor, console: tuple[str, Console]) -> None:
    token = admin.get("/").form_token
    page = admin.post("/sign-out", {"form_token": token}, Content_Type="application/json")
    assert page.status == 415
    page = admin.post("/sign-out", {"form_token": token, "more": "x" * 9_000_000})
    assert page.status == 413
    assert Visitor(console[0]).post("/sign-in", {"more": "x" * 20_000}).status == 413
    many = {f"field{n}": "" for n in range(60)}
    assert admin.post("/sign-out", {"form_token": token, **many}).status == 400
    assert admin.get("/").status == 200


def test_an_origin_that_is_no_address_is_another_site(admin: Visitor, caplog: Any) -> None:
    page = admin.post("/sign-out", {"form_token": admin.get("/").form_token}, Origin="http://[")
    assert page.status == 403
    assert "Traceback" not in caplog.text


def sending(visitor: Visitor, path: str, body: str) -> HTTPConnection:
    """Somebody who has sent half of a form."""
    connection = HTTPConnection(urlsplit(visitor.site).netloc, timeout=30)
    connection.putrequest("POST", path)
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    connection.putheader("Cookie", cookies)
    connection.putheader("Content-Type", "application/x-www-form-urlencoded")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[: len(body) // 2].encode())
    return connection


def test_a_session_that_ends_while_its_form_is_sent_does_nothing(admin: Visitor) -> None:
    page = admin.get("/tables/orders/new-item")
    item = '{"id": {"S": "half"}, "at": {"S": "1"}}'
    body = urlencode({"form_token": page.form_token, "after": item})
    connection = sending(admin, "/tables/orders/new-item", body)
    assert admin.send("/sign-out", {}, page).status == 303
    connection.send(body[len(body) // 2 :].encode())
    assert connection.getresponse().status == 401
    connection.close()
    admin.sign_in("admin")
    assert admin.get(item_path("half", "1")).status == 404


def test_who_goes_away_in_the_middle_of_a_form_is_no_defect(
    console: tuple[str, Console], admin: Visitor, caplog: Any
) -> None:
    for path in ("/sign-out", "/sign-in", "/tables/orders/new-item"):
        sending(admin, path, "x" * 20_000 if path.endswith("item") else "x" * 100).close()
    assert admin.get("/").status == 200
    assert "Traceback" not in caplog.text


def test_large_forms_are_those_of_items_and_few_at_once(admin: Visitor) -> None:
    page = admin.get("/tables/orders/new-item")
    text = json.dumps({"id": {"S": "large"}, "at": {"S": "1"}, "text": {"S": "x" * 100_000}})
    fields = {"form_token": page.form_token, "after": text}
    sent = [sending(admin, "/tables/orders/new-item", urlencode(fields)) for _ in range(4)]

    def is_refused() -> bool:
        answer = admin.post("/tables/orders/new-item", {**fields, "after": "x" * 20_000})
        return answer.status == 503

    assert eventually(is_refused)
    assert admin.get("/").status == 200
    for one in sent:
        one.close()
    assert eventually(lambda: admin.post("/tables/orders/new-item", fields).status == 303)
    for path in ("/sign-out", "/dead-letter", "/tables/orders/comparison"):
        page = admin.post(path, {**fields, "after": "x" * 20_000})
        assert page.status == 413, path


def test_what_is_nested_too_deeply_is_refused(admin: Visitor) -> None:
    page = admin.get("/tables/orders/new-item")
    for levels in (120, 126, 300):
        value = '{"L": [' * levels + '{"S": "x"}' + "]}" * levels
        text = f'{{"id": {{"S": "deep"}}, "at": {{"S": "1"}}, "x": {value}}}'
        answer = admin.send("/tables/orders/new-item", {"after": text}, page)
        fields = {"before": text, "after": text.replace('"x"}', '"y"}'), "action": "save"}
        changed = admin.send("/tables/orders/item", fields, page)
        for one in (answer, changed):
            assert one.status == 400
            assert "nest" in one.shown.lower(), one.shown
    key = dump_address({"id": {"S": "x"}})[:-2]
    deep = base64.urlsafe_b64encode(b'{"id":' + b"[" * 300 + b"]" * 300 + b"}").decode()
    assert "nested too deeply" in admin.get(f"/tables/orders/item?key={deep.rstrip('=')}").shown
    assert admin.get(f"/tables/orders/item?key={key}").status == 400


def test_a_read_only_console_changes_nothing(console_config: ClusterConfig, tmp_path: Any) -> None:
    with running(console_config, gateway_config(tmp_path), writes=False) as (site, _):
        visitor = Visitor(site)
        visitor.sign_in("admin")
        page = visitor.get(item_path("ann", "03"))
        assert page.status == 200
        assert "<textarea" not in page.text
        assert visitor.get("/tables/orders/new-item").status == 403
        token = visitor.get("/").form_token
        before = '{"id": {"S": "ann"}, "at": {"S": "03"}}'
        for path, fields in (
            ("/tables/orders/item", {"before": before, "after": before, "action": "delete"}),
            ("/tables/orders/item", {"before": before, "after": before, "action": "save"}),
            ("/tables/orders/new-item", {"after": before}),
            ("/tables/orders/comparison", {"action": "repair"}),
            ("/dead-letter", {"id": "x"}),
        ):
            page = visitor.post(path, {**fields, "form_token": token})
            assert page.status == 403, path
            assert "read-only" in page.shown
        assert visitor.get(item_path("ann", "03")).status == 200


# Rights


def signed_in(console: tuple[str, Console], user: str) -> Visitor:
    visitor = Visitor(console[0])
    assert visitor.sign_in(user).status == 303
    return visitor


def test_who_may_read_sees_items_and_changes_nothing(console: tuple[str, Console]) -> None:
    reader = signed_in(console, "reader")
    assert "mynamo:DescribeCluster" in reader.get("/").shown
    for path in ("/lag", "/transactions", "/dead-letters", "/tables/orders/comparison", "/streams"):
        page = reader.get(path)
        assert page.status == 403, path
        assert "is not authorized to perform" in page.shown
    assert reader.get(query(hash0="ann")).status == 200
    assert reader.get(query(index="by_name", hash0="name 1")).status == 200
    page = reader.get(item_path("ann", "05"))
    before = page.field("before")
    for fields in (
        {"after": before.replace('"5"', '"99"'), "action": "save"},
        {"after": before, "action": "delete"},
    ):
        answer = reader.send("/tables/orders/item", {"before": before, **fields}, page)
        assert answer.status == 403
        assert "dynamodb:" in answer.shown
    new = {"after": '{"id": {"S": "r"}, "at": {"S": "1"}}'}
    assert reader.send("/tables/orders/new-item", new, page).status == 403
    assert reader.send("/tables/orders/comparison", {"action": "verify"}, page).status == 403
    assert reader.send("/tables/orders/comparison", {"action": "repair"}, page).status == 403
    assert reader.get(item_path("ann", "05")).field("before") == before


def test_leading_keys_count(console: tuple[str, Console]) -> None:
    ann = signed_in(console, "ann")
    assert ann.get(query(hash0="ann")).status == 200
    assert ann.get(item_path("ann", "07")).status == 200
    for path in (query(), query(hash0="bob"), item_path("bob", "08"), query(index="by_name")):
        page = ann.get(path)
        assert page.status == 403, path
        assert "is not authorized" in page.shown
    page = ann.get(item_path("ann", "07"))
    theirs = '{"id": {"S": "bob"}, "at": {"S": "08"}, "price": {"N": "8"}}'
    for action in ("save", "delete"):
        fields = {"before": theirs, "after": theirs.replace('"8"', '"9"'), "action": action}
        assert ann.send("/tables/orders/item", fields, page).status == 403
    assert ann.send("/tables/orders/new-item", {"after": theirs}, page).status == 403
    before = page.field("before")
    fields = {"before": before, "after": before.replace('"7"', '"17"'), "action": "save"}
    assert ann.send("/tables/orders/item", fields, page).status == 303
    assert '"17"' in ann.get(item_path("ann", "07")).field("before")


def test_an_operator_sees_the_cluster_and_no_items(console: tuple[str, Console]) -> None:
    watcher = signed_in(console, "watcher")
    for path in ("/", "/lag", "/transactions", "/tables/orders/comparison"):
        assert watcher.get(path).status == 200, path
    for path in ("/tables", "/tables/orders", query(), item_path("ann", "09"), "/dead-letters"):
        assert watcher.get(path).status == 403, path
    page = watcher.get("/tables/orders/comparison")
    assert 'value="repair"' not in page.text
    assert watcher.send("/tables/orders/comparison", {"action": "repair"}, page).status == 403
    assert watcher.get("/tables/other/comparison").status == 403


def test_what_is_not_there_is_said(admin: Visitor) -> None:
    for path in (
        "/tables/other", "/tables/other/comparison", "/tables/other/items", "/dead-letter",
        item_path("no", "1"), "/nothing", "/static/nothing", "/static/../site.py",
    ):  # fmt: skip
        assert admin.get(path).status == 404, path


def test_control_without_the_check_of_rights_everything_is_shown(
    console: tuple[str, Console], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = signed_in(console, "ann")
    assert ann.get(query(hash0="bob")).status == 403
    assert ann.get("/lag").status == 403
    monkeypatch.setattr("mynamo.gateway.service.authorize", lambda *_: None)
    monkeypatch.setattr("mynamo.gateway.service.authorize_operator", lambda *_: None)
    assert ann.get(query(hash0="bob")).status == 200
    assert ann.get("/lag").status == 200


# Items


def test_a_query_says_its_plan_and_cost(admin: Visitor) -> None:
    page = admin.get(query(hash0="ann"))
    assert "Query: 15 items" in page.shown
    assert "primary key on shard" in page.shown
    assert "0.5 read units; 15 items read" in page.shown
    page = admin.get(query(index="by_price", hash0="ann", is0="between", sort0="1", and0="5"))
    assert "Query: 3 items" in page.shown
    assert "local index by_price on shard" in page.shown
    page = admin.get(query(index="by_name", hash0="name 1", attributes="price"))
    assert "Query: 10 items" in page.shown
    assert "global index by_name on shard" in page.shown
    dear = {"filter": "price", "filter_is": ">", "filter_type": "N", "filter_value": "1000"}
    assert "Scan: 0 items" in admin.get(query(limit="100", **dear)).shown


def test_pages_follow_each_other(admin: Visitor) -> None:
    seen: list[str] = []
    path = query()
    while True:
        page = admin.get(path)
        seen += re.findall(r"/tables/orders/item\?key=([\w-]+)", page.text)
        found = re.search(r'href="(/tables/orders/items\?[^"]*start=[^"]*)"', page.text)
        if found is None:
            break
        path = found[1].replace("&amp;", "&")
    assert len(seen) == len(set(seen)) >= 31


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"is0": "=", "sort0": "1"}, "a query needs a value of the hash key (id)"),
        ({"hash0": "ann", "is0": "="}, "at =: the value is missing"),
        ({"hash0": "ann", "is0": "like", "sort0": "1"}, "like is no operator"),
        ({"index": "by_price", "hash0": "ann", "is0": "=", "sort0": "x"}, "x"),
        ({"index": "nothing"}, "has no index nothing"),
        ({"start": "x"}, "no key of an item"),
    ],
)
def test_a_form_that_means_nothing(admin: Visitor, fields: dict[str, str], message: str) -> None:
    page = admin.get(query(**fields))
    assert page.status == 400
    assert message in page.shown


def test_what_is_stored_is_shown_and_never_run(admin: Visitor) -> None:
    pages = [
        admin.get(query(hash0=EVIL)),
        admin.get(query(index="by_name", hash0=EVIL)),
        admin.get(item_path(EVIL, EVIL)),
        admin.get(f"/tables/{'%3Cscript%3E'}"),
        admin.get(query(index="<script>")),
        admin.get(item_path("<script>", "<script>")),
    ]
    assert all(EVIL in page.shown for page in pages[:3])
    for page in pages:
        assert "<script>" not in page.text


def test_control_without_escaping_it_would_be_run(
    admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mynamo.console import rendering

    monkeypatch.setattr(rendering, "_templates", rendering._templates.overlay(autoescape=False))
    assert "<script>alert" in admin.get(item_path(EVIL, EVIL)).text


def test_an_item_is_made_changed_and_deleted(admin: Visitor) -> None:
    path = item_path("made", "1")
    page = admin.get("/tables/orders/new-item")
    item = {"id": {"S": "made"}, "at": {"S": "1"}, "a": {"N": "1"}, "b": {"S": "x"}}
    made = admin.send("/tables/orders/new-item", {"after": json.dumps(item)}, page)
    assert (made.status, made.headers["location"]) == (303, f"{path}&saved=created")
    again = admin.send("/tables/orders/new-item", {"after": json.dumps(item)}, page)
    assert again.status == 400
    assert "there is an item of this key already" in again.shown
    page = admin.get(path)
    before = json.loads(page.field("before"))
    assert before == item
    after = {**item, "a": {"N": "2"}, "c": {"L": [{"BOOL": True}]}}
    del after["b"]
    fields = {"before": json.dumps(before), "after": json.dumps(after), "action": "save"}
    assert admin.send("/tables/orders/item", fields, page).headers["location"].endswith("=saved")
    assert json.loads(admin.get(path).field("before")) == after
    fields = {"before": json.dumps(after), "action": "delete"}
    assert admin.send("/tables/orders/item", fields, page).headers["location"].endswith("=deleted")
    assert admin.get(path).status == 404


@pytest.mark.parametrize(
    "change",
    [
        {"price": 5},  # what the edit changes too
        {"name": "other"},  # what it does not change
        {"id": None},  # the item is gone
    ],
)
def test_a_change_made_meanwhile_is_not_overwritten(
    admin: Visitor, console: tuple[str, Console], change: dict[str, Any]
) -> None:
    item = {"id": "meanwhile", "at": "1", "price": 1, "name": "first"}
    with Producer(console[1].cluster) as producer:
        producer.put("orders", item)
        page = admin.get(item_path("meanwhile", "1"))
        if change == {"id": None}:
            producer.delete("orders", {"id": "meanwhile", "at": "1"})
        else:
            producer.put("orders", item | change)
    before = page.field("before")
    now = admin.get(item_path("meanwhile", "1"))
    for action in ("save", "delete"):
        fields = {"before": before, "after": before.replace('"1"}', '"9"}'), "action": action}
        fields["after"] = json.dumps({**json.loads(before), "price": {"N": "9"}})
        answer = admin.send("/tables/orders/item", fields, page)
        assert answer.status == 409
        assert "has changed since it was read, so nothing was written" in answer.shown
    after = admin.get(item_path("meanwhile", "1"))
    assert after.status == now.status
    if now.status == 200:
        assert after.field("before") == now.field("before")


def test_control_without_its_condition_it_is_overwritten(
    admin: Visitor, console: tuple[str, Console], monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(*given: Any) -> Any:
        request = update_of(*given)
        assert request is not None
        del request["ConditionExpression"]
        names = request["ExpressionAttributeNames"]
        text = request["UpdateExpression"]
        request["ExpressionAttributeNames"] = {n: v for n, v in names.items() if n in text}
        values = request["ExpressionAttributeValues"]
        request["ExpressionAttributeValues"] = {n: v for n, v in values.items() if n in text}
        return request

    monkeypatch.setattr(item_pages, "update_of", careless)
    item = {"id": "careless", "at": "1", "price": 1}
    with Producer(console[1].cluster) as producer:
        producer.put("orders", item)
        page = admin.get(item_path("careless", "1"))
        producer.put("orders", item | {"price": 2})
    before = page.field("before")
    after = json.dumps({**json.loads(before), "price": {"N": "9"}})
    fields = {"before": before, "after": after, "action": "save"}
    assert admin.send("/tables/orders/item", fields, page).status == 303


def test_an_attribute_that_came_meanwhile_stays(
    admin: Visitor, console: tuple[str, Console]
) -> None:
    item = {"id": "came", "at": "1", "price": 1}
    with Producer(console[1].cluster) as producer:
        producer.put("orders", item)
        page = admin.get(item_path("came", "1"))
        producer.put("orders", item | {"came": "meanwhile"})
    before = page.field("before")
    after = json.dumps({**json.loads(before), "price": {"N": "9"}})
    fields = {"before": before, "after": after, "action": "save"}
    assert admin.send("/tables/orders/item", fields, page).status == 303
    found = json.loads(admin.get(item_path("came", "1")).field("before"))
    assert (found["price"], found["came"]) == ({"N": "9"}, {"S": "meanwhile"})


def test_an_edit_that_is_wrong_keeps_its_text(admin: Visitor) -> None:
    page = admin.get(item_path("ann", "11"))
    before = page.field("before")
    for text, message in (
        ("{", "this is not JSON"),
        ("[]", "an item is a JSON object"),
        (before.replace('"ann"', '"bob"'), "cannot be changed"),
        (before.replace('"11"}', '"11"}, "x": {"N": "y"}', 1), "y"),
    ):
        fields = {"before": before, "after": text, "action": "save"}
        answer = admin.send("/tables/orders/item", fields, page)
        assert answer.status == 400, answer.shown
        assert message in answer.shown
        assert answer.field("after") == text


# Verify


def test_verify_in_the_background(admin: Visitor) -> None:
    path = "/tables/orders/comparison"
    page = admin.get(path)
    assert admin.send(path, {"action": "verify", "rate": "0.5"}, page).status == 400
    assert admin.send(path, {"action": "dance"}, page).status == 400
    assert admin.send(path, {"action": "verify", "rate": "100000"}, page).status == 303
    state = admin.until(f"{path}/state", "data-ended")
    assert "CLEAN: orders" in state.shown
    assert "by admin" in state.shown
    assert "CLEAN: orders" in admin.get("/comparisons").shown


def test_comparisons_are_listed_for_those_who_may_see_them(
    console: tuple[str, Console], admin: Visitor
) -> None:
    test_verify_in_the_background(admin)
    assert "CLEAN" in signed_in(console, "watcher").get("/comparisons").shown
    assert "CLEAN" not in signed_in(console, "reader").get("/comparisons").shown


# Without signing in


def test_without_credentials_everything_is_shown_and_the_page_says_so(
    console_config: ClusterConfig, tmp_path: Any
) -> None:
    with running(console_config, gateway_config(tmp_path), auth=False) as (site, _):
        visitor = Visitor(site)
        page = visitor.get("/")
        assert page.status == 200
        assert "Nobody signs in here" in page.shown
        assert visitor.get("/sign-in").status == 303
        text = '{"id": {"S": "free"}, "at": {"S": "1"}}'
        assert visitor.post("/tables/orders/new-item", {"after": text}).status == 403
        page = visitor.get("/tables/orders/new-item")
        assert visitor.send("/tables/orders/new-item", {"after": text}, page).status == 303
        # A page of elsewhere whose name leads to this machine cannot read any of it.
        for host, status in (("evil.example", 400), ("localhost", 303), ("[::1]:80", 303)):
            connection = HTTPConnection(urlsplit(site).netloc, timeout=30)
            connection.request("GET", "/sign-in", headers={"Host": host})
            assert connection.getresponse().status == status
            connection.close()
