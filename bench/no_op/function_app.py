"""What the worker library itself takes: a function that reads a message and answers nothing."""

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route("api/messages", methods=["POST"])
async def send_message(req: Request) -> Response:
    """Answer a message."""
    await req.json()
    return JSONResponse({})
