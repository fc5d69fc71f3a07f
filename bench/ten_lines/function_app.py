"""What the app is compared with: a function that asks the official SDK, and stores nothing."""

import azure.functions as func
from azurefunctions.extensions.http.fastapi import (
    JSONResponse,
    Request,
    Response,
    StreamingResponse,
)
from openai import AsyncOpenAI

MODEL = "llama-3.3-70b"
DELTA = "response.output_text.delta"

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
client = AsyncOpenAI()


@app.route("api/messages", methods=["POST"])
async def send_message(req: Request) -> Response:
    """Answer a message."""
    message = (await req.json())["message"]
    if req.headers["accept"] == "text/event-stream":
        events = await client.responses.create(model=MODEL, input=message, stream=True)
        texts = (f"data: {each.delta}\n\n" async for each in events if each.type == DELTA)
        return StreamingResponse(texts, media_type="text/event-stream")
    answer = await client.responses.create(model=MODEL, input=message)
    return JSONResponse({"content": answer.output_text})
