"""Who may ask the service, from which page, and what browsers are told."""

from collections.abc import Iterator

import pytest

from arpgnet.pipeline.serve.guard import Access
from helpers.serving import LOCAL, Service, service

TOKEN = "a-token-for-tests-0123456789"
OPEN = Access(TOKEN, frozenset({"box.example"}), any_address=True, port=8765)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("jobs"), waiting=20) as made:
        made.worker.go.set()
        yield made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("jobs"), access=OPEN) as made:
        made.worker.go.set()
        yield made


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8765", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8765", 200),
        ("evil.example", 403),
        ("evil.example:8765", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
        ("192.0.2.1", 403),
        ("", 403),
        ("[::1", 403),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/service"])
def test_on_the_loopback_only_its_names_are_the_services(
    local: Service, host: str, status: int, path: str
) -> None:
    assert local.client().get(path, headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [("192.0.2.1:8765", 200), ("box.example", 200), ("127.0.0.1", 200), ("evil.example", 403)],
)
def test_beyond_the_loopback_addresses_and_given_names_are(
    guarded: Service, host: str, status: int
) -> None:
    headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
    assert guarded.client().get("/api/service", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"origin": LOCAL}, 202),
        ({"origin": LOCAL, "sec-fetch-site": "same-origin"}, 202),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://127.0.0.1:8765@evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_another_sites_page_can_send_nothing(
    local: Service, headers: dict[str, str], status: int
) -> None:
    answer = local.client().post("/api/jobs", content=b"video", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "PUT", "PATCH"])
def test_nor_with_another_method(local: Service, method: str) -> None:
    headers = {"origin": "http://evil.example"}
    assert local.client().request(method, "/api/jobs/x", headers=headers).status_code == 403


def test_nor_read_anything_but_follow_a_link_to_the_page(local: Service) -> None:
    client = local.client(**{"sec-fetch-site": "cross-site"})
    assert client.get("/").status_code == 200
    assert client.get("/api/service").status_code == 403


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \u00e9".encode("latin-1"),
    ],
)
def test_without_the_token_there_is_nothing_but_the_page(
    guarded: Service, given: str | bytes | None
) -> None:
    client = guarded.client()
    headers = {} if given is None else {"authorization": given}
    for method, path in (
        ("GET", "/api/service"),
        ("POST", "/api/jobs"),
        ("POST", "/api/paths"),
        ("POST", "/api/session"),
        ("GET", f"/api/jobs/{'0' * 32}"),
        ("DELETE", f"/api/jobs/{'0' * 32}"),
        ("GET", f"/api/jobs/{'0' * 32}/files/result.csv"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
    ):
        answer = client.request(method, path, headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 401, path
        assert "token" in answer.json()["error"]
    assert client.get("/", headers=headers).status_code == 200  # type: ignore[arg-type]
    assert guarded.files() == set()


def test_the_token_is_never_taken_from_an_address(guarded: Service) -> None:
    for query in (f"token={TOKEN}", f"access_token={TOKEN}"):
        assert guarded.client().get(f"/api/service?{query}").status_code == 401


def test_the_page_gets_a_cookie_for_the_token(guarded: Service) -> None:
    client = guarded.client()
    answer = client.post("/api/session", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert client.get("/api/service").status_code == 200
    foreign = client.post("/api/jobs", content=b"x", headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403
    forged = {"cookie": f"{OPEN.cookie}=forged"}
    assert guarded.client().get("/api/service", headers=forged).status_code == 401


def test_what_browsers_are_told(local: Service) -> None:
    client = local.client()
    job = client.post("/api/jobs", content=b"video").json()["id"]
    while client.get(f"/api/jobs/{job}").json()["state"] != "done":
        pass
    for path in ("/", "/app.js", "/api/service", f"/api/jobs/{job}/files/result.html", "/absent"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        frames = "'self'" if path.endswith("result.html") else "'none'"
        assert f"frame-ancestors {frames}" in policy
    table = client.get(f"/api/jobs/{job}/files/result.csv").headers
    assert table["content-disposition"].startswith("attachment")
    assert table["content-type"].startswith("text/csv")


def test_no_page_of_the_framework_is_served(local: Service) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert local.client().get(path).status_code == 404
