// The composer of the chat: the message, its pictures, the model and the tools, and the request as code.

import { CopyButton, html, ProblemBox, useEffect, useRef, useState } from "../ui.js";

const IMAGE_TYPES = ["image/png", "image/jpeg", "image/webp"];
const MAX_IMAGES = 10;
const MAX_IMAGE_BYTES = 3_000_000;

export function Composer({ options, threadId, isRunning, onSend, onStop }) {
  const [message, setMessage] = useState("");
  const [images, setImages] = useState([]);
  const [model, setModel] = useState("");
  const [tools, setTools] = useState([]);
  const [error, setError] = useState(null);
  const box = useRef(null);
  const wasRunning = useRef(false);
  useEffect(() => {
    if (wasRunning.current && !isRunning) box.current?.focus();
    wasRunning.current = isRunning;
  }, [isRunning]);

  const body = requestBody({ message, images, model, tools });
  const submit = (event) => {
    event.preventDefault();
    if (isRunning || !message.trim()) return;
    onSend(body);
    setMessage("");
    setImages([]);
  };
  const pressed = (event) => {
    const isPlainEnter = event.key === "Enter" && !event.shiftKey && !event.isComposing;
    if (isPlainEnter) submit(event);
  };
  const add = async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    try {
      const added = await Promise.all(files.map(dataUrl));
      setImages([...images, ...added].slice(0, MAX_IMAGES));
      setError(null);
    } catch (caught) {
      setError(caught);
    }
  };
  return html`<form class="composer" onSubmit=${submit}>
    <label for="message">Message</label>
    <textarea
      id="message"
      ref=${box}
      rows="3"
      value=${message}
      aria-describedby="message-hint"
      onInput=${(event) => setMessage(event.target.value)}
      onKeyDown=${pressed}
    ></textarea>
    <p id="message-hint" class="quiet">Enter sends, Shift+Enter begins a new line.</p>
    <${ProblemBox} error=${error} />
    <${Pictures} images=${images} onRemove=${(index) => setImages(images.toSpliced(index, 1))} />
    <div class="actions">
      ${
        isRunning
          ? html`<button type="button" class="danger" onClick=${onStop}>Stop</button>`
          : html`<button class="primary">Send</button>`
      }
      <${ModelPicker} models=${options?.models} chosen=${model} onChoose=${setModel} />
      <div>
        <label for="pictures">Pictures</label>
        <input id="pictures" type="file" multiple accept=${IMAGE_TYPES.join()} onChange=${add} />
      </div>
    </div>
    <${ToolPicker} tools=${options?.tools.data ?? []} chosen=${tools} onChoose=${setTools} />
    <${AsCode} body=${body} threadId=${threadId} />
  </form>`;
}

function requestBody({ message, images, model, tools }) {
  return {
    message,
    ...(images.length > 0 && { images }),
    ...(tools.length > 0 && { tools }),
    ...(model && JSON.parse(model)),
  };
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    if (!IMAGE_TYPES.includes(file.type) || file.size > MAX_IMAGE_BYTES) {
      const detail = `${file.name} is no PNG, JPEG or WEBP picture of at most 3 MB.`;
      reject(Object.assign(new Error(detail), { detail }));
      return;
    }
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

function Pictures({ images, onRemove }) {
  return html`<div class="pictures">
    ${images.map(
      (image, index) =>
        html`<figure key=${image}>
          <img class="picture" src=${image} alt=${`Picture ${index + 1}, to be sent`} />
          <button type="button" class="small" onClick=${() => onRemove(index)}>
            Remove picture ${index + 1}
          </button>
        </figure>`,
    )}
  </div>`;
}

function ModelPicker({ models, chosen, onChoose }) {
  const choices = models ? modelChoices(models) : [];
  return html`<div>
    <label for="model">Model</label>
    <select id="model" value=${chosen} onChange=${(event) => onChoose(event.target.value)}>
      <option value="">as configured</option>
      ${choices.map(({ value, label }) => html`<option key=${value} value=${value}>${label}</option>`)}
    </select>
  </div>`;
}

/** What can be chosen: the fields of a request as JSON, and a name. */
function modelChoices(models) {
  return models.data
    .filter((type) => type.is_available)
    .flatMap((type) => {
      const isDefault = type.model_type === models.default;
      const fields = isDefault ? {} : { model_type: type.model_type };
      const named = type.models.filter((each) => each.can_be_named);
      const own = isDefault ? [] : [{ value: JSON.stringify(fields), label: type.model_type }];
      const each = named.map(({ name }) => ({
        value: JSON.stringify({ ...fields, model: name }),
        label: isDefault ? name : `${type.model_type}: ${name}`,
      }));
      return [...own, ...each];
    });
}

function ToolPicker({ tools, chosen, onChoose }) {
  if (tools.length === 0) return null;
  const toggle = (name, isOn) =>
    onChoose(isOn ? [...chosen, name] : chosen.filter((each) => each !== name));
  return html`<details>
    <summary>Tools${chosen.length > 0 && `: ${chosen.join(", ")}`}</summary>
    <ul class="tools">
      ${tools.map(
        (each) =>
          html`<li key=${each.name}>
            <label>
              <input
                type="checkbox"
                checked=${chosen.includes(each.name)}
                disabled=${each.is_available === false}
                onChange=${(event) => toggle(each.name, event.target.checked)}
              />
              <code>${each.name}</code>
            </label>
            <span class="quiet">${each.unavailable ?? each.description}</span>
          </li>`,
      )}
    </ul>
  </details>`;
}

function AsCode({ body, threadId }) {
  const [language, setLanguage] = useState("curl");
  const [made, setMade] = useState(null);
  const load = async () => setMade(await import("./chat-samples.js"));
  const programs = made?.samples({ origin: location.origin, body, threadId }) ?? {};
  return html`<details onToggle=${load}>
    <summary>Show as code</summary>
    <div class="actions">
      <div>
        <label for="language">Language</label>
        <select
          id="language"
          value=${language}
          onChange=${(event) => setLanguage(event.target.value)}
        >
          ${Object.keys(programs).map(
            (name) => html`<option key=${name} value=${name}>${name}</option>`,
          )}
        </select>
      </div>
      <${CopyButton} text=${programs[language]} />
    </div>
    <pre tabindex="0" aria-label="The request as code">${programs[language]}</pre>
  </details>`;
}
