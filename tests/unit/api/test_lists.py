"""Lists: their shape, their pages, their formats, and what a wrong question is answered with."""

from __future__ import annotations

import csv
import io
import json

import httpx
import pytest
from fieldwatch_collector.api import lists, models
from fieldwatch_collector.read_model import ReadModel
from unit.api.conftest import Site

LISTS = {
    "devices": models.DeviceList,
    "flows": models.FlowList,
    "events": models.EventList,
    "agents": models.AgentList,
    "sites": models.SiteList,
}


def _walk(client: httpx.Client, url: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    following: str | None = url
    while following:
        page = client.get(following).raise_for_status().json()
        rows += page["results"]
        following = page["next"]
    return rows


@pytest.mark.parametrize("name", LISTS)
def test_every_list_has_the_documented_shape(viewer: httpx.Client, name: str) -> None:
    """{count, next, previous, results}; rows hold exactly the fields of query.proto."""
    answer = viewer.get(f"/api/v1/{name}", params={"limit": 2})

    assert answer.status_code == 200
    LISTS[name].model_validate(answer.json(), strict=True)
    assert list(answer.json()) == ["count", "next", "previous", "results"]
    assert answer.headers["cache-control"] == "no-store"


def test_the_answer_of_a_list_is_the_read_models(site: Site, viewer: httpx.Client) -> None:
    """REST adds the shape and changes no value."""
    expected = ReadModel(site.services.store).list_devices(ordering="name", limit=5)

    answer = viewer.get("/api/v1/devices", params={"ordering": "name", "limit": 5}).json()

    assert expected["results"] == answer["results"]
    assert expected["count"] == answer["count"] == 45


@pytest.mark.parametrize("name", ["devices", "flows", "events"])
def test_pages_together_are_the_whole_list(viewer: httpx.Client, name: str) -> None:
    """Following `next`, an absolute URL, gives every row once, in the order of one large page."""
    whole = viewer.get(f"/api/v1/{name}", params={"limit": 1000}).json()

    walked = _walk(viewer, f"/api/v1/{name}?limit=7")

    assert whole["next"] is None
    assert whole["results"] == walked


def test_filters_survive_the_way_to_the_next_page(viewer: httpx.Client) -> None:
    """`next` carries the question, not only the place."""
    rows = _walk(viewer, "/api/v1/devices?site=lab&q=printer&ordering=name&limit=2")

    assert [row["name"] for row in rows] == sorted(str(row["name"]) for row in rows)
    assert {row["site"] for row in rows} == {"lab"}
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "json"),
        ("text/csv", "csv"),
        ("application/x-ndjson", "ndjson"),
        ("application/json;q=0.5, text/csv", "csv"),
        ("text/csv;q=0.1, application/json", "json"),
        ("text/csv;q=0", "json"),
        ("text/csv;q=oops", "json"),
        ("TEXT/CSV; charset=utf-8", "csv"),
    ],
)
def test_accept_chooses_the_format(accept: str, expected: str) -> None:
    """RFC 9110 12.5.1: the best quality wins; whatever is not offered gets JSON."""
    assert expected == lists.accepted(accept)


@pytest.mark.parametrize("name", ["devices", "flows", "events"])
def test_ndjson_without_a_limit_is_everything(viewer: httpx.Client, name: str) -> None:
    """One JSON object a line, all pages, the same objects as in JSON."""
    expected = viewer.get(f"/api/v1/{name}", params={"limit": 1000}).json()["results"]

    answer = viewer.get(f"/api/v1/{name}", headers={"Accept": "application/x-ndjson"})

    assert answer.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    assert expected == [json.loads(line) for line in answer.text.splitlines()]


def test_csv_has_a_header_and_one_row_each(viewer: httpx.Client) -> None:
    """RFC 4180 with the columns of the model; lists stand as words."""
    expected = viewer.get("/api/v1/devices", params={"limit": 1000}).json()["results"]

    answer = viewer.get("/api/v1/devices", params={"format": "csv"})

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert list(rows[0]) == list(models.Device.model_fields)
    assert [" ".join(row["ips"]) for row in expected] == [row["ips"] for row in rows]
    assert [row["name"] for row in expected] == [row["name"] for row in rows]


def test_a_round_trip_that_is_not_known_is_null(viewer: httpx.Client) -> None:
    """In JSON and NDJSON; an empty cell in CSV, and never 0."""
    question = {"application": "ssh", "ordering": "-retransmits", "limit": 1}
    listed = viewer.get("/api/v1/flows", params=question).json()["results"][0]
    line = json.loads(viewer.get("/api/v1/flows", params=question | {"format": "ndjson"}).text)
    cells = next(csv.DictReader(io.StringIO(viewer.get("/api/v1/flows", params=question | {"format": "csv"}).text)))

    assert listed["retransmits"] > 0
    assert listed["server_rtt_us"] > 0
    assert listed["client_rtt_us"] is None
    assert listed == line
    assert (cells["retransmits"], cells["server_rtt_us"], cells["client_rtt_us"]) == (
        str(listed["retransmits"]),
        str(listed["server_rtt_us"]),
        "",
    )


def test_a_limited_export_links_to_the_next_page(viewer: httpx.Client) -> None:
    """Rows alone have no place for `next`: it is a Link header (RFC 8288)."""
    answer = viewer.get("/api/v1/devices", params={"format": "ndjson", "limit": 40})
    second = viewer.get(answer.links["next"]["url"])

    assert len(answer.text.splitlines()) == 40
    assert len(second.text.splitlines()) == 5
    assert "next" not in second.links


def test_a_name_that_is_a_formula_stays_a_text() -> None:
    """A stranger's host name must not run in a spreadsheet."""
    pages = iter([[{"name": "=cmd|' /C calc'!A0", "frames": -1}, {"name": "nas", "frames": 2}]])

    text = "".join(lists._csv(["name", "frames"], pages))

    assert list(csv.reader(io.StringIO(text))) == [["name", "frames"], ["'=cmd|' /C calc'!A0", "-1"], ["nas", "2"]]


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("devices?limit=0", "limit"),
        ("devices?limit=1001", "limit"),
        ("devices?limit=ten", "limit"),
        ("devices?ordering=colour", "ordering"),
        ("devices?cursor=forged", "cursor"),
        ("devices?since=yesterday", "since"),
        ("devices?format=xml", "format"),
        ("flows?ip=300.1.1.1", "ip"),
        ("flows?port=70000", "port"),
        ("flows?protocol=carrier-pigeon", "protocol"),
        ("flows/top?by=colour", "by"),
        ("flows/series?since=1h&step_s=-1", "step_s"),
    ],
)
def test_a_wrong_question_is_a_problem_that_names_the_parameter(viewer: httpx.Client, question: str, part: str) -> None:
    """RFC 9457, status 400, one line."""
    answer = viewer.get(f"/api/v1/{question}")

    problem = answer.json()
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["type"], problem["title"], problem["status"]) == ("about:blank", "Bad Request", 400)
    assert problem["detail"].startswith(part)
    assert "\n" not in problem["detail"]


@pytest.mark.parametrize("question", ["devices?site=labb", "events?site=labb&format=csv", "flows?device=labb"])
def test_a_place_that_there_is_not_is_not_found(viewer: httpx.Client, question: str) -> None:
    """RFC 9457, status 404, not an empty list."""
    answer = viewer.get(f"/api/v1/{question}")

    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["title"]) == (404, 404, "Not Found")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "'labb'" in problem["detail"]


def test_a_wrong_question_for_an_export_is_a_problem_too(viewer: httpx.Client) -> None:
    """The first page is asked for before the answer begins, so that it can still say no."""
    answer = viewer.get("/api/v1/devices", params={"format": "csv", "since": "yesterday"})

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
