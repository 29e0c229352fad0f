// The page: draws the description that stands beside it, openapi.json.

import { byId, code, element, link, table } from "./elements.js";
import { inline, prose } from "./prose.js";
import { example, fields, nameOf, resolve, useDescription, value } from "./schema.js";
import { tryForm } from "./try.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

start().catch((error) => {
  const trouble = byId("trouble");
  trouble.textContent = `The description could not be shown: ${error.message}`;
  trouble.hidden = false;
}).finally(() => byId("main").removeAttribute("aria-busy"));

async function start() {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  const description = await response.json();
  useDescription(description);
  byId("introduction").append(...prose(description.info.description));
  const sections = group(description);
  for (const section of sections) drawSection(section);
  drawErrors(description.components.schemas.ErrorCode["x-errors"]);
  drawSchemas(description.components.schemas);
  byId("filter").addEventListener("input", (event) => filter(event.target.value, sections));
  byId("who").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", follow);
  follow();
}

// group puts the operations under their tags, in the order of the description.
function group(description) {
  const sections = description.tags.map((tag) => ({ ...tag, operations: [] }));
  for (const [path, item] of Object.entries(description.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const operation = item[method];
      sections.find((section) => section.name === operation.tags[0]).operations.push({
        ...operation, path, method,
        parameters: [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolve),
        secured: (operation.security ?? description.security).length > 0,
      });
    }
  }
  return sections;
}

function drawSection(section) {
  const id = `tag-${section.name}`;
  const title = element("h2", "", section.name);
  title.id = id;
  byId("operations").append(element("section", "tag", title, ...prose(section.description), ...section.operations.map(drawOperation)));
  const list = element("ul", "", ...section.operations.map((operation) => {
    operation.entry = element("li", "", link(operation.summary, `#${operation.operationId}`));
    return operation.entry;
  }));
  section.entry = element("div", "", element("h2", "", link(section.name, `#${id}`)), list);
  byId("index").append(section.entry);
}

// drawOperation draws the line of an operation; what it holds is drawn when it
// is opened.
function drawOperation(operation) {
  const details = element("details", "operation", element("summary", "",
    element("span", `method ${operation.method}`, operation.method.toUpperCase()),
    element("code", "path", operation.path),
    element("span", "summary", operation.summary),
    operation.secured ? null : element("span", "open", "no token")));
  details.id = operation.operationId;
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(drawDetails(operation));
  });
  operation.element = details;
  return details;
}

function drawDetails(operation) {
  const parts = element("div", "details", ...prose(operation.description));
  if (operation.parameters.length > 0) {
    const list = element("dl", "fields");
    for (const parameter of operation.parameters) {
      list.append(element("dt", "", element("code", "", parameter.name), element("span", "quiet", ` ${parameter.in}`)),
        element("dd", "", ...value(parameter.schema, parameter.description, parameter.required)));
    }
    parts.append(element("h3", "", "Parameters"), list);
  }
  const body = resolve(operation.requestBody);
  if (body) {
    const media = body.content["application/json"];
    parts.append(element("h3", "", "Body ", element("span", "quiet", body.required ? "required" : "optional")), fields(media.schema));
  }
  parts.append(element("h3", "", "Answers"), ...Object.entries(operation.responses).map(drawAnswer), element("h3", "", "Try it"), tryForm(operation));
  return parts;
}

function drawAnswer([status, reference]) {
  const response = resolve(reference);
  const [type, media] = Object.entries(response.content ?? {})[0] ?? [];
  const head = [element("code", Number(status) < 400 ? "good" : "bad", status), " ", element("span", "text", ...inline(response.description))];
  if (!media || Number(status) >= 400) return element("p", "answer-line", ...head);
  const name = nameOf(media.schema);
  const shape = name ? link(name, `#schema-${name}`) : type;
  const shown = example(media);
  return element("div", "answer-line", ...head, " ", element("span", "type", shape),
    code(typeof shown === "string" ? shown : JSON.stringify(shown, null, 2), `An example of ${status}`));
}

function drawErrors(errors) {
  const title = element("h2", "", "Errors");
  title.id = "errors-title";
  byId("errors").append(title, table(["code", "status", "what it means", "retry"], Object.entries(errors).map(([name, entry]) => ({
    id: `error-${name}`,
    cells: [element("code", "", name), String(entry.status), entry.title, entry.retry ? "yes" : ""],
  }))));
}

function drawSchemas(schemas) {
  const title = element("h2", "", "Schemas");
  title.id = "schemas-title";
  byId("schemas").append(title);
  for (const [name, schema] of Object.entries(schemas)) {
    if (!schema.properties && !schema.enum) continue;
    const heading = element("h3", "", name);
    const part = element("section", "schema", heading, ...prose(schema.description));
    part.id = `schema-${name}`;
    part.append(schema.properties ? fields({ $ref: `#/components/schemas/${name}` })
      : element("p", "values", ...schema.enum.flatMap((text) => [element("code", "", text), " "])));
    byId("schemas").append(part);
  }
}

function filter(text, sections) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of sections) {
    for (const operation of section.operations) {
      const all = `${operation.method} ${operation.path} ${operation.summary} ${operation.operationId}`.toLowerCase();
      operation.entry.hidden = operation.element.hidden = !words.every((word) => all.includes(word));
    }
    const none = section.operations.every((operation) => operation.entry.hidden);
    section.entry.hidden = section.operations[0].element.parentElement.hidden = none;
  }
}

// follow opens and shows what the address names.
function follow() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
}
