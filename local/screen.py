"""The one screen that `make run` ends its start with."""

from dataclasses import dataclass

_TEMPLATE = """
Ready in {seconds:.1f} s.

  app        {app}  ({host})
  Foundry    {foundry}
  model      {model}
  storage    {storage}
  state      {state}   (make clean removes it)
  logs       {logs}

Try, in another terminal:

  1. one message
     curl -s {app}/api/messages -H 'content-type: application/json' \\
       -d '{{"message": "Why is the sky blue?"}}'

  2. a thread that remembers
     T=$(curl -s {app}/api/threads -X POST -H 'content-type: application/json' -d '{{}}' \\
       | sed -E 's/.*"thread_id": *"([^"]+)".*/\\1/'); for M in "My name is Ada." "What is my name?"
       do curl -s {app}/api/threads/$T/messages -H 'content-type: application/json' \\
         -d "{{\\"message\\": \\"$M\\"}}"; echo; done

  3. a job: submitted, then read (202 and Location, then its result)
     J=$(curl -si {app}/api/jobs -H 'content-type: application/json' \\
       -d '{{"message": "Tell me a short story."}}' | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p')
     curl -s "{app}/api/jobs/${{J##*/}}"

{advice}Stop with Ctrl-C.
"""


@dataclass(frozen=True)
class Running:
    """What runs where."""

    app: str
    host: str
    foundry: str
    model: str
    storage: str
    state: str
    logs: str
    advice: str = ""
    """How to use a better model, where the smallest answers."""


BETTER_MODELS = """\
The model is tiny: it answers at once, offline, and is often wrong. For a better one, set, in the
environment or in local.settings.json:

  Ollama, llama.cpp, vLLM   FOUNDRY_LOCAL_BACKEND=http://localhost:11434/v1
  any OpenAI-compatible     FOUNDRY_LOCAL_BACKEND=<URL> FOUNDRY_LOCAL_BACKEND_API_KEY=<key>
                            FOUNDRY_LOCAL_BACKEND_MODEL=<model>
  a real Foundry project    FOUNDRY_AGENT_SERVICE_ENDPOINT=<project endpoint>, and `az login`

"""


def render(running: Running, seconds: float) -> str:
    """Return the screen as text, the same with and without a terminal."""
    return _TEMPLATE.format(seconds=seconds, **vars(running))
