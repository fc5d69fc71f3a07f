"""`llm`, whose models beside OpenAI's are listed in a file."""

import os
import tempfile
from pathlib import Path

from asked import (
    BASE_URL,
    CALL,
    KEY,
    MODEL,
    NAME,
    RECALL,
    UNKNOWN_MODEL,
    WORDS,
    Report,
    show,
    weather,
)

SETTINGS = """
- model_id: my-{name}
  model_name: {name}
  api_base: {url}
  api_key_name: app
  supports_tools: true
"""

with tempfile.TemporaryDirectory() as folder:
    os.environ["LLM_USER_PATH"] = folder  # read at import
    models = (SETTINGS.format(name=name, url=BASE_URL) for name in (MODEL, UNKNOWN_MODEL))
    (Path(folder) / "extra-openai-models.yaml").write_text("".join(models))
    import llm

    def model(name: str = MODEL) -> llm.Model:
        """A model that speaks to the app."""
        return llm.get_model(f"my-{name}")

    def chat() -> Report:
        """Stream, call a tool, and keep a conversation."""
        conversation = model().conversation()
        conversation.prompt(NAME, key=KEY).text()
        return {
            "streamed": [*model().prompt(WORDS, key=KEY)],
            "tool": "".join(model().chain(CALL, tools=[weather], key=KEY)),
            "conversation": conversation.prompt(RECALL, key=KEY).text(),
        }

    show(lambda key, name: model(name).prompt(NAME, key=key).text(), chat=chat)
