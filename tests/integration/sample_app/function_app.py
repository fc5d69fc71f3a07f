"""A function app with one function for each thing that the host promises."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import azure.functions as func
from azurefunctions.extensions.http.fastapi import (
    JSONResponse,
    Request,
    Response,
    StreamingResponse,
)

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

messages: list[dict[str, Any]] = []
timers: list[bool] = []
disconnected = asyncio.Event()
stream_may_go_on = asyncio.Event()


@app.route("{*rest}")
async def z_fallback(req: Request) -> Response:
    return JSONResponse({"function": "z_fallback", "rest": req.path_params.get("rest", "")})


@app.route("echo/{*rest}")
async def echo(req: Request) -> Response:
    sent = {"path": req.scope["path"], "raw_path": req.scope["raw_path"].decode()}
    return JSONResponse({**sent, "headers": dict(req.headers), "body": (await req.body()).decode()})


@app.route("things/{id}", methods=["GET"])
async def get_thing(req: Request) -> Response:
    return JSONResponse({"function": "get_thing", **req.path_params})


@app.route("things/special", methods=["GET"])
async def get_special(req: Request) -> Response:
    return JSONResponse({"function": "get_special"})


@app.route("things/{id}/parts/{part}", methods=["PATCH"])
async def patch_part(req: Request) -> Response:
    return JSONResponse({"function": "patch_part", **req.path_params})


@app.route(methods=["POST"])
async def unrouted(req: Request) -> dict[str, Any]:
    return {"echo": await req.json()}


@app.route("who")
async def who(req: Request, context: func.Context) -> Response:
    return JSONResponse(
        {
            "name": context.function_name,
            "invocation_id": context.invocation_id,
            "trace_parent": context.trace_context.trace_parent,
        }
    )


@app.route("blocking")
def blocking(req: Request) -> Response:
    return JSONResponse({"in_main_thread": threading.current_thread() is threading.main_thread()})


@app.route("broken")
async def broken(req: Request) -> Response:
    raise RuntimeError("a secret detail")


@app.route("guarded", auth_level=func.AuthLevel.FUNCTION)
async def guarded(req: Request) -> Response:
    return Response("open")


@app.route("for_admins", auth_level=func.AuthLevel.ADMIN)
async def for_admins(req: Request) -> Response:
    return Response("open")


@app.route("stream")
async def stream(req: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"first\n"
        await stream_may_go_on.wait()
        yield b"second\n"

    return StreamingResponse(chunks(), media_type="text/plain")


@app.route("stream/continue", methods=["POST"])
async def continue_stream(req: Request) -> Response:
    stream_may_go_on.set()
    return Response()


@app.route("wait-for-disconnect")
async def wait_for_disconnect(req: Request) -> Response:
    while not await req.is_disconnected():
        await asyncio.sleep(0.02)
    disconnected.set()
    return Response()


@app.route("slow")
async def slow(req: Request) -> Response:
    await asyncio.sleep(float(req.query_params["seconds"]))
    return Response("slept")


@app.route("seen")
async def seen(req: Request) -> Response:
    return JSONResponse(
        {"messages": messages, "timers": timers, "disconnected": disconnected.is_set()}
    )


@app.queue_trigger("msg", "%WORK_QUEUE%", "AzureWebJobsStorage")
async def work(msg: func.QueueMessage) -> None:
    body = json.loads(msg.get_body())
    messages.append({"body": body, "attempt": msg.dequeue_count, "id": msg.id})
    if body == "fail":
        raise RuntimeError("this message always fails")
    if body == "hang":
        await asyncio.sleep(3600)


@app.timer_trigger("timer", "%TIMER_SCHEDULE%", run_on_startup=True)
async def tick(timer: func.TimerRequest) -> None:
    timers.append(timer.past_due)


async def aclose() -> None:
    if marker := os.environ.get("CLOSED_MARKER"):
        Path(marker).write_text("closed")  # noqa: ASYNC240 (the loop is about to end)
