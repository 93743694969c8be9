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
  const GOOD = 1, BAD = 2;

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const grouped = new Intl.NumberFormat("en-US"); // made once: making it takes longest
  const commas = (n) => grouped.format(Math.abs(n));
  const count = (n) => (n < 0 ? MINUS : "") + commas(n);
  const change = (n) => (n > 0 ? "+" : n < 0 ? MINUS : "\u00b1") + commas(n);
  const percent = (k, n) => (n ? `${(100 * k / n).toFixed(1)}${NARROW}%` : DASH);
  const written = (x) => String(x).replace("-", MINUS);
  const rounded = (x) => Number(x.toFixed(6));

  // Class, source and truth of every clip: clips that share them follow each other.
  let clips = null;
  function readClips() {
    if (clips) return clips;
    const { runs } = data;
    let total = 0;
    for (let r = 3; r < runs.length; r += 4) total += runs[r];
    clips = { total, classes: new Uint16Array(total), sources: new Uint16Array(total),
      truth: new Uint8Array(total), fails: new Uint8Array(total), failed: new Uint8Array(total) };
    for (let r = 0, at = 0; r < runs.length; r += 4) {
      const end = at + runs[r + 3];
      ["classes", "sources", "truth"].forEach((name, k) => clips[name].fill(runs[r + k], at, end));
      at = end;
    }
    return clips;
  }

  // The value of every clip, or the edge that is as good as every value of its bin.
  function readValues(filter) {
    if (filter.values) return new Float32Array(bytes(filter.values).buffer);
    const raw = bytes(filter.bins), { edges } = filter;
    const bins = edges.length < 256 ? raw : new Uint16Array(raw.buffer);
    const ends = filter.side === "min" ? [-Infinity, ...edges] : [...edges, Infinity];
    const sharp = Float32Array.from(ends);
    return Float32Array.from(bins, (bin) => sharp[bin]);
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
  function passing(filter, values, limits) {
    const { classes, total } = clips, low = filter.side === "min";
    const sharp = limits.map((x) => (x === null ? null : Math.fround(x)));
    const passes = new Uint8Array(total);
    for (let i = 0; i < total; i++) {
      const limit = sharp[classes[i]];
      passes[i] = limit === null || (low ? values[i] >= limit : values[i] <= limit) ? 1 : 0;
    }
    return passes;
  }

  // Of the clips that no filter is against.
  function tally(against) {
    const { total, classes, sources, truth } = clips;
    const found = { all: 0, good: 0, bad: 0,
      classes: data.classes.map(() => 0), sources: data.sources.map(() => 0) };
    for (let i = 0; i < total; i++) {
      if (against[i]) continue;
      found.all += 1;
      found.classes[classes[i]] += 1;
      found.sources[sources[i]] += 1;
      if (truth[i] === GOOD) found.good += 1;
      else if (truth[i] === BAD) found.bad += 1;
    }
    return found;
  }

  // What was moved, as it is written in a config.
  function yaml(moves) {
    const line = ([key, { value }]) => `${key}: ${value === null ? "null" : value}`;
    const general = moves.filter(([, moved]) => moved.scope === null);
    const own = new Map();
    for (const one of moves) {
      const { scope } = one[1];
      if (scope !== null) own.set(scope, [...(own.get(scope) ?? []), line(one)]);
    }
    let text = `verdict:\n${general.map((one) => `  ${line(one)}\n`).join("")}`;
    if (own.size) text += "  per_class:\n";
    // A string of JSON is one of YAML, whatever is in it.
    for (const [c, lines] of own) text += `    ${JSON.stringify(data.classes[c])}:\n${lines.map((one) => `      ${one}\n`).join("")}`;
    return text;
  }

  function element(tag, text, kind) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  // The clips that change sides, those next to the old threshold first.
  function listClips(box, title, values, places, from) {
    box.replaceChildren();
    if (!places.length) return;
    const named = places.filter((i) => data.ids[i] !== undefined);
    const far = new Map(named.map((i) => [i, from === null ? 0 : Math.abs(values[i] - from) || 0]));
    named.sort((a, b) => far.get(a) - far.get(b));
    box.append(element("p", `${title}: ${commas(places.length)}`, "strong"));
    const list = element("ul");
    for (const i of named.slice(0, SHOWN)) {
      const id = data.ids[i];
      const link = element(BROWSER ? "a" : "span", id, "clip id");
      if (BROWSER) link.href = `${BROWSER}#${encodeURIComponent(id)}`;
      const value = values[i];
      const row = element("li");
      row.append(link, ` ${Number.isFinite(value) ? written(Number(value.toPrecision(4))) : DASH}`);
      preview(link, id);
      list.append(row);
    }
    const rest = places.length - Math.min(named.length, SHOWN);
    if (rest) list.append(element("li", `${named.length ? "and " : ""}${commas(rest)}${named.length ? " more" : " that are not named here"}`));
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
    let values, passes, tables, moved = { scope: null, value: filter.threshold };
    const configured = () => limitsOf(filter, null)[moved.scope] ?? null;
    const first = () => (moved.scope === null ? filter.threshold : configured());

    function load() {
      values = readValues(filter);
      passes = passing(filter, values, limitsOf(filter, null));
      passes.forEach((yes, i) => { if (!yes) clips.fails[i] = ++clips.failed[i]; });
    }

    // Only this filter is asked again: a clip is kept where the number of those against it is 0.
    function apply() {
      if (!started) begin();
      const now = passing(filter, values, limitsOf(filter, moved));
      for (let i = 0; i < now.length; i++) clips.fails[i] += passes[i] - now[i];
      passes = now;
      refresh();
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

    // "sound 0.2" where the slider is elsewhere than in the config.
    function said() {
      const { scope, value } = moved;
      if (value === first()) return "";
      const whom = scope === null ? "" : ` for ${data.classes[scope].slice(0, 60)}`;
      return `${name} ${value === null ? "off" : written(value)}${whom}`;
    }

    function show(before, after) {
      const difference = after.all - before.all;
      let text = `${count(before.all)} \u2192 ${count(after.all)} of ${count(data.decodable)} ` +
        `decodable clips kept (${change(difference)}), before copies are removed.`;
      if (data.good !== null) {
        const share = (x) => percent(x.good, x.good + x.bad);
        text += ` Precision ${share(before)} \u2192 ${share(after)}, recall ` +
          `${percent(before.good, data.good)} \u2192 ${percent(after.good, data.good)}.`;
      }
      const others = panels.filter((one) => one.key !== key).map((one) => one.said()).filter(Boolean);
      if (others.length) text += ` Together with ${others.join(", ")}.`;
      part.found.textContent = text;
      mark(moved.value, moved.value !== null && moved.value !== first());
      const moves = panels.filter((one) => one.key === key || one.said());
      part.yaml.textContent = yaml(moves.map((one) => [one.key, one.moved()]));
      if (part.more.open) showMore(before, after);
    }

    function showMore(before, after) {
      if (!tables) {
        tables = [countTable("class", data.classes), countTable("source", data.sources)];
        part.tables.append(...tables.map((t) => t.box));
      }
      tables[0].fill(before.classes, after.classes);
      tables[1].fill(before.sources, after.sources);
      const hints = ["Merge this into the config; filters that were not moved stay as they are."];
      if (own && moved.scope === null) hints.push(`Classes with a threshold of their own keep it: ${commas(own)}.`);
      if (filter.edges) hints.push(`With more than ${commas(10000)} clips a slider stops at ${commas(filter.edges.length)} values, at which counts are exact, and of the clips that change sides those next to the threshold are named.`);
      if (data.good !== null) hints.push("Copies count in neither precision nor recall: no filter can tell them from their originals.");
      part.hint.textContent = hints.join(" ");
      const won = [], lost = [];
      for (let i = 0; i < clips.total; i++) {
        if (!clips.fails[i] !== !clips.failed[i]) (clips.failed[i] ? won : lost).push(i);
      }
      listClips(part.won, "Would be kept", values, won, first());
      listClips(part.lost, "Would be dropped", values, lost, first());
    }

    function move(value) {
      moved = { ...moved, value };
      showKnobs();
      apply();
    }

    part.slider.addEventListener("input", () => move(scale.value()));
    part.number.addEventListener("input", () => {
      if (!part.number.validity.valid) return;
      const x = part.number.valueAsNumber;
      const value = Number.isNaN(x) ? null : x === first() ? x : filter.edges ? scale.snap(x) : rounded(x);
      moved = { ...moved, value };
      part.slider.value = value === null ? part.slider.value : scale.position(value);
      apply();
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
    part.more.addEventListener("toggle", () => refresh());
    part.copy.addEventListener("click", () => copy(part.yaml, part.copy));
    showKnobs();
    panels.push({ key, load, show, said, moved: () => moved });
  }

  // One thing for all sliders: those that were moved count together.
  const panels = [];
  let started = false, before = null;
  function begin() {
    started = true;
    readClips();
    for (const one of panels) one.load();
    before = tally(clips.failed);
  }

  function refresh() {
    if (!started) begin();
    const after = tally(clips.fails);
    for (const one of panels) one.show(before, after);
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
  if (panels.length) setTimeout(refresh); // the page is seen before it counts
})();
