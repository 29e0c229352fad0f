// Schemas: what bodies look like, as a list of fields for people, and as an
// example for a machine.

import { element, link } from "./elements.js";
import { inline } from "./prose.js";

let root = null; // the description

export function useDescription(description) { root = description; }

// resolve follows a $ref of the description. What stands beside the $ref goes
// before what it points to.
export function resolve(node) {
  if (!node?.$ref) return node;
  const target = node.$ref.slice(2).split("/").reduce((at, name) => at[name], root);
  const { $ref, ...beside } = node;
  return { ...resolve(target), ...beside };
}

export const nameOf = (node) => node?.$ref?.startsWith("#/components/schemas/") ? node.$ref.split("/").at(-1) : "";

// typeOf says in a few words what a value is, with a link where it is a shape
// of its own.
function typeOf(node) {
  const schema = resolve(node);
  if (schema.type === "array") return element("span", "type", "list of ", typeOf(schema.items));
  const name = nameOf(node);
  if (name && (schema.properties || schema.enum)) return element("span", "type", link(name, `#schema-${name}`));
  if (schema.const !== undefined) return element("span", "type", JSON.stringify(schema.const));
  if (!schema.type) return element("span", "type", "any JSON");
  return element("span", "type", schema.type === "integer" && name === "Time" ? "time, ms" : schema.type);
}

// bounds says what a value may be.
function bounds(node) {
  const schema = resolve(node);
  const parts = [];
  if (schema.enum && !nameOf(node)) parts.push(schema.enum.map((value) => `\`${value}\``).join(", "));
  if (schema.minLength || schema.maxLength) parts.push(`${schema.minLength ?? 0} to ${schema.maxLength ?? "any number of"} characters`);
  if (schema.minItems || schema.maxItems) parts.push(`${schema.minItems ?? 0} to ${schema.maxItems ?? "any number of"} entries`);
  const most = schema.maximum === Number.MAX_SAFE_INTEGER ? undefined : schema.maximum;
  if (schema.minimum !== undefined && most !== undefined) parts.push(`${schema.minimum} to ${most}`);
  else if (schema.minimum) parts.push(`at least ${schema.minimum}`);
  if (schema.default !== undefined) parts.push(`\`${schema.default}\` where it is left out`);
  return parts.join("; ");
}

// value describes a parameter or field: what it is, what it is for, what it
// may be.
export function value(node, description, required) {
  const text = [description ?? resolve(node).description ?? "", bounds(node)].map((part) => part.trim()).filter(Boolean).join(" — ");
  return [typeOf(node), element("span", required ? "required" : "quiet", required ? "required" : "optional"),
    element("span", "text", ...inline(text.replaceAll("\n", " ")))];
}

// fields lists an object's fields, or says what else the schema is.
export function fields(node) {
  const schema = resolve(node);
  if (!schema.properties) return element("p", "", typeOf(node), " ", ...inline(bounds(node)));
  const list = element("dl", "fields");
  for (const [name, field] of Object.entries(schema.properties)) {
    list.append(element("dt", "", element("code", "", name)),
      element("dd", "", ...value(field, undefined, schema.required?.includes(name))));
  }
  return list;
}

// example makes a value that the schema admits: the given one, or one made of
// its required fields.
export function example(media) {
  if (media.example !== undefined) return media.example;
  if (media.examples) return Object.values(media.examples)[0].value;
  return make(media.schema);
}

const SAMPLES = { string: "string", integer: 1, number: 1, boolean: false };

function make(node) {
  const schema = resolve(node);
  if (schema.examples?.length) return schema.examples[0];
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.type === "array") return [make(schema.items)];
  if (schema.properties) {
    const shown = Object.entries(schema.properties).filter(([name]) => schema.required?.includes(name) ?? true);
    return Object.fromEntries(shown.map(([name, field]) => [name, make(field)]));
  }
  return SAMPLES[schema.type] ?? {};
}
