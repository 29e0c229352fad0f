// Elements: what all parts of the page make them with. Text becomes text nodes
// only.

export const byId = (id) => document.getElementById(id);

// element makes an element with a class and children, which are elements or
// strings; those that are null or undefined are passed over.
export function element(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const child of children) if (child !== null && child !== undefined) node.append(child);
  return node;
}

export function button(label, className, onClick) {
  const node = element("button", className, label);
  node.type = "button";
  node.addEventListener("click", onClick);
  return node;
}

export function link(label, href) {
  const node = element("a", "", label);
  node.href = href;
  return node;
}

// table makes a table of rows of cells, which are elements or strings.
export function table(head, rows) {
  const body = element("tbody", "", ...rows.map((row) => {
    const line = element("tr", "", ...row.cells.map((cell) => element("td", "", cell)));
    if (row.id) line.id = row.id;
    return line;
  }));
  const top = element("thead", "", element("tr", "", ...head.map((text) => {
    const cell = element("th", "", text);
    cell.scope = "col";
    return cell;
  })));
  return element("div", "scroll", element("table", "", top, body));
}

// code makes a block that shows text as it is.
export function code(text, label) {
  const block = element("pre", "", element("code", "", text));
  block.tabIndex = 0;
  block.setAttribute("aria-label", label);
  return block;
}
