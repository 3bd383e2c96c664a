"""The service's addresses: jobs, results, paths, and what is forged."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from werkzeug.http import parse_options_header

from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.serve.worker import Ready
from helpers.serving import Service, service, wait_for


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Service]:
    root = tmp_path / "videos"
    root.mkdir()
    (root / "a.mp4").write_text("below the root")
    (tmp_path / "secret.mp4").write_text("outside")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    with service(tmp_path / "jobs", root=root) as made:
        yield made


@pytest.fixture
def client(made: Service) -> Iterator[httpx.Client]:
    with made.client() as client:
        yield client


def finished(made: Service, client: httpx.Client, job: str) -> dict[str, object]:
    made.worker.go.set()

    def ended() -> bool:
        return client.get(f"/api/jobs/{job}").json()["state"] in ("done", "failed")

    wait_for(ended)
    return dict(client.get(f"/api/jobs/{job}").json())


def test_upload_progress_result_and_removal(made: Service, client: httpx.Client) -> None:
    name = quote("Tälk <b>1<i>.mp4")
    sent = client.post(
        "/api/jobs?overlay=true&blur_faces=true", content=b"video", headers={"x-file-name": name}
    )
    assert sent.status_code == 202
    job = sent.json()["id"]
    wait_for(lambda: client.get(f"/api/jobs/{job}").json()["frames"] == 1)
    state = client.get(f"/api/jobs/{job}").json()
    assert state["name"] == "Tälk <b>1<i>.mp4"
    assert (state["state"], state["total"], state["files"]) == ("running", 2, {})
    assert state["frames_per_second"] > 0
    assert state["seconds_left"] > 0
    wanted = {"form": "csv", "landmarks": False, "overlay": True, "blur_faces": True}
    assert state["wanted"] == wanted
    assert client.get(f"/api/jobs/{job}/files/result.csv").status_code == 404
    state = finished(made, client, job)
    assert state["files"] == {
        "table": {"name": "result.csv", "bytes": 5},
        "page": {"name": "result.html", "bytes": 13},
    }
    assert client.get(f"/api/jobs/{job}/files/result.csv").text == "video"
    assert made.files() == {job, f"{job}/result.csv", f"{job}/result.html"}
    assert client.delete(f"/api/jobs/{job}").status_code == 204
    assert client.get(f"/api/jobs/{job}").status_code == 404
    assert made.files() == set()


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("talk.mp4", "talk.csv"),
        ("a.b.mkv", "a.b.csv"),
        ("Tälk 1.mp4", "Tälk 1.csv"),
        ('x"; filename="y.mp4', 'x"; filename="y.csv'),
        ("会議.mp4", "会議.csv"),
        ("../../etc/passwd", "passwd.csv"),
        ("=cmd.mp4", "_=cmd.csv"),
        ("", "video.csv"),
    ],
)
def test_a_download_has_the_videos_name(
    made: Service, client: httpx.Client, name: str, saved: str
) -> None:
    sent = client.post("/api/jobs", content=b"video", headers={"x-file-name": quote(name)})
    job = sent.json()["id"]
    finished(made, client, job)
    said = client.get(f"/api/jobs/{job}/files/result.csv").headers["content-disposition"]
    assert parse_options_header(said)[1]["filename"] == saved
    # as a client reads it that knows no other letters
    plain = parse_options_header(said.partition("; filename*=")[0])[1]["filename"]
    assert plain.isascii()
    assert plain.endswith(".csv")
    said = client.get(f"/api/jobs/{job}/files/result.html").headers["content-disposition"]
    assert said.startswith("inline")
    assert parse_options_header(said)[1]["filename"] == saved.replace(".csv", ".html")


def test_another_task_says_what_its_values_are(tmp_path: Path) -> None:
    ready = Ready("moods", ["valence"], kind="valence_arousal", scale="valence: -1 to 1")
    with service(tmp_path / "jobs", ready=ready) as made, made.client() as client:
        about = client.get("/api/service").json()
    assert (about["title"], about["scale"]) == ("valence and arousal", "valence: -1 to 1")
    assert "csv" in about["formats"]
    assert "intervals" not in about["formats"]
    assert about["also"] == []
    also = Display("action_units", ["au_12"]).metadata
    more = replace(ready, also=[also])
    with service(tmp_path / "more", ready=more) as made, made.client() as client:
        about = client.get("/api/service").json()
    assert about["also"] == [
        {"kind": "action_units", "outputs": ["au_12"], "scale": also["scale"]},
    ]
    assert "intervals" in about["formats"]


def test_too_many_are_a_line(client: httpx.Client) -> None:
    answers = [client.post("/api/jobs", content=b"video") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json() == {"error": "the service is busy: try again when a job has finished"}
    assert client.post("/api/paths", json={"path": "a.mp4"}).status_code == 429


def test_a_path_below_the_root(made: Service, client: httpx.Client) -> None:
    sent = client.post("/api/paths", json={"path": "a.mp4"})
    assert (sent.status_code, sent.json()["name"]) == (202, "a.mp4")
    finished(made, client, sent.json()["id"])
    address = f"/api/jobs/{sent.json()['id']}/files/result.csv"
    assert client.get(address).text == "below the root"
    # the video is not the service's to delete
    assert client.post("/api/paths", json={"path": "a.mp4"}).status_code == 202


@pytest.mark.parametrize("path", ["../secret.mp4", "link.mp4", "/etc/passwd", "absent.mp4", ""])
def test_no_other_path(made: Service, client: httpx.Client, path: str) -> None:
    answer = client.post("/api/paths", json={"path": path})
    assert answer.status_code == 404
    assert answer.json()["error"].endswith("no such file in the service's folder")
    assert made.files() == set()


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "3", '{"path": 3}', '{"path": null}', "[" * 10_000, "\ud800"]
)
def test_what_is_no_path_is_a_line(client: httpx.Client, body: str) -> None:
    answer = client.post("/api/paths", content=body.encode("utf-8", "surrogatepass"))
    assert answer.status_code == 422
    assert "the body must be" in answer.json()["error"]


def test_without_a_root_there_are_no_paths(tmp_path: Path) -> None:
    with service(tmp_path / "other") as made, made.client() as client:
        assert client.get("/api/service").json()["paths"] is False
        answer = client.post("/api/paths", json={"path": "a.mp4"})
        assert (answer.status_code, "--root" in answer.text) == (404, True)


def test_settings_that_do_not_exist_are_a_line(made: Service, client: httpx.Client) -> None:
    for query in ("format=exe", "overlay=perhaps", "format=../../x"):
        answer = client.post(f"/api/jobs?{query}", content=b"video")
        assert answer.status_code == 422
        assert len(answer.json()["error"].splitlines()) == 1
    assert made.files() == set()


def raw(made: Service, path: str, method: str = "GET") -> tuple[int, str]:
    """The path as it is: no client tidies it."""
    connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", "127.0.0.1")
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


FORGED = [
    "..",
    "%2e%2e",
    "%2e%2e%2f%2e%2e",
    "..%2f..%2fsecret.mp4",
    "%252e%252e",
    "....//",
    "%00",
    "*",
    "0" * 32,
    "0" * 31,
    "G" * 32,
    "{job}%00",
    "{job}%20",
    "{job}%2f..",
    "{JOB}",
    "{job}.",
    "é",
    "1' or '1'='1",
]


@pytest.mark.parametrize("number", FORGED)
def test_a_forged_id_is_no_job(made: Service, client: httpx.Client, number: str) -> None:
    job = client.post("/api/jobs", content=b"video").json()["id"]
    finished(made, client, job)
    forged = number.format(job=job, JOB=job[:-1] + ("a" if job[-1] != "a" else "b"))
    forged = quote(forged, safe="%./*'=")
    for path in (f"/api/jobs/{forged}", f"/api/jobs/{forged}/files/result.csv"):
        for method in ("GET", "DELETE"):
            status, text = raw(made, path, method)
            assert status in (404, 405), path
            assert set(json.loads(text)) == {"error"}
    assert client.get(f"/api/jobs/{job}").json()["state"] == "done"


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../result.csv",
        "%2e%2e/{other}/result.csv",
        "..%2f{other}%2fresult.csv",
        "upload",
        "",
        "../../../secret.mp4",
        "%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.mp4",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "result.csv%00.html",
        "./result.csv",
        "result.parquet",
        "extra.txt",
        "link.csv",
        "RESULT.CSV",
    ],
)
def test_nothing_but_a_jobs_results_can_be_read(
    made: Service, client: httpx.Client, name: str
) -> None:
    made.worker.go.set()
    job, other = (client.post("/api/jobs", content=b"video").json()["id"] for _ in range(2))
    finished(made, client, job)
    finished(made, client, other)
    (made.folder / job / "extra.txt").write_text("extra")
    (made.folder / job / "link.csv").symlink_to("/etc/passwd")
    status, text = raw(made, f"/api/jobs/{job}/files/{name.format(other=other)}")
    assert (status, set(json.loads(text))) == (404, {"error"})


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/%2e%2e/app.py",
        "/web/app.js",
        "//etc/passwd",
        "/app.js/..",
        "/api/jobs",
    ],
)
def test_no_other_file_is_served(made: Service, path: str) -> None:
    assert raw(made, path)[0] in (404, 405)
