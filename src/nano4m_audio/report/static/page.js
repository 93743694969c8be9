"use strict";
// What the page can do beyond being read: it asks nothing of the network and is complete without.
(() => {
  const MINUS = /\u2212/g, SPACES = /[\s\u00a0\u202f]+/g;
  const MISSING = new Set(["", "\u2013", "too few"]);
  const TIMES = { k: 1e3, M: 1e6, G: 1e9 };

  // The text of a cell; what is set small beneath it stays apart from its number.
  function textOf(node) {
    const own = (n) => {
      if (n.nodeType === Node.TEXT_NODE) return n.data;
      if (n.classList?.contains("preview")) return "";
      const inner = [...n.childNodes].map(own).join("");
      return n.nodeName === "SMALL" ? ` (${inner.trim()})` : inner;
    };
    return own(node).replace(SPACES, " ").trim();
  }

  // The number that a text begins with: "93 %", "\u22120.12", "12,345", "7.3k", "< 0.001"; a centred dot is
  // 0, an en dash is missing (null), any other text is NaN.
  function numberOf(text) {
    if (MISSING.has(text)) return null;
    if (text === "\u00b7") return 0;
    const plain = text.replace(MINUS, "-").replace(/^\u00b1/, "");
    const found = /^(<\s*)?([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?:([kMG])(?![a-z]))?(?![\w-])/i.exec(plain);
    if (!found) return NaN;
    const value = Number(found[2].replaceAll(",", "")) * (TIMES[found[3]] ?? 1);
    return found[1] ? value * (1 - 1e-9) : value;
  }

  function compare(a, b) {
    return a < b ? -1 : a > b ? 1 : 0;
  }

  function keysOf(rows, column, width) {
    const texts = rows.map((row) => (row.cells.length === width ? textOf(row.cells[column]) : ""));
    const numbers = texts.map(numberOf);
    if (!numbers.some(Number.isNaN)) return numbers;
    return texts.map((text) => (MISSING.has(text) ? null : text.toLocaleLowerCase()));
  }

  // Upwards, downwards, then as it was; what is missing is always last.
  function sort(table, column, direction) {
    const width = table.tHead.rows[0].cells.length;
    for (const body of table.tBodies) {
      const rows = [...body.rows];
      rows.forEach((row, i) => { row.dataset.place ??= i; });
      rows.sort((a, b) => a.dataset.place - b.dataset.place);
      if (direction) {
        const keys = new Map(keysOf(rows, column, width).map((key, i) => [rows[i], key]));
        rows.sort((a, b) => {
          const [x, y] = [keys.get(a), keys.get(b)];
          if (x === null || y === null) return (x === null) - (y === null);
          return compare(x, y) * direction;
        });
      }
      body.append(...rows);
    }
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const next = now === "ascending" ? "descending" : now === "descending" ? null : "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        if (next) head.setAttribute("aria-sort", next);
        sort(table, column, { ascending: 1, descending: -1 }[next] ?? 0);
      });
    });
  }

  // One cell of a CSV file. A spreadsheet takes a text that begins with = + - @ for a formula.
  function csvCell(text) {
    if (text === "\u00b7") return "0";
    if (text === "\u2013") return "";
    const plain = text.replace(MINUS, "-");
    if (/^[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?$/i.test(plain)) return plain.replaceAll(",", "");
    const safe = /^[=+\-@\t\r]/.test(plain) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function csvOf(table) {
    const lines = [...table.rows].map((row) => [...row.cells].map((c) => csvCell(textOf(c))).join(","));
    return `\ufeff${lines.join("\r\n")}\r\n`;
  }

  function save(name, blob) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  function fileName(text, ending) {
    const plain = text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
    return `${plain.slice(0, 60) || "report"}.${ending}`;
  }

  function button(text, name, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", `${text}: ${name}`);
    made.addEventListener("click", act);
    return made;
  }

  const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap",
    "stroke-linejoin", "opacity", "visibility", "font-family", "font-size", "font-weight"];

  // A copy of a figure that needs no style sheet, on the colour of the page.
  function drawing(svg) {
    const copy = svg.cloneNode(true);
    const originals = svg.querySelectorAll("*"), copies = copy.querySelectorAll("*");
    originals.forEach((element, i) => {
      const style = getComputedStyle(element);
      for (const name of DRAWN) copies[i].setAttribute(name, style.getPropertyValue(name));
      if (element.localName === "text") copies[i].setAttribute("font-size", "11px"); // of 340
      copies[i].removeAttribute("class");
    });
    const { width, height } = svg.viewBox.baseVal;
    copy.removeAttribute("class");
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ width, height })) paper.setAttribute(name, value);
    paper.setAttribute("fill", getComputedStyle(document.body).backgroundColor);
    copy.prepend(paper);
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  }

  function savePng(name, svg) {
    const { text, width, height } = drawing(svg), scale = 4, image = new Image();
    image.addEventListener("load", () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width * scale, height * scale];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(name, blob), "image/png");
    });
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  }

  for (const region of document.querySelectorAll(".scroll")) {
    const table = region.querySelector("table");
    if (!table?.tHead || table.tHead.rows.length !== 1) continue;
    const name = region.getAttribute("aria-label") ?? "table";
    const csv = () => save(fileName(name, "csv"), new Blob([csvOf(table)], { type: "text/csv" }));
    const tools = document.createElement("p");
    tools.className = "tools";
    tools.append(button("CSV", name, csv));
    region.after(tools);
    // The order of a confusion matrix is that of its columns.
    const rows = Math.max(0, ...[...table.tBodies].map((body) => body.rows.length));
    if (rows > 1 && !table.classList.contains("confusion")) sortable(table);
  }

  for (const svg of document.querySelectorAll("svg.figure")) {
    const name = svg.querySelector("title")?.textContent ?? "figure";
    const caption = svg.closest("figure")?.querySelector("figcaption");
    if (!caption) continue;
    const tools = document.createElement("span");
    tools.className = "tools";
    tools.append(
      button("SVG", name, () => save(fileName(name, "svg"), new Blob([drawing(svg).text], { type: "image/svg+xml" }))),
      button("PNG", name, () => savePng(fileName(name, "png"), svg)));
    caption.prepend(tools);
  }
})();
