"""The service's HTTP interface: a page, and jobs in JSON. Every error is {"error": one line}."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from werkzeug.http import dump_options_header

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.predict.formats import Format, formats_of
from arpgnet.pipeline.serve.guard import Access, Guard, refusal
from arpgnet.pipeline.serve.jobs import Busy, Job, Jobs, Wanted
from arpgnet.pipeline.serve.names import below, shown_name
from arpgnet.pipeline.serve.uploads import Pace, Refused, to_file, to_memory
from arpgnet.pipeline.serve.worker import Ready

# the page runs and shows nothing but what comes from here
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# a result brings its own policy; only the service's page may frame it
RESULT_POLICY = "frame-ancestors 'self'; base-uri 'none'; form-action 'none'; object-src 'none'"
WEB = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".jsonl": "application/jsonl",
    ".parquet": "application/vnd.apache.parquet",
    ".html": "text/html; charset=utf-8",
    ".mp4": "video/mp4",
}
# they are pages that load scripts from elsewhere
NO_DOCS: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
# of a form, and what they are called in `Wanted`
FIELDS = {
    "format": "form", "landmarks": "landmarks", "overlay": "overlay", "blur_faces": "blur_faces",
}  # fmt: skip
_WANTED = TypeAdapter(Wanted)
# of a request that names a path
_SMALL = 16384
# what a job may write in addition to its upload, as a multiple of the upload
_ROOM = 3
_SWEEP_S = 30.0


@dataclass(frozen=True)
class Limits:
    """What is accepted, and what the page says about it.

    Attributes:
        upload_bytes: of a video.
        longest_s: of a video.
        keep_s: how long results stay.
        kept: whether their files stay even then.
        root: the folder of videos that may be named by their path; None: there is none.
    """

    upload_bytes: int
    longest_s: float
    keep_s: float
    kept: bool = False
    root: Path | None = None
    pace: Pace = field(default_factory=Pace)


def _wanted(
    form: Annotated[Format, Query(alias="format")] = "csv",
    landmarks: bool = False,
    overlay: bool = False,
    blur_faces: bool = False,
) -> Wanted:
    return Wanted(form, landmarks, overlay, blur_faces)


AsWanted = Annotated[Wanted, Depends(_wanted)]


def make_app(jobs: Jobs, ready: Ready, limits: Limits, access: Access) -> Guard:
    """Build the guarded application. The caller starts and stops the jobs."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(jobs))
        yield
        sweeper.cancel()

    app = FastAPI(lifespan=lifespan, redirect_slashes=False, **NO_DOCS)
    _answer_in_lines(app)
    _add_page(app)

    @app.post("/api/session", status_code=204)
    def session(request: Request) -> Response:
        """Exchange the token for a cookie that scripts cannot read."""
        if not access.has_token(request.headers):
            return refusal(401, "wrong token", challenge=True)
        answer = Response(status_code=204)
        secure = request.headers.get("origin", "").startswith("https:")
        answer.set_cookie(
            access.cookie, access.session, httponly=True, samesite="strict", secure=secure
        )
        return answer

    @app.get("/api/service")
    def service() -> dict[str, Any]:
        return {
            "model": ready.model,
            "classes": ready.classes,
            "warning": ready.warning,
            "kind": ready.kind,
            "title": Display(ready.kind, ready.classes).title,
            "scale": ready.scale,
            "also": ready.also,
            "formats": formats_of([ready.kind, *(one["kind"] for one in ready.also)]),
            "upload_bytes": limits.upload_bytes,
            "longest_s": limits.longest_s,
            "keep_s": limits.keep_s,
            "paths": limits.root is not None,
            "kept": limits.kept,
            "token": access.token is not None,
        }

    @app.post("/api/jobs", status_code=202)
    async def upload(request: Request, wanted: AsWanted) -> dict[str, Any]:
        """Accept a video as the body, which the header X-File-Name may name, percent-encoded; or in
        a form, whose fields may say what the address does not."""
        name = unquote(request.headers.get("x-file-name", ""))
        job = _reserve(jobs, limits, shown_name(name), wanted)
        try:
            form = await to_file(request, job.upload, limits.upload_bytes, limits.pace)
            job.name = shown_name(name or form.name)
            job.wanted = _also(wanted, form.fields, request.query_params)
        except BaseException:
            jobs.remove(job)
            raise
        jobs.submit(job, job.upload)
        return _state(jobs, job)

    @app.post("/api/paths", status_code=202)
    async def path(request: Request, wanted: AsWanted) -> dict[str, Any]:
        """Accept {"path": of a video below the service's root}."""
        if limits.root is None:
            raise Refused(404, "this service does not accept paths: start it with --root DIR")
        video = below(limits.root, _path(await to_memory(request, _SMALL, limits.pace)))
        job = _reserve(jobs, limits, shown_name(video.name), wanted)
        jobs.submit(job, video)
        return _state(jobs, job)

    @app.get("/api/jobs/{number}")
    def state(number: str) -> dict[str, Any]:
        return _state(jobs, _find(jobs, number))

    @app.delete("/api/jobs/{number}", status_code=204)
    def remove(number: str) -> Response:
        jobs.remove(_find(jobs, number))
        return Response(status_code=204)

    @app.get("/api/jobs/{number}/files/{name}")
    def result(number: str, name: str) -> FileResponse:
        job = _find(jobs, number)
        found = {path.name: path for path in job.files().values()}
        if name not in found:
            raise Refused(404, "this job has no such file")
        suffix = found[name].suffix
        how = "inline" if suffix in (".html", ".mp4") else "attachment"
        headers = {"content-disposition": _saved(how, job.saved_as(name))}
        if suffix == ".html":
            headers["content-security-policy"] = RESULT_POLICY
        return FileResponse(found[name], media_type=TYPES[suffix], headers=headers)

    return Guard(app, access)


def _add_page(app: FastAPI) -> None:
    web = files("arpgnet.pipeline.serve") / "web"

    def add(address: str, content: bytes, kind: str) -> None:
        @app.get(address)
        def asset() -> Response:
            headers = {"content-security-policy": PAGE_POLICY}
            return Response(content, media_type=kind, headers=headers)

    for address, (name, kind) in WEB.items():
        add(address, (web / name).read_bytes(), kind)


def _answer_in_lines(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return refusal(error.status, error.line)

    @app.exception_handler(UserError)
    async def mistaken(_: Request, error: UserError) -> JSONResponse:
        return refusal(404, str(error))

    @app.exception_handler(HTTPException)
    async def known(_: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return refusal(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> JSONResponse:
        return refusal(500, "internal error: details are in the service's log")


def _reserve(jobs: Jobs, limits: Limits, name: str, wanted: Wanted) -> Job:
    if shutil.disk_usage(jobs.folder).free < _ROOM * limits.upload_bytes:
        raise Refused(507, "the service's disk is nearly full")
    try:
        return jobs.reserve(name, wanted)
    except Busy:
        raise Refused(429, "the service is busy: try again when a job has finished") from None


def _saved(how: str, name: str) -> str:
    """Return the header with a file's name: in ASCII, which is all that curl reads, and in full."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    full = {} if plain == name else {"filename*": f"UTF-8''{quote(name, safe='')}"}
    return dump_options_header(how, {"filename": plain, **full})


def _path(body: bytes) -> str:
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        path = json.loads(body)["path"]
        if isinstance(path, str):
            return path
    raise Refused(422, 'the body must be {"path": "a video in the service\'s folder"}')


def _also(wanted: Wanted, fields: Mapping[str, str], asked: Mapping[str, str]) -> Wanted:
    """Add the fields of a form that name an output and are not in the address.

    Raises:
        Refused: 422, a value is not possible.
    """
    said = {
        own: fields[name] for name, own in FIELDS.items() if name in fields.keys() - asked.keys()
    }
    try:
        return _WANTED.validate_python(asdict(wanted) | said)
    except ValidationError as error:
        first = error.errors()[0]
        name = next(name for name, own in FIELDS.items() if own == first["loc"][-1])
        raise Refused(422, f"{name}: {first['msg']}") from None


def _find(jobs: Jobs, number: str) -> Job:
    # only a lookup among known ids: a forged id is unknown, and never becomes part of a path
    job = jobs.get(number)
    if job is None:
        raise Refused(404, "no such job: its results may have expired")
    return job


def _state(jobs: Jobs, job: Job) -> dict[str, Any]:
    rate, left = job.seconds_left(time.monotonic())
    return {
        "id": job.id,
        "name": job.name,
        "state": job.state,
        "error": job.error,
        "ahead": jobs.ahead(job),
        "frames": job.done,
        "total": job.total,
        "frames_per_second": rate,
        "seconds_left": left,
        "faces": job.faces,
        "complete": job.complete,
        "warning": job.warning or None,
        "wanted": asdict(job.wanted),
        "files": {
            kind: {"name": path.name, "bytes": path.stat().st_size}
            for kind, path in job.files().items()
        },
    }


async def _sweep(jobs: Jobs) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        await run_in_threadpool(jobs.expire)
