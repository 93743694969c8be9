// The sliders under the histograms of the filters: what another threshold would keep.
// The data is written by report/explorer.py, which says why the counts are exact.
(() => {
  const block = document.getElementById("explorer-data");
  const template = document.getElementById("explorer-panel");
  if (!block || !template) return;
  const data = JSON.parse(block.textContent);
  const MINUS = "\u2212", DASH = "\u2013", NARROW = "\u202f";
  const SHOWN = 40; // clips named on each side
  // Only a page that leads to the browser of clips has one.
  const BROWSER = document.querySelector('a[href$="clips.html"]')?.getAttribute("href");
  const NONE = 255, GOOD = 1, BAD = 2, TRUTHS = 3;

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const grouped = new Intl.NumberFormat("en-US"); // made once: making it takes longest
  const commas = (n) => grouped.format(Math.abs(n));
  const count = (n) => (n < 0 ? MINUS : "") + commas(n);
  const change = (n) => (n > 0 ? "+" : n < 0 ? MINUS : "\u00b1") + commas(n);
  const percent = (k, n) => (n ? `${(100 * k / n).toFixed(1)}${NARROW}%` : DASH);
  const written = (x) => String(x).replace("-", MINUS);
  const rounded = (x) => Number(x.toFixed(6));

  // Parallel arrays: one entry per clip, or per bin of equal clips.
  function readCells(filter) {
    if (data.clips) {
      const all = readClips();
      const values = new Float32Array(bytes(filter.values).buffer);
      const mine = [];
      all.fails.forEach((f, i) => { if (f === NONE || f === filter.reason) mine.push(i); });
      const pick = (array) => mine.map((i) => array[i]);
      return { values: pick(values), classes: pick(all.classes), sources: pick(all.sources),
        truth: pick(all.truth), weights: mine.map(() => 1), ids: mine };
    }
    const cells = { values: [], classes: [], sources: [], truth: [], weights: [], ids: null };
    const stream = bytes(filter.cells), edges = filter.edges, width = edges.length + 1;
    let at = 0, flat = 0;
    const varint = () => {
      let number = 0, factor = 1, byte;
      do { byte = stream[at++]; number += (byte & 127) * factor; factor *= 128; } while (byte & 128);
      return number;
    };
    while (at < stream.length) {
      const head = varint();
      flat += Math.floor(head / 4);
      cells.weights.push(head % 4 < 3 ? head % 4 + 1 : varint() + 4);
      const bin = flat % width, group = Math.floor(flat / width);
      const place = Math.floor(group / TRUTHS);
      // An edge that is as good as every value of its bin.
      cells.values.push(filter.side === "min"
        ? (bin ? Math.fround(edges[bin - 1]) : -Infinity)
        : (bin < edges.length ? Math.fround(edges[bin]) : Infinity));
      cells.truth.push(group % TRUTHS);
      cells.sources.push(place % data.sources.length);
      cells.classes.push(Math.floor(place / data.sources.length));
    }
    return cells;
  }

  let clips = null;
  function readClips() {
    clips ??= {
      fails: bytes(data.clips.fails),
      classes: new Uint16Array(bytes(data.clips.class).buffer),
      sources: new Uint16Array(bytes(data.clips.source).buffer),
      truth: bytes(data.clips.truth),
    };
    return clips;
  }

  // The threshold of every class; ``moved`` is {scope, value}: scope null means all classes that
  // have none of their own.
  function limitsOf(filter, moved) {
    return data.classes.map((_, c) => {
      if (moved && moved.scope === c) return moved.value;
      if (Object.hasOwn(filter.own, c)) return filter.own[c];
      return moved && moved.scope === null ? moved.value : filter.threshold;
    });
  }

  // As Filter.fails has it: single precision on both sides, and no number passes nothing.
  function keep(filter, cells, limits) {
    const sharp = limits.map((x) => (x === null ? null : Math.fround(x)));
    const low = filter.side === "min";
    return cells.values.map((value, i) => {
      const limit = sharp[cells.classes[i]];
      return limit === null || (low ? value >= limit : value <= limit);
    });
  }

  function tally(cells, kept) {
    const found = { all: 0, good: 0, bad: 0,
      classes: data.classes.map(() => 0), sources: data.sources.map(() => 0) };
    kept.forEach((yes, i) => {
      if (!yes) return;
      const n = cells.weights[i];
      found.all += n;
      found.classes[cells.classes[i]] += n;
      found.sources[cells.sources[i]] += n;
      if (cells.truth[i] === GOOD) found.good += n;
      if (cells.truth[i] === BAD) found.bad += n;
    });
    return found;
  }

  function yaml(key, moved) {
    const line = `${key}: ${moved.value === null ? "null" : moved.value}`;
    if (moved.scope === null) return `verdict:\n  ${line}\n`;
    // A string of JSON is one of YAML, whatever is in it.
    return `verdict:\n  per_class:\n    ${JSON.stringify(data.classes[moved.scope])}:\n      ${line}\n`;
  }

  function element(tag, text, kind) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  // The clips that change sides, those next to the old threshold first.
  function listClips(box, title, cells, places, from) {
    box.replaceChildren();
    if (!places.length) return;
    const far = new Map(places.map((i) => [i, from === null ? 0 : Math.abs(cells.values[i] - from) || 0]));
    const sorted = [...places].sort((a, b) => far.get(a) - far.get(b));
    box.append(element("p", `${title}: ${commas(places.length)}`, "strong"));
    const list = element("ul");
    for (const i of sorted.slice(0, SHOWN)) {
      const id = data.clips.ids[cells.ids[i]];
      const link = element(BROWSER ? "a" : "span", id, "clip id");
      if (BROWSER) link.href = `${BROWSER}#${encodeURIComponent(id)}`;
      const value = cells.values[i];
      const row = element("li");
      row.append(link, ` ${Number.isFinite(value) ? written(Number(value.toPrecision(4))) : DASH}`);
      list.append(row);
    }
    if (sorted.length > SHOWN) list.append(element("li", `and ${commas(sorted.length - SHOWN)} more`));
    box.append(list);
  }

  function countTable(title, names) {
    const table = element("table"), head = element("thead"), body = element("tbody");
    const top = element("tr");
    top.append(element("th", title));
    for (const name of ["before", "after", "change"]) top.append(element("th", name, "n"));
    head.append(top);
    const cells = names.map((name) => {
      const row = element("tr"), first = element("th", name);
      first.scope = "row";
      const numbers = [element("td", "", "n"), element("td", "", "n"), element("td", "", "n")];
      row.append(first, ...numbers);
      body.append(row);
      return { row, numbers };
    });
    table.append(head, body);
    const last = names.map(() => null); // laying a table out is what takes time
    const fill = (before, after) => cells.forEach(({ row, numbers }, i) => {
      if (last[i] === after[i]) return;
      last[i] = after[i];
      numbers[0].textContent ||= count(before[i]);
      numbers[1].textContent = count(after[i]);
      numbers[2].textContent = change(after[i] - before[i]);
      row.className = after[i] === before[i] ? "same" : "";
    });
    const box = element("div", undefined, "counts");
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", `kept by ${title}`);
    box.append(table);
    return { box, fill };
  }

  // A dashed line in the figure where the slider is.
  function marker(svg, filter) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const [left, right] = svg.dataset.axis.split(" ").map(Number);
    const [low, high] = filter.axis;
    line.setAttribute("class", "tried");
    line.setAttribute("visibility", "hidden");
    line.setAttribute("y1", 10);
    line.setAttribute("y2", 128);
    svg.append(line);
    return (value, shown) => {
      const x = left + (right - left) * (value - low) / (high - low);
      line.setAttribute("visibility", shown && x >= left && x <= right ? "visible" : "hidden");
      if (shown) for (const end of ["x1", "x2"]) line.setAttribute(end, x.toFixed(2));
    };
  }

  // Positions of the slider: values of a round step, or places in the list of edges.
  function scaleOf(filter, slider) {
    if (filter.edges) {
      Object.assign(slider, { min: 0, max: filter.edges.length - 1, step: 1 });
      const nearest = (x) => filter.edges.reduce(
        (best, edge, i) => (Math.abs(edge - x) < Math.abs(filter.edges[best] - x) ? i : best), 0);
      return { value: () => filter.edges[slider.valueAsNumber], position: nearest,
        snap: (x) => filter.edges[nearest(x)] };
    }
    const raw = (filter.high - filter.low) / 200;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
    Object.assign(slider, { min: filter.low, max: filter.high, step: rounded(step) || "any" });
    return { value: () => rounded(slider.valueAsNumber), position: (x) => x, snap: rounded };
  }

  function start(box) {
    const key = box.dataset.filter, filter = data.filters[key];
    box.append(template.content.cloneNode(true));
    box.hidden = false;
    const part = Object.fromEntries(
      [...box.querySelectorAll("[data-part]")].map((e) => [e.dataset.part, e]));
    const name = filter.title.toLowerCase();
    part.slider.setAttribute("aria-label", `try a threshold: ${name}`);
    part.number.setAttribute("aria-label", `threshold: ${name}; empty is off`);
    part.scope.setAttribute("aria-label", `classes that the threshold is for: ${name}`);
    part.more.firstElementChild.textContent = `what changes: ${name}`;
    data.classes.forEach((text, c) => {
      const option = element("option", text.length > 60 ? `${text.slice(0, 60)}\u2026` : text);
      option.value = c;
      part.scope.append(option);
    });
    [part.number.min, part.number.max] = filter.limits;
    const scale = scaleOf(filter, part.slider);
    const mark = marker(box.closest("figure").querySelector("svg"), filter);
    const own = Object.keys(filter.own).length;
    let cells, kept, before, tables, moved = { scope: null, value: filter.threshold };
    const configured = () => limitsOf(filter, null)[moved.scope] ?? null;
    const first = () => (moved.scope === null ? filter.threshold : configured());

    function load() { // the first use, not the opening of the page, pays for reading
      if (cells) return;
      cells = readCells(filter);
      kept = keep(filter, cells, limitsOf(filter, null));
      before = tally(cells, kept);
    }

    function showKnobs() {
      const { value } = moved;
      const open = filter.side === "min" ? filter.low : filter.high;
      part.slider.value = scale.position(value === null ? open : value);
      part.slider.setAttribute("aria-valuetext", value === null ? "off" : String(value));
      if (document.activeElement !== part.number || part.number.validity.valid) {
        part.number.value = value === null ? "" : value;
      }
    }

    function show() {
      load();
      const now = keep(filter, cells, limitsOf(filter, moved));
      const after = tally(cells, now);
      const difference = after.all - before.all;
      let text = `${count(before.all)} \u2192 ${count(after.all)} of ${count(data.decodable)} ` +
        `decodable clips kept (${change(difference)}), before copies are removed.`;
      if (data.good !== null) {
        const share = (x) => percent(x.good, x.good + x.bad);
        text += ` Precision ${share(before)} \u2192 ${share(after)}, recall ` +
          `${percent(before.good, data.good)} \u2192 ${percent(after.good, data.good)}.`;
      }
      part.found.textContent = text;
      mark(moved.value, moved.value !== null && moved.value !== first());
      part.yaml.textContent = yaml(key, moved);
      if (part.more.open) showMore(now, after);
    }

    function showMore(now, after) {
      if (!tables) {
        tables = [countTable("class", data.classes), countTable("source", data.sources)];
        part.tables.append(...tables.map((t) => t.box));
      }
      tables[0].fill(before.classes, after.classes);
      tables[1].fill(before.sources, after.sources);
      const hints = ["Merge this into the config; the other filters stay as they are."];
      if (own && moved.scope === null) hints.push(`Classes with a threshold of their own keep it: ${commas(own)}.`);
      if (!cells.ids) hints.push(`More than ${commas(10000)} clips are counted in bins, and those that change sides are not named.`);
      if (data.good !== null) hints.push("Copies count in neither precision nor recall: no filter can tell them from their originals.");
      part.hint.textContent = hints.join(" ");
      if (!cells.ids) return;
      const won = [], lost = [];
      now.forEach((yes, i) => { if (yes !== kept[i]) (yes ? won : lost).push(i); });
      listClips(part.won, "Would be kept", cells, won, first());
      listClips(part.lost, "Would be dropped", cells, lost, first());
    }

    function move(value) {
      moved = { ...moved, value };
      showKnobs();
      show();
    }

    part.slider.addEventListener("input", () => move(scale.value()));
    part.number.addEventListener("input", () => {
      if (!part.number.validity.valid) return;
      const x = part.number.valueAsNumber;
      const value = Number.isNaN(x) ? null : x === first() ? x : filter.edges ? scale.snap(x) : rounded(x);
      moved = { ...moved, value };
      part.slider.value = value === null ? part.slider.value : scale.position(value);
      show();
    });
    part.number.addEventListener("change", showKnobs);
    part.scope.addEventListener("change", () => {
      moved.scope = part.scope.value === "" ? null : Number(part.scope.value);
      move(first());
    });
    part.reset.addEventListener("click", () => {
      part.scope.value = "";
      moved.scope = null;
      move(first());
    });
    part.more.addEventListener("toggle", show);
    part.copy.addEventListener("click", () => copy(part.yaml, part.copy));
    showKnobs();
    setTimeout(show); // the page is seen before it counts
  }

  async function copy(from, button) {
    try {
      await navigator.clipboard.writeText(from.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(from); // for Ctrl+C, where pages may not write
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  for (const box of document.querySelectorAll(".explore")) {
    if (box.dataset.filter) start(box);
    else box.hidden = false;
  }
})();
