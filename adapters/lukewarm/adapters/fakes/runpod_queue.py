"""A FAKE of Runpod's job queue on loopback: the worker's side and the caller's side, shapes as in the SDK and the docs.

No production traffic was recorded for it; it keeps jobs in memory and forgets them when it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
import uuid
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

POLL_S = 1.0  # how long a worker's question for work stays open; a stopping worker waits for its end
SYNC_S = 90.0  # how long /runsync waits
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


class Queue:
    """Jobs, by id, and who waits for them."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.stops: asyncio.Queue[str] = asyncio.Queue()
        self.workers_seen: set[str] = set()
        self.refreshed = 0  # jobs whose worker asked to be replaced

    def add(self, given: Any) -> dict[str, Any]:
        job = {
            "id": f"{uuid.uuid4()}-u1", "input": given, "added": time.time(), "status": "IN_QUEUE",
            "ended": asyncio.Event(), "stream": [],
        }  # fmt: skip
        self.jobs[job["id"]] = job
        self.waiting.put_nowait(job)
        return job

    def finish(self, job_id: str, result: dict[str, Any], worker: str) -> None:
        """A worker's result, or its progress."""
        job = self.jobs[job_id]
        if result.get("status") == "IN_PROGRESS":
            job["progress"] = result.get("output")
            return
        if job["status"] != "CANCELLED":
            job.update({key: result[key] for key in ("output", "error") if key in result})
            job["status"] = "FAILED" if "error" in result else "COMPLETED"
        if result.get("stopPod"):
            self.refreshed += 1
            self.workers_seen.discard(worker)
        job["done"] = time.time()
        job["ended"].set()

    def count(self, status: str) -> int:
        return sum(job["status"] == status for job in self.jobs.values())


def view(job: dict[str, Any]) -> dict[str, Any]:
    """A job as the caller sees it: times in milliseconds."""
    shown = {"id": job["id"], "status": job["status"]}
    if "taken" in job:
        shown["delayTime"] = int((job["taken"] - job["added"]) * 1000)
        shown["workerId"] = job["worker"]
    if "done" in job:
        shown["executionTime"] = int((job["done"] - job["taken"]) * 1000)
    return shown | {key: job[key] for key in ("output", "error") if key in job}


def create_app() -> Starlette:
    """The fake, empty."""
    queue = Queue()

    async def run(request: Request) -> Response:
        try:
            body = msgspec.json.decode(await request.body())  # strict: what is no JSON is not queued
            given = body["input"]
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError, RecursionError):
            return JSONResponse({"error": "the body must be JSON with an `input`"}, 400)
        job = queue.add(given)
        if request.path_params["operation"] == "runsync":
            with contextlib.suppress(TimeoutError):  # the caller gets IN_QUEUE or IN_PROGRESS and asks again
                await asyncio.wait_for(job["ended"].wait(), SYNC_S)
        return JSONResponse(view(job))

    async def status(request: Request) -> Response:
        job = queue.jobs.get(request.path_params["job"])
        return JSONResponse(view(job)) if job else JSONResponse({"error": "job not found"}, 404)

    async def stream(request: Request) -> Response:
        job = queue.jobs.get(request.path_params["job"])
        if not job:
            return JSONResponse({"error": "job not found"}, 404)
        pieces, job["stream"] = job["stream"], []
        return JSONResponse({"status": job["status"], "stream": pieces})

    async def cancel(request: Request) -> Response:
        job = queue.jobs.get(request.path_params["job"])
        if not job:
            return JSONResponse({"error": "job not found"}, 404)
        if job["status"] not in ENDED:
            job["status"] = "CANCELLED"
            job["ended"].set()
            queue.stops.put_nowait(job["id"])
        return JSONResponse(view(job))

    async def health(_: Request) -> Response:
        jobs = {"completed": queue.count("COMPLETED"), "failed": queue.count("FAILED"), "retried": 0,
                "inProgress": queue.count("IN_PROGRESS"), "inQueue": queue.count("IN_QUEUE")}  # fmt: skip
        ready = len(queue.workers_seen)
        workers = {"idle": 0, "running": ready, "initializing": 0, "ready": ready, "throttled": 0, "unhealthy": 0}
        return JSONResponse({"jobs": jobs, "workers": workers, "fake": True})

    routes = [
        *_worker_routes(queue),
        Route("/v2/{endpoint}/health", health),
        Route("/v2/{endpoint}/status/{job}", status),
        Route("/v2/{endpoint}/stream/{job}", stream),
        Route("/v2/{endpoint}/cancel/{job}", cancel, methods=["POST"]),
        Route("/v2/{endpoint}/{operation:str}", run, methods=["POST"]),
    ]
    return Starlette(routes=routes)


def _worker_routes(queue: Queue) -> list[Route]:
    """What the worker's SDK calls."""

    async def take(request: Request) -> Response:
        worker = request.path_params["worker"]
        queue.workers_seen.add(worker)
        wanted = int(request.query_params.get("batch_size", 1))
        try:
            taken = [await asyncio.wait_for(queue.waiting.get(), POLL_S)]
        except TimeoutError:
            return Response(status_code=204)
        while len(taken) < wanted and not queue.waiting.empty():
            taken.append(queue.waiting.get_nowait())
        taken = [job for job in taken if job["status"] == "IN_QUEUE"]  # not those cancelled meanwhile
        if not taken:
            return Response(status_code=204)
        for job in taken:
            job.update(taken=time.time(), worker=worker, status="IN_PROGRESS")
        jobs = [{"id": job["id"], "input": job["input"]} for job in taken]
        return JSONResponse(jobs if "batch" in request.url.path else jobs[0])

    async def done(request: Request) -> Response:
        queue.finish(request.path_params["job"], json.loads(await request.body()), request.path_params["worker"])
        return JSONResponse({})

    async def piece(request: Request) -> Response:
        queue.jobs[request.path_params["job"]]["stream"].append(json.loads(await request.body()))
        return JSONResponse({})

    async def stop(_: Request) -> Response:
        try:
            return JSONResponse({"jobsToStop": [await asyncio.wait_for(queue.stops.get(), POLL_S)]})
        except TimeoutError:
            return Response(status_code=204)

    async def ping(_: Request) -> Response:
        return JSONResponse({})

    return [
        Route("/v2/{endpoint}/job-take/{worker}", take),
        Route("/v2/{endpoint}/job-take-batch/{worker}", take),
        Route("/v2/{endpoint}/job-stop/{worker}", stop),
        Route("/v2/{endpoint}/job-done/{worker}/{job}", done, methods=["POST"]),
        Route("/v2/{endpoint}/job-stream/{worker}/{job}", piece, methods=["POST"]),
        Route("/v2/{endpoint}/ping/{worker}", ping),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        create_app(), host=arguments.host, port=arguments.port, log_level="warning", timeout_graceful_shutdown=2
    )


if __name__ == "__main__":
    main()
