"""The screen that `make run` prints when everything is ready."""

from dataclasses import dataclass

_TEMPLATE = """
Ready in {seconds:.1f} s.

  app        {app}  ({host})
{console_line}  Foundry    {foundry}
  model      {model}
  storage    {storage}
{key_line}  state      {state}   (make clean removes it)
  logs       {logs}

Try, in another terminal:

  1. one message
     curl -s {app}/api/messages -H 'Content-Type: application/json' \\
       -d '{{"message": "What is the capital of France?"}}'

  2. a thread, which remembers
     THREAD=$(curl -s -X POST {app}/api/threads | sed 's/.*"thread_id":"\\([^"]*\\)".*/\\1/')
     curl -s {app}/api/threads/$THREAD/messages -H 'Content-Type: application/json' \\
       -d '{{"message": "My name is Ada."}}'
     curl -s {app}/api/threads/$THREAD/messages -H 'Content-Type: application/json' \\
       -d '{{"message": "What is my name?"}}'

  3. a job, which is accepted now and answered later
     JOB=$(curl -s {app}/api/jobs -H 'Content-Type: application/json' \\
       -d '{{"message": "Write a haiku about queues."}}' | sed 's/.*"job_id":"\\([^"]*\\)".*/\\1/')
     curl -s "{app}/api/jobs/$JOB?wait=60"

{advice}Stop with Ctrl-C.
"""

_CONSOLE_LINE = "  console    {app}/console\n"
_KEY_LINE = "  key        {key}\n"


@dataclass(frozen=True)
class Running:
    """The addresses, files and model of a local run."""

    app: str
    host: str
    foundry: str
    model: str
    storage: str
    state: str
    logs: str
    key: str = ""
    """A client key that the app takes."""
    has_console: bool = False
    """Whether the app serves its web console."""
    advice: str = ""
    """How to use a better model, shown with the built-in one."""


BETTER_MODELS = """\
The built-in model is tiny: it answers at once, offline, and is often wrong. For a better one, set
in the environment or in local.settings.json:

  Ollama, llama.cpp, vLLM   FOUNDRY_LOCAL_BACKEND=http://localhost:11434/v1
  any OpenAI-compatible     FOUNDRY_LOCAL_BACKEND=<URL> FOUNDRY_LOCAL_BACKEND_API_KEY=<key>
                            FOUNDRY_LOCAL_BACKEND_MODEL=<model>
  a real Foundry project    FOUNDRY_AGENT_SERVICE_ENDPOINT=<project endpoint>, and `az login`

"""


def render(running: Running, seconds: float) -> str:
    """Return the screen as text, the same with and without a terminal."""
    key_line = _KEY_LINE.format(key=running.key) if running.key else ""
    console_line = _CONSOLE_LINE.format(app=running.app) if running.has_console else ""
    lines = {"key_line": key_line, "console_line": console_line}
    return _TEMPLATE.format(seconds=seconds, **lines, **vars(running))
