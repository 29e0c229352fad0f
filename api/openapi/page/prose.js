// Prose: the few marks of CommonMark that the description uses. What looks like
// another mark is shown as it stands.

import { element, link } from "./elements.js";

const MARKS = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/g;

// inline returns the nodes of one piece of text.
export function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(MARKS)) {
    nodes.push(text.slice(end, match.index));
    const [whole, code, strong, label, target] = match;
    if (code !== undefined) nodes.push(element("code", "", code));
    else if (strong !== undefined) nodes.push(element("strong", "", strong));
    else nodes.push(target.startsWith("#") ? link(label, target) : whole);
    end = match.index + whole.length;
  }
  nodes.push(text.slice(end));
  return nodes;
}

// prose returns the paragraphs of a text.
export function prose(text) {
  return (text ?? "").trim().split(/\n{2,}/).filter(Boolean)
    .map((paragraph) => element("p", "", ...inline(paragraph.replaceAll("\n", " "))));
}
