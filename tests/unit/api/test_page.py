"""The page's files: how they are served, what they may load, and how much the first visit fetches."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import httpx
import pytest
from fieldwatch_collector.api.web import FOLDER, content_policy

FIRST_LOAD_BYTES = 80_000
MODULES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("app/**/*.js"))


def test_the_page_is_served_with_a_policy_that_lets_nothing_else_in(nobody: httpx.Client) -> None:
    """Scripts from this origin and the import map by its hash; no inline scripts, styles, frames or other hosts."""
    answer = nobody.get("/")

    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "unsafe" not in policy
    assert "http" not in policy
    assert re.search(r"script-src 'self' 'sha256-[A-Za-z0-9+/=]{44}';", policy)
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_policy_knows_every_inline_script_and_no_other() -> None:
    """A hash of the text between the tags, as browsers take it; scripts with src need none."""
    policy = content_policy('<script src="a.js"></script><script type="importmap">{}</script>')

    assert policy.count("sha256-") == 1
    assert "'sha256-RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o='" in policy


def test_an_unchanged_file_is_not_sent_again(nobody: httpx.Client) -> None:
    """Asked for each time, answered with 304 by its ETag."""
    first = nobody.get("/app/main.js")
    second = nobody.get("/app/main.js", headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == "no-cache"
    assert (first.status_code, second.status_code, second.content) == (200, 304, b"")


@pytest.mark.parametrize("path", ["/../api/app.py", "/%2e%2e/api/app.py", "/app/../../api/app.py", "/app", "/vendor/"])
def test_nothing_beside_the_files_is_served(nobody: httpx.Client, path: str) -> None:
    answer = nobody.get(path)

    assert answer.status_code in (307, 404)
    assert b"import" not in answer.content


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_what_exists(name: str) -> None:
    """Relative imports name files; bare ones stand in the import map."""
    text = (FOLDER / name).read_text("utf-8")
    bare = set(re.findall(r'"([a-z/]+)": "\./vendor/', (FOLDER / "index.html").read_text("utf-8")))

    imported = re.findall(r'(?:from|import\()\s*"([^"]+)"', text)
    missing = [
        one
        for one in imported
        if not ((FOLDER / name).parent / one).resolve().is_file() and (one.startswith(".") or one not in bare)
    ]
    assert missing == []


def test_no_file_of_ours_names_another_host() -> None:
    """The page works with the Internet down."""
    ours = [*FOLDER.glob("app/**/*.*"), FOLDER / "index.html"]
    strangers = {
        path.name: found
        for path in ours
        if (found := set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", path.read_text("utf-8"))))
    }

    assert strangers == {"icon.svg": {"http://www.w3.org"}}


def test_the_first_load_is_small() -> None:
    """Everything that the devices page fetches, compressed as it is sent; uPlot comes with the first chart."""
    files = [path for path in FOLDER.rglob("*") if path.suffix in (".js", ".css", ".html", ".svg")]
    first = [path for path in files if not path.name.startswith("uplot")]

    assert sum(len(gzip.compress(path.read_bytes())) for path in first) <= FIRST_LOAD_BYTES


def test_what_is_carried_has_its_licence_and_version() -> None:
    """Each line of VERSIONS: name, version, licence, files; the files are there, and no other."""
    vendor: Path = FOLDER / "vendor"
    lines = [line.split() for line in (vendor / "VERSIONS").read_text("utf-8").splitlines()]

    expected = {"VERSIONS", *(f"{name}.LICENSE" for name, *_ in lines), *(file for line in lines for file in line[3:])}
    assert expected == {path.name for path in vendor.iterdir()}


def test_large_answers_are_compressed(nobody: httpx.Client) -> None:
    answer = nobody.get("/vendor/uplot.js", headers={"Accept-Encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
