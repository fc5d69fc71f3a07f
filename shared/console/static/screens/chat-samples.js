// The request of the composer as programs that send the same.

/** Programs by language. A picture is left out after its first characters. */
export function samples({ origin, body, threadId }) {
  const path = threadId ? `/api/threads/${threadId}/messages` : "/api/messages";
  const json = JSON.stringify(shortened(body));
  return {
    curl: curl(origin + path, json),
    Python: python(origin + path, json),
    "OpenAI SDK": openAi(origin, body, threadId),
  };
}

const PICTURE_CHARS = 40;

function shortened(body) {
  const images = body.images?.map((each) => `${each.slice(0, PICTURE_CHARS)}...`);
  return { ...body, message: body.message || "Hello", ...(images && { images }) };
}

function curl(url, json) {
  const quoted = json.replaceAll("'", "'\\''");
  return [
    `curl -N ${url} -H "x-functions-key: $KEY" \\`,
    "  -H 'Content-Type: application/json' -H 'Accept: text/event-stream' \\",
    `  -d '${quoted}'`,
  ].join("\n");
}

function python(url, json) {
  return [
    "import json, os",
    "import httpx",
    "",
    `body = json.loads(${pythonText(json)})`,
    "answer = httpx.post(",
    `    ${pythonText(url)},`,
    '    headers={"x-functions-key": os.environ["KEY"]}, json=body, timeout=230)',
    'print(answer.raise_for_status().json()["content"])',
  ].join("\n");
}

function openAi(origin, body, threadId) {
  const model = body.model ?? body.model_type ?? "default";
  const more = threadId ? `, conversation=${pythonText(threadId)}` : "";
  return [
    "import os",
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${pythonText(`${origin}/api/v1`)}, api_key=os.environ["KEY"])`,
    "answer = client.responses.create(",
    `    model=${pythonText(model)}, input=${pythonText(body.message || "Hello")}${more})`,
    "print(answer.output_text)",
  ].join("\n");
}

/** A text as Python writes it; JSON's escapes are Python's. */
function pythonText(text) {
  return JSON.stringify(text);
}
