"""The shape of lists, and the same rows as CSV or NDJSON.

JSON is ``{count, next, previous, results}`` with a URL in `next`. CSV and NDJSON are rows alone: with `limit` one page
and a Link header (RFC 8288) to the next; without it everything, streamed page by page in bounded memory.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from fieldwatch_proto.cli.tables import no_formula
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response, StreamingResponse

Format = Literal["json", "csv", "ndjson"]
# (limit, cursor) -> {results, next: cursor or "", count?}
Fetch = Callable[[int, str], Mapping[str, Any]]

MEDIA_TYPES: dict[Format, str] = {"json": "application/json", "csv": "text/csv", "ndjson": "application/x-ndjson"}
EXPORT_PAGE = 1_000


@dataclass(frozen=True)
class Page:
    limit: int | None
    cursor: str
    format: Format


def _page(
    request: Request,
    limit: Annotated[int | None, Query(ge=1, le=1_000, description="rows of a page; default 100")] = None,
    cursor: Annotated[str, Query(description="where the page begins; taken from `next`")] = "",
    format: Annotated[Format | None, Query(description="instead of the Accept header")] = None,  # noqa: A002
) -> Page:
    return Page(limit, cursor, format or accepted(request.headers.get("accept", "")))


PageQuery = Annotated[Page, Depends(_page)]


def accepted(header: str) -> Format:
    """The best of the three formats by an Accept header (RFC 9110 12.5.1); JSON where nothing else is asked for."""
    best: Format = "json"
    best_quality = 0.0
    for part in header.split(","):
        media_type, _, parameters = part.strip().lower().partition(";")
        quality = _quality(parameters)
        for name, offered in MEDIA_TYPES.items():
            if media_type.strip() == offered and quality > best_quality:
                best, best_quality = name, quality
    return best


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def responses(of: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a list."""
    return {200: {"model": of, "content": {media_type: {} for media_type in list(MEDIA_TYPES.values())[1:]}}}


def answer(request: Request, page: Page, row: type[BaseModel], fetch: Fetch) -> Response:
    """The list that `fetch` gives page by page, in the format that was asked for. `row` names the columns of CSV."""
    first = fetch(page.limit or (0 if page.format == "json" else EXPORT_PAGE), page.cursor)
    following = first.get("next") or ""
    following_url = str(request.url.include_query_params(cursor=following)) if following else None
    if page.format == "json":
        return JSONResponse(
            {"count": first.get("count"), "next": following_url, "previous": None, "results": first["results"]}
        )
    headers = {"Content-Disposition": f'inline; filename="{request.url.path.rsplit("/", 1)[-1]}.{page.format}"'}
    if page.limit and following_url:
        headers["Link"] = f'<{following_url}>; rel="next"'
    pages = iter([first["results"]]) if page.limit else _pages(first, fetch)
    if page.format == "csv":
        body = _csv(list(row.model_fields), pages)
    else:
        body = ("".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in rows) for rows in pages)
    return StreamingResponse(body, media_type=f"{MEDIA_TYPES[page.format]}; charset=utf-8", headers=headers)


def whole(request: Request, page: Page, row: type[BaseModel], found: list[dict[str, Any]]) -> Response:
    """A list that one page always holds."""
    return answer(request, page, row, lambda limit, cursor: {"results": found, "count": len(found)})


def _pages(first: Mapping[str, Any], fetch: Fetch) -> Iterator[list[dict[str, Any]]]:
    current = first
    while True:
        yield current["results"]
        if not current.get("next"):
            return
        current = fetch(EXPORT_PAGE, current["next"])


def _csv(columns: list[str], pages: Iterator[list[dict[str, Any]]]) -> Iterator[str]:
    """RFC 4180, a header row first."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for rows in pages:
        writer.writerows([_cell(one[column]) for column in columns] for one in rows)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _cell(value: Any) -> Any:
    """Lists of plain values as words, objects as JSON."""
    if isinstance(value, list) and not any(isinstance(one, dict) for one in value):
        value = " ".join(str(one) for one in value)
    elif isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return no_formula(value) if isinstance(value, str) else value
