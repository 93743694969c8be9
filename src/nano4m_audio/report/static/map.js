// The map of the clips on a canvas. The data is written by browser/maps.py; ``page`` is what clips.js
// lends: data, at, make, number, value, limits and words of rows, and open(row).
function clipMap(page) {
  const { data, at, make, number, value } = page;
  const box = at("map"), canvas = at("canvas");
  if (!box) return { update() {} };
  const SIDE = 1000, REACH = 16, MOST_KEYS = 24, STEPS = 16;
  const pen = canvas.getContext("2d"), base = document.createElement("canvas");
  const total = data.id.length;
  const x = new Float32Array(total), y = new Float32Array(total);
  const on = new Uint8Array(total).fill(1);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let view = data.maps[0], kinds = [], groups = [];
  let zoom = 1, left = 0, top = 0, under = -1, dragged = null, waiting = 0;

  const hue = (i, n, l) => `hsl(${Math.round((360 * i) / Math.max(n, 1))} ${75 - 25 * (i % 2)}% ${l}%)`;
  const light = () => (dark.matches ? 65 : 42);

  /* What is coloured: one kind per row, and what each kind is called */

  function byScore(i) {
    const filter = data.filters[i], scores = data.scores[i];
    const known = scores.filter((score) => score !== null);
    const low = Math.min(...ends(known)), high = Math.max(...ends(known));
    const step = (score) => Math.min(STEPS - 1, Math.floor(((score - low) / (high - low || 1)) * STEPS));
    kinds = Array.from({ length: STEPS + 1 }, (_, k) => ({
      colour: k === STEPS ? "gray" : `hsl(${250 - (200 * k) / (STEPS - 1)} 80% ${(dark.matches ? 40 : 25) + (30 * k) / (STEPS - 1)}%)` }));
    groups = scores.map((score) => (score === null ? STEPS : step(score)));
    const bar = make("span", { class: "ramp" });
    bar.style.background = `linear-gradient(90deg, ${kinds.slice(0, STEPS).map((one) => one.colour).join(", ")})`;
    const ticks = known.length ? [value(filter, low), bar, value(filter, high)] : ["no clip has this score"];
    at("keys").replaceChildren(make("span", { class: "note" }, `${filter.title}: `, ...ticks.flatMap((one) => [one, " "])));
  }

  // Too many arguments for Math.min where there are 150,000.
  function ends(values) {
    let low = Infinity, high = -Infinity;
    for (const one of values) {
      if (one < low) low = one;
      if (one > high) high = one;
    }
    return values.length ? [low, high] : [0, 1];
  }

  function byName(names, rows, id, valueOf) {
    const counts = names.map(() => 0);
    for (let row = 0; row < total; row++) if (view.x[row] >= 0 && rows(row) >= 0) counts[rows(row)] += 1;
    kinds = [...names.map((name, i) => ({ name, colour: hue(i, names.length, light() + (i % 2) * 8) })), { name: "none", colour: "gray" }];
    groups = Array.from({ length: total }, (_, row) => (rows(row) < 0 ? names.length : rows(row)));
    const there = names.map((_, i) => i).filter((i) => counts[i]);
    const keys = there.slice(0, MOST_KEYS).map((i) => {
      const dot = make("i");
      dot.style.background = kinds[i].colour;
      const key = make("button", { type: "button", "aria-pressed": at(id).value === valueOf(i) ? "true" : "false" }, dot, `${names[i].slice(0, 40)} (${number(counts[i])})`);
      key.addEventListener("click", () => {
        at(id).value = at(id).value === valueOf(i) ? "" : valueOf(i);
        at(id).dispatchEvent(new Event("change", { bubbles: true }));
        [...at("keys").children][there.indexOf(i)]?.focus();
      });
      return key;
    });
    const rest = there.length > MOST_KEYS ? [make("span", { class: "note", text: `and ${number(there.length - MOST_KEYS)} more` })] : [];
    at("keys").replaceChildren(...keys, ...rest);
  }

  function colours() {
    const [how, which] = at("colour").value.split(":");
    if (how === "score") byScore(+which);
    else if (how === "split") byName([...data.splits], (row) => data.split[row], "split", (i) => String(i));
    else if (how === "stop") byName(data.stops.map(([, text]) => text), (row) => data.stop[row], "stop", (i) => (i === page.kept ? "kept" : `stop:${i}`));
    else byName(data.classes, (row) => data.class[row], "class", (i) => String(i));
  }

  /* Drawing */

  function place() {
    const { width, height } = canvas, edge = 0.02;
    for (let row = 0; row < total; row++) {
      if (view.x[row] < 0) {
        x[row] = y[row] = NaN;
        continue;
      }
      x[row] = ((edge + (1 - 2 * edge) * (view.x[row] / SIDE)) * zoom - left) * width;
      y[row] = ((1 - edge - (1 - 2 * edge) * (view.y[row] / SIDE)) * zoom - top) * height;
    }
  }

  function draw() {
    if (!box.open || !canvas.clientWidth) return;
    const begun = performance.now(), ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    [base.width, base.height] = [canvas.width, canvas.height];
    place();
    const sketch = base.getContext("2d");
    const size = (total > 50000 ? 1.5 : total > 5000 ? 2.5 : 4) * ratio * Math.min(2, Math.sqrt(zoom));
    const rows = kinds.map(() => []), off = [];
    for (let row = 0; row < total; row++) if (x[row] > -size && x[row] < canvas.width + size) (on[row] ? rows[groups[row]] : off).push(row);
    const dot = (row) => sketch.fillRect(x[row] - size / 2, y[row] - size / 2, size, size);
    sketch.fillStyle = dark.matches ? "rgb(255 255 255 / .13)" : "rgb(0 0 0 / .1)";
    off.forEach(dot);
    rows.forEach((mine, k) => {
      sketch.fillStyle = kinds[k].colour;
      mine.forEach(dot);
    });
    paint();
    canvas.dataset.ms = (performance.now() - begun).toFixed(1);
  }

  function ring(row, radius, width) {
    if (row < 0 || Number.isNaN(x[row])) return;
    const ratio = devicePixelRatio || 1;
    for (const [colour, wide] of [[dark.matches ? "#000" : "#fff", width + 2], [dark.matches ? "#fff" : "#000", width]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = wide * ratio;
      pen.beginPath();
      pen.arc(x[row], y[row], radius * ratio, 0, 7);
      pen.stroke();
    }
  }

  function paint() {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(base, 0, 0);
    ring(page.opened(), 8, 2);
    ring(under, 6, 1.5);
  }

  function later() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  }

  /* Finding a clip by pointer or by key */

  function nearest(px, py, cost) {
    let best = -1, least = Infinity;
    for (let row = 0; row < total; row++) {
      if (!on[row] || Number.isNaN(x[row])) continue;
      const far = cost(x[row] - px, y[row] - py);
      if (far < least) [best, least] = [row, far];
    }
    return [best, least];
  }

  function spotOf(event) {
    const area = canvas.getBoundingClientRect(), ratio = canvas.width / area.width;
    return [(event.clientX - area.left) * ratio, (event.clientY - area.top) * ratio, ratio];
  }

  function pointed(event) {
    const [px, py, ratio] = spotOf(event);
    const [row, far] = nearest(px, py, (dx, dy) => dx * dx + dy * dy);
    return far <= (REACH * ratio) ** 2 ? row : -1;
  }

  function tell(row) {
    under = row;
    const tip = at("tip");
    canvas.style.cursor = row < 0 ? (zoom > 1 ? "grab" : "default") : "pointer";
    tip.hidden = row < 0;
    if (row >= 0) {
      const source = page.thumb(row);
      const thumb = source ? [make("img", { src: source, alt: "", width: 58, height: 58 })] : [];
      tip.replaceChildren(...thumb, make("span", {}, make("bdi", { text: data.id[row].slice(0, 60) }), make("br"), `${page.className(row)}, ${page.outcome(row)}`));
      const ratio = canvas.width / canvas.clientWidth;
      const px = x[row] / ratio, py = y[row] / ratio;
      tip.style.left = `${Math.max(0, Math.min(px + 12, canvas.clientWidth - tip.offsetWidth))}px`;
      tip.style.top = `${py + 14 + tip.offsetHeight > canvas.clientHeight ? Math.max(0, py - 14 - tip.offsetHeight) : py + 14}px`;
    }
    paint();
  }

  function walk(right, down) {
    const from = under >= 0 ? under : page.opened();
    const start = from >= 0 && !Number.isNaN(x[from]);
    const [px, py] = start ? [x[from], y[from]] : [canvas.width / 2, canvas.height / 2];
    const [row] = nearest(px, py, (dx, dy) => {
      const along = dx * right + dy * down, across = Math.abs(dx * down) + Math.abs(dy * right);
      if (!start) return dx * dx + dy * dy;
      return along > 0 ? along + 2 * across : Infinity;
    });
    if (row >= 0) tell(row);
    if (row >= 0) at("found").textContent = `${data.id[row].slice(0, 80)}: ${page.className(row)}, ${page.outcome(row)}`;
  }

  function scale(by, fx = 0.5, fy = 0.5) {
    const next = Math.min(40, Math.max(1, zoom * by));
    left = ((left + fx) * next) / zoom - fx;
    top = ((top + fy) * next) / zoom - fy;
    zoom = next;
    keepIn();
    at("map-less").disabled = zoom === 1;
    later();
  }

  function keepIn() {
    left = Math.min(Math.max(left, 0), zoom - 1);
    top = Math.min(Math.max(top, 0), zoom - 1);
  }

  canvas.addEventListener("pointermove", (event) => {
    if (dragged && event.buttons) {
      const area = canvas.getBoundingClientRect();
      left -= (event.clientX - dragged.x) / area.width;
      top -= (event.clientY - dragged.y) / area.height;
      dragged = { x: event.clientX, y: event.clientY, far: dragged.far + Math.abs(event.movementX) + Math.abs(event.movementY) };
      keepIn();
      later();
    } else tell(pointed(event));
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (zoom > 1) dragged = { x: event.clientX, y: event.clientY, far: 0 };
  });
  canvas.addEventListener("pointerleave", () => tell(-1));
  canvas.addEventListener("click", (event) => {
    const moved = dragged && dragged.far > 6;
    dragged = null;
    const row = moved ? -1 : pointed(event);
    if (row >= 0) page.open(row);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    const [px, py] = spotOf(event);
    scale(event.deltaY < 0 ? 1.25 : 0.8, px / canvas.width, py / canvas.height);
  }, { passive: false });
  const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (ways[event.key]) walk(...ways[event.key]);
    else if ((event.key === "Enter" || event.key === " ") && under >= 0) page.open(under);
    else if (event.key === "+" || event.key === "=") scale(1.5);
    else if (event.key === "-") scale(1 / 1.5);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("blur", () => tell(-1));
  at("map-more").addEventListener("click", () => scale(1.5));
  at("map-less").addEventListener("click", () => scale(1 / 1.5));

  /* Start */

  function about() {
    const [first, second] = view.shares.map((share) => `${(100 * share).toFixed(0)}\u202f%`);
    at("about").textContent = `By ${view.words}. Clips that are alike lie together; to the right ${first} and up ${second} of all that differs between clips, the rest is not seen.`;
  }

  at("view").append(...data.maps.map((one, i) => make("option", { value: i, text: one.title })));
  at("colour").append(...data.filters.map((filter, i) => make("option", { value: `score:${i}`, text: filter.title.toLowerCase() })));
  at("view").addEventListener("change", () => {
    view = data.maps[+at("view").value];
    about();
    again();
  });
  function again() {
    if (!box.open) return;
    colours();
    later();
  }
  at("colour").addEventListener("change", again);
  box.addEventListener("toggle", again);
  dark.addEventListener("change", again);
  new ResizeObserver(later).observe(canvas);
  about();
  return {
    update(rows) {
      if (rows) {
        on.fill(0);
        for (const row of rows) on[row] = 1;
        again();
      } else if (box.open) paint();
    },
  };
}
