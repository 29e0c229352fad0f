// Elements: what all parts of the view make them with. Text becomes text nodes
// only.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function element(tag, className = "", text = undefined) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// action makes a button that names what it does, and to what, for the listener
// of a list that it stands in.
export function action(name, label, key) {
  const button = element("button", "link", label);
  button.type = "button";
  button.dataset.action = name;
  button.dataset.key = key;
  return button;
}

// icon makes a picture of one outline in a square of 24.
export function icon(outline, className = "") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", outline);
  svg.append(path);
  return svg;
}
