"""The emulator's own endpoints below `/_emulator`, without credentials."""

import json

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .faults import Fault
from .operation import Service


async def add_fault(request: Request) -> Response:
    """POST /_emulator/faults: add a fault; answers 201 with it."""
    try:
        fault = Fault.model_validate_json(await request.body())
    except ValidationError as error:
        return JSONResponse({"errors": json.loads(error.json(include_url=False))}, 422)
    _service(request).faults.add(fault)
    return JSONResponse(fault.model_dump(), 201)


async def list_faults(request: Request) -> Response:
    """GET /_emulator/faults: every fault, with how often it was applied."""
    return JSONResponse({"faults": _service(request).faults.describe()})


async def clear_faults(request: Request) -> Response:
    """DELETE /_emulator/faults."""
    _service(request).faults.clear()
    return Response(status_code=204)


async def list_requests(request: Request) -> Response:
    """GET /_emulator/requests: the latest requests, oldest first; `operation` filters."""
    wanted = request.query_params.get("operation")
    log = _service(request).log
    found = [entry for entry in log if wanted is None or entry["operation"] == wanted]
    return JSONResponse({"requests": found})


async def clear_requests(request: Request) -> Response:
    """DELETE /_emulator/requests."""
    _service(request).log.clear()
    return Response(status_code=204)


async def usage(request: Request) -> Response:
    """GET /_emulator/usage: generations and tokens billed since the start."""
    ledger = _service(request).turns.ledger
    return JSONResponse(
        {
            "requests": ledger.requests,
            "input_tokens": ledger.input_tokens,
            "output_tokens": ledger.output_tokens,
            "total_tokens": ledger.input_tokens + ledger.output_tokens,
        }
    )


async def health(request: Request) -> Response:
    """GET /_emulator/health: which model answers."""
    return JSONResponse({"status": "ok", "backend": request.app.state.model.name})


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ROUTES = [
    Route("/_emulator/faults", add_fault, methods=["POST"]),
    Route("/_emulator/faults", list_faults, methods=["GET"]),
    Route("/_emulator/faults", clear_faults, methods=["DELETE"]),
    Route("/_emulator/requests", list_requests, methods=["GET"]),
    Route("/_emulator/requests", clear_requests, methods=["DELETE"]),
    Route("/_emulator/usage", usage, methods=["GET"]),
    Route("/_emulator/health", health, methods=["GET"]),
]
