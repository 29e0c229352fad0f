// Try: a form that sends an operation's request to this server, shows what
// curl would send, and shows the answer as it comes.

import { button, byId, code, element } from "./elements.js";
import { example, resolve } from "./schema.js";

const BODY_MAX = 256 << 10; // characters of an answer that are shown

// tryForm makes the form of one operation.
export function tryForm(operation) {
  const inputs = operation.parameters.map((parameter) => [parameter, parameterInput(operation, parameter)]);
  const media = resolve(operation.requestBody)?.content?.["application/json"];
  const body = media && bodyInput(operation, media);
  const form = element("form", "try");
  const fieldset = element("div", "inputs", ...inputs.map(([, input]) => input.row), body?.row);
  const command = code("", "The request as a curl command");
  const send = element("button", "primary", "Send");
  send.type = "submit";
  const stop = button("Stop", "secondary", () => running?.abort());
  stop.hidden = true;
  const answer = element("div", "answer");
  answer.setAttribute("role", "status");
  let running = null;

  const request = () => readRequest(operation, inputs, body);
  const refresh = () => { command.firstChild.textContent = curl(request()); };
  form.addEventListener("input", refresh);
  byId("token").addEventListener("input", refresh);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running?.abort();
    const mine = running = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    await carryOut(request(), answer, mine.signal);
    if (running === mine) {
      send.disabled = false;
      stop.hidden = true;
    }
  });
  form.append(fieldset, command, element("p", "actions", send, stop), answer);
  refresh();
  return form;
}

function labelled(operation, name, control, note) {
  control.id = `try-${operation.operationId}-${name}`;
  const label = element("label", "", element("code", "", name), note ? element("span", "quiet", ` ${note}`) : null);
  label.htmlFor = control.id;
  return { control, row: element("p", "", label, control) };
}

function parameterInput(operation, parameter) {
  const input = element("input");
  input.autocomplete = "off";
  input.spellcheck = false;
  input.required = Boolean(parameter.required);
  if (parameter.example !== undefined) input.value = parameter.example;
  return labelled(operation, parameter.name, input, parameter.in);
}

function bodyInput(operation, media) {
  const text = element("textarea");
  text.spellcheck = false;
  text.value = JSON.stringify(example(media), null, 2);
  text.rows = Math.min(text.value.split("\n").length + 1, 14);
  return labelled(operation, "body", text);
}

// readRequest reads the form: what fetch and curl are to send.
function readRequest(operation, inputs, body) {
  let path = operation.path;
  const query = new URLSearchParams();
  const headers = {};
  for (const [parameter, { control }] of inputs) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(control.value));
    else if (control.value === "") continue;
    else if (parameter.in === "query") query.set(parameter.name, control.value);
    else headers[parameter.name] = control.value;
  }
  const token = byId("token").value.trim();
  if (token && operation.secured) headers.Authorization = `Bearer ${token}`;
  const text = body?.control.value.trim();
  if (text) headers["Content-Type"] = "application/json";
  const here = new URL(".", document.baseURI);
  const url = new URL(`.${path}${query.size ? `?${query}` : ""}`, here);
  return { method: operation.method.toUpperCase(), url: url.href, headers, body: text || undefined };
}

// curl words a request for a shell. The token is left for the reader to fill
// in: a command is copied further than a token should go.
function curl({ method, url, headers, body }) {
  const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const parts = ["curl", ...(method === "GET" ? [] : ["-X", method]), quote(url)];
  for (const [name, text] of Object.entries(headers)) {
    parts.push("\\\n  -H", name === "Authorization" ? `"Authorization: Bearer $TOKEN"` : quote(`${name}: ${text}`));
  }
  if (body !== undefined) parts.push("\\\n  -d", quote(body));
  return parts.join(" ");
}

async function carryOut({ method, url, headers, body }, answer, signal) {
  answer.replaceChildren(element("p", "quiet", "…"));
  try {
    const response = await fetch(url, { method, headers, body, signal, cache: "no-store", credentials: "omit" });
    const status = element("p", response.ok ? "status good" : "status bad", `${response.status} ${response.statusText}`);
    const lines = [...response.headers].map(([name, text]) => `${name}: ${text}`).join("\n");
    const shown = code("", "The answer's body");
    answer.replaceChildren(status, code(lines, "The answer's headers"), shown);
    await show(response, shown.firstChild);
  } catch (error) {
    const text = signal.aborted ? "Stopped." : `No answer: ${error.message}`;
    answer.append(element("p", signal.aborted ? "quiet" : "status bad", text));
  }
}

// show writes a body as it comes, and sets JSON out once it is whole.
async function show(response, at) {
  if (!response.body) return;
  let text = "";
  for (const reader = response.body.pipeThrough(new TextDecoderStream()).getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    text = (text + value).slice(-BODY_MAX);
    at.textContent = text;
  }
  if (/json/.test(response.headers.get("Content-Type") ?? "")) {
    try { at.textContent = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it came */ }
  }
}
