"""Four functions whose names and whose templates' precedence disagree."""

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route("items/search", methods=["GET", "POST"])
async def search_items(req: Request) -> Response:
    return _seen("search_items", req)


@app.route("items/{id}", methods=["PUT"])
async def update_item(req: Request) -> Response:
    return _seen("update_item", req)


@app.route("{*path}", methods=["GET", "POST", "DELETE"])
async def rest(req: Request) -> Response:
    return _seen("rest", req)


@app.route("items/{id}", methods=["GET"])
async def get_item(req: Request) -> Response:
    return _seen("get_item", req)


def _seen(function: str, req: Request) -> Response:
    return JSONResponse({"function": function, "params": dict(req.path_params)})
