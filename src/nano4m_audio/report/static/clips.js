"use strict";
// Everything here comes from the web: it is set as text, and never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const total = data.id.length;
  const PAGE = 200;
  const MOST_KIN = 3;
  const placeOf = new Map(data.id.map((id, row) => [id, row]));
  const inDataset = data.stops.findIndex(([name]) => name === "complete");
  const groupOf = new Map(data.groups.flatMap((rows) => rows.map((row) => [row, rows])));
  let shown = [];
  let page = 0;
  let open = -1;
  let ticking = 0;

  function make(name, values = {}, ...inside) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(values)) {
      if (value === undefined || value === false) continue;
      if (key === "text") element.textContent = value;
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...inside.filter((one) => one !== null));
    return element;
  }

  const number = (n) => n.toLocaleString("en");
  const plural = (n, one) => `${number(n)} ${one}${n === 1 ? "" : "s"}`;
  const words = (name) => name.replaceAll("_", " ");
  const linkTo = (row) => "#" + encodeURIComponent(data.id[row]);
  const nameOfClass = (row) => data.classes[data.class[row]];

  function value(filter, score) {
    if (score === null) return "\u2013";
    if (filter.unit === "share") return `${(100 * score).toFixed(0)}\u202f%`;
    const digits = filter.unit === "dBFS" ? 1 : 2;
    const text = score.toFixed(digits).replace("-", "\u2212");
    return filter.unit ? `${text}\u202f${filter.unit}` : text;
  }

  const limitOf = (filter, row) => filter.limits[data.class[row]];

  function became(row) {
    if (data.stop[row] !== inDataset) return data.stops[data.stop[row]][1];
    return data.splits[data.split[row]] || "in the dataset";
  }

  const outcome = (row) => make("span", { class: data.stop[row] === inDataset ? "mark" : "mark out", text: became(row) });

  function fileOf(row, name, ending) {
    const files = data.files[row];
    if (!files || !files[name]) return null;
    return `${data.media.folder}/${files.shard}/${files[name]}${ending}`;
  }

  /* List */

  const checks = {
    class: (wanted) => (row) => data.class[row] === +wanted,
    split: (wanted) => (row) => data.split[row] === +wanted,
    stop: (wanted) => {
      const [kind, which] = wanted.split(":");
      if (kind === "stop") return (row) => data.stop[row] === +which;
      if (kind === "why") return (row) => (data.why[row] || []).includes(+which);
      if (kind === "kept") return (row) => data.stop[row] === inDataset;
      if (kind === "lost") return (row) => data.stop[row] !== inDataset;
      if (kind === "seen") return (row) => row in data.files;
      return (row) => row in data.truth && !data.truth[row][2];
    },
  };

  function matching() {
    const tests = Object.keys(checks).filter((id) => at(id).value).map((id) => checks[id](at(id).value));
    const wanted = at("search").value.trim().toLowerCase();
    if (wanted) {
      const has = (text) => text !== undefined && text.toLowerCase().includes(wanted);
      tests.push((row) => has(data.id[row]) || has(data.path[row]) || has(data.video[row]));
    }
    const rows = [];
    for (let row = 0; row < total; row++) if (tests.every((test) => test(row))) rows.push(row);
    return rows;
  }

  function sorted(rows) {
    const [how, which] = at("order").value.split(":");
    if (how === "id") return rows;
    if (how === "class") return rows.sort((a, b) => data.class[a] - data.class[b] || a - b);
    const filter = data.filters[which];
    const keys = new Float64Array(total).fill(Infinity);
    for (const row of rows) {
      const score = data.scores[which][row];
      const limit = limitOf(filter, row);
      if (score === null) continue;
      if (how === "near") keys[row] = limit === null ? Infinity : Math.abs(score - limit);
      else keys[row] = how === "low" ? score : -score;
    }
    return rows.sort((a, b) => (keys[a] === keys[b] ? a - b : keys[a] - keys[b]));
  }

  function entry(row) {
    const source = fileOf(row, "clip", data.media.clip[0]);
    const thumb = source
      ? make("img", { class: "thumb", src: source, alt: "", loading: "lazy", width: 58, height: 58 })
      : make("span", { class: "thumb" });
    const [how, which] = at("order").value.split(":");
    const filter = data.filters[which];
    const scored = filter ? ` ${filter.title.toLowerCase()} ${value(filter, data.scores[which][row])} ` : " ";
    const about = make("span", { class: "about" }, make("b", { text: nameOfClass(row) }), scored, outcome(row));
    const id = make("bdi", { class: "id", text: data.id[row].slice(0, 200) });
    return make("li", {}, make("a", { href: linkTo(row), "aria-current": row === open && "true" }, thumb, make("span", {}, id, about)));
  }

  function list() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    at("rows").replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(entry));
    at("count").textContent = shown.length === total ? plural(total, "clip") : `${number(shown.length)} of ${plural(total, "clip")}`;
    at("page").textContent = `${number(page + 1)} of ${number(pages)}`;
    at("back").disabled = page === 0;
    at("on").disabled = page === pages - 1;
    document.querySelector(".pager").hidden = pages === 1;
  }

  function filter() {
    shown = sorted(matching());
    page = Math.max(0, Math.floor(shown.indexOf(open) / PAGE));
    list();
    where();
    map.update(shown);
  }

  function turn(by) {
    page += by;
    list();
    at("list").scrollIntoView();
    at("list").focus({ preventScroll: true });
  }

  /* The clip that is open */

  function sound(row, name) {
    const source = fileOf(row, "clip", data.media.clip[2]);
    const audio = make("audio", { controls: true, preload: "metadata", src: source, "aria-label": `sound of ${name}` });
    const head = make("i", { class: "head" });
    const picture = make("img", { src: fileOf(row, "clip", data.media.clip[1]), width: 336, height: 72, alt: `spectrogram of ${name}` });
    const heard = make("div", { class: "heard" }, picture);
    const length = data.duration[row];
    if (length && data.window[row] !== null) {
      const taken = make("i", { class: "taken" });
      taken.style.left = `${(100 * data.window[row]) / length}%`;
      taken.style.width = `${(100 * Math.min(data.window_s, length)) / length}%`;
      heard.append(taken);
    }
    head.style.left = "0%";
    heard.append(head);
    const follow = () => {
      head.style.left = `${(100 * audio.currentTime) / (audio.duration || length || 1)}%`;
    };
    const run = () => {
      follow();
      if (!audio.paused && audio.isConnected) ticking = requestAnimationFrame(run);
    };
    audio.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
      cancelAnimationFrame(ticking);
      run();
    });
    audio.addEventListener("seeked", follow);
    audio.addEventListener("timeupdate", follow);
    heard.addEventListener("click", (event) => {
      const box = heard.getBoundingClientRect();
      audio.currentTime = ((event.clientX - box.left) / box.width) * (audio.duration || length || 0);
    });
    return make("figure", {}, make("figcaption", { text: `Sound${length ? `, ${length} s` : ""}; between the lines the window that becomes tokens` }), heard, audio);
  }

  function strip(row, what, title, ending, name) {
    const source = fileOf(row, what, ending);
    if (!source) return null;
    const times = (data.frames[row] || []).map((t) => `${t} s`).join(", ");
    const { size, shown: count } = data.media;
    const image = make("img", { src: source, width: size * count, height: size, alt: `${title} of ${name} at ${times}`, loading: "lazy" });
    return make("figure", {}, make("figcaption", { text: `${title} at ${times}` }), image);
  }

  function looks(row, brief = false) {
    const name = `${nameOfClass(row)}, clip ${data.id[row].slice(0, 80)}`;
    if (!data.files[row]) {
      const why = data.window[row] === null ? "There is nothing to see or hear: it was not decoded." : `No pictures and sound were made of it: the page has those of ${number(data.media.most)} clips at most (report.browser).`;
      return [make("p", { class: "empty", text: why })];
    }
    const first = strip(row, "clip", "Picture", data.media.clip[0], name);
    if (brief) return [make("div", { class: "looks" }, first, sound(row, name))];
    const caption = data.captions[data.class[row]];
    const maps = data.media.maps.map(([what, title, ending]) => strip(row, what, title, ending, name));
    const said = data.stop[row] === inDataset && caption
      ? make("figure", {}, make("figcaption", { text: "Caption" }), make("blockquote", { text: caption }))
      : null;
    return [make("div", { class: "looks" }, ...[first, sound(row, name), ...maps, said].filter((one) => one))];
  }

  function scores(row) {
    const body = data.filters.map((filter, i) => {
      const score = data.scores[i][row];
      const limit = limitOf(filter, row);
      const lost = (data.why[row] || []).some((why) => data.reasons[why][0] === filter.reason);
      const side = filter.side === "min" ? "at least " : "at most ";
      const off = limit === null || score === null;
      return make("tr", { class: lost ? "lost" : false },
        make("th", { scope: "row", text: filter.title, title: filter.number }),
        make("td", { class: "n", text: value(filter, score) }),
        make("td", { text: off ? "off" : side + value(filter, limit) }),
        make("td", {}, off ? "" : make("span", { class: lost ? "mark out" : "mark", text: lost ? "fails" : "passes" })));
    });
    const head = make("tr", {}, ...["filter", "this clip", "threshold", "result"].map((text, i) => make("th", { text, scope: "col", class: i === 1 && "n" })));
    return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  }

  function facts(row) {
    const rows = [
      ["Class", nameOfClass(row)],
      ["Video", data.video[row] ?? data.id[row].slice(0, data.id[row].lastIndexOf("@"))],
      ["Begins at", row in data.start ? `${data.start[row]} s` : ""],
      ["Listed by", data.sources[data.source[row]]],
      ["File", data.path[row]],
      ["Truth", row in data.truth ? `${words(data.truth[row][0])}; expected: ${data.truth[row][1]}` : ""],
      ["Message", data.message[row] || ""],
    ];
    const list = rows.filter(([, text]) => text).map(([name, text]) => make("div", {}, make("dt", { text: name }), make("dd", {}, make("bdi", { text }))));
    return make("dl", { class: "facts" }, ...list);
  }

  function kin(row) {
    const seen = new Set([row]);
    const found = [];
    const add = (other, title) => {
      if (other === undefined || seen.has(other)) return;
      seen.add(other);
      found.push([other, title]);
    };
    add(data.copy_of[row], "It is a copy of");
    for (const other of groupOf.get(row) || []) add(other, data.copy_of[other] === row ? "Its copy" : "In the same group");
    if (data.nearest[row]) {
      const [other, picture, heard] = data.nearest[row];
      add(other, `Nearest training clip (picture ${picture}, sound ${heard})`);
    }
    const blocks = found.slice(0, MOST_KIN).map(([other, title]) => {
      const link = make("a", { href: linkTo(other) }, make("bdi", { text: data.id[other] }));
      return make("section", { class: "kin" }, make("h3", {}, `${title}: `, link, " ", outcome(other)), ...looks(other, true));
    });
    if (found.length > MOST_KIN) blocks.push(make("p", { class: "note", text: `and ${plural(found.length - MOST_KIN, "more clip")} of the group.` }));
    return blocks;
  }

  function where() {
    const place = shown.indexOf(open);
    const spot = at("spot");
    if (!spot) return;
    spot.textContent = place < 0 ? "not in the list as it is filtered" : `${number(place + 1)} of ${number(shown.length)}`;
    at("before").disabled = place <= 0;
    at("after").disabled = shown.length === 0 || place === shown.length - 1;
  }

  function show(row) {
    open = row;
    const before = make("button", { type: "button", id: "before", text: "\u2190 Previous" });
    const after = make("button", { type: "button", id: "after", text: "Next \u2192" });
    before.addEventListener("click", () => step(-1, "before"));
    after.addEventListener("click", () => step(1, "after"));
    const why = (data.why[row] || []).map((i) => make("li", { text: data.reasons[i][1] }));
    const wrong = row in data.truth && !data.truth[row][2];
    const marks = make("p", { class: "marks" }, make("span", { class: "mark", text: nameOfClass(row) }), outcome(row), wrong ? make("span", { class: "mark wrong", text: "decided wrongly" }) : null);
    at("clip").replaceChildren(
      make("p", { class: "go" }, before, after, make("span", { id: "spot" })),
      make("h2", {}, make("bdi", { text: data.id[row] })),
      marks,
      ...(why.length ? [make("ul", { class: "why", "aria-label": "Reasons" }, ...why)] : []),
      ...looks(row),
      ...kin(row),
      make("h3", { text: "Scores" }),
      scores(row),
      make("h3", { text: "Facts" }),
      facts(row));
    at("clip").scrollTop = 0;
    const target = Math.floor(shown.indexOf(row) / PAGE);
    if (target >= 0 && target !== page) {
      page = target;
      list();
    }
    for (const link of document.querySelectorAll("#rows a")) {
      const mine = link.getAttribute("href") === linkTo(row);
      if (mine) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    where();
    map.update();
    document.title = document.title.replace(/^.*\u2002|^/, `${data.id[row].slice(0, 60)}\u2002`);
  }

  function step(by, button) {
    const place = shown.indexOf(open);
    const row = shown[place < 0 ? 0 : place + by];
    if (row === undefined) return;
    history.replaceState(null, "", linkTo(row));
    show(row);
    document.querySelector("#rows a[aria-current]")?.scrollIntoView({ block: "nearest" });
    if (button && !at(button).disabled) at(button).focus({ preventScroll: true });
  }

  function follow(first) {
    const hash = location.hash.slice(1);
    if (hash === "list") return;
    if (hash === "map" && at("map")) {
      at("map").open = true;
      at("map").scrollIntoView();
      at("canvas").focus({ preventScroll: true });
      return;
    }
    let id = hash;
    try {
      id = decodeURIComponent(hash);
    } catch {
      // an address that somebody cut short: taken as it is
    }
    const row = placeOf.get(id);
    if (row !== undefined) {
      show(row);
      if (matchMedia("(max-width: 860px)").matches) at("clip").scrollIntoView();
      if (!first) at("clip").focus({ preventScroll: true });
    } else if (hash) {
      at("clip").replaceChildren(make("p", { class: "empty" }, "There is no clip ", make("bdi", { text: id.slice(0, 200) }), "."));
    } else {
      at("clip").replaceChildren();
      open = -1;
    }
  }

  /* Start */

  function counts(column) {
    const found = new Map();
    for (const one of column) found.set(one, (found.get(one) || 0) + 1);
    return found;
  }

  function option(value, text, n) {
    return make("option", { value, text: n === undefined ? text : `${text} (${number(n)})` });
  }

  function choices() {
    const classes = counts(data.class);
    at("class").append(...data.classes.map((name, i) => option(i, name.slice(0, 80), classes.get(i))));
    const splits = counts(data.split);
    at("split").append(...data.splits.map((name, i) => option(i, name, splits.get(i) || 0)), option(-1, "none", splits.get(-1) || 0));
    const stops = counts(data.stop);
    const kept = stops.get(inDataset) || 0;
    const reasons = counts(Object.values(data.why).flat());
    const wrong = Object.values(data.truth).filter(([, , right]) => !right).length;
    at("stop").append(option("kept", "in the dataset", kept), option("lost", "not used", total - kept));
    if (wrong) at("stop").append(option("wrong", "decided wrongly", wrong));
    if (Object.keys(data.files).length < total) at("stop").append(option("seen", "with pictures and sound", Object.keys(data.files).length));
    at("stop").append(
      make("optgroup", { label: "Stopped at" }, ...data.stops.map(([, text], i) => option(`stop:${i}`, text, stops.get(i))).filter((_, i) => i !== inDataset)),
      make("optgroup", { label: "Among its reasons" }, ...data.reasons.map(([name, text], i) => option(`why:${i}`, `${words(name)}: ${text}`, reasons.get(i)))));
    for (const [i, filter] of data.filters.entries()) {
      const about = filter.title;
      const near = filter.limits.some((limit) => limit !== null) ? [option(`near:${i}`, `${about}: nearest to the threshold`)] : [];
      at("order").append(make("optgroup", { label: about }, ...near, option(`low:${i}`, `${about}: lowest first`), option(`high:${i}`, `${about}: highest first`)));
    }
  }

  const map = clipMap({
    data, at, make, number, value, className: nameOfClass, outcome: became, kept: inDataset,
    opened: () => open,
    thumb: (row) => fileOf(row, "clip", data.media.clip[0]),
    open: (row) => {
      history.replaceState(null, "", linkTo(row));
      show(row);
      if (matchMedia("(max-width: 860px)").matches) at("clip").scrollIntoView();
    },
  });
  choices();
  let waiting = 0;
  at("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  for (const id of ["class", "split", "stop", "order"]) at(id).addEventListener("change", filter);
  at("filters").addEventListener("reset", () => setTimeout(filter));
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("back").addEventListener("click", () => turn(-1));
  at("on").addEventListener("click", () => turn(1));
  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest?.("input, select, textarea, audio, canvas, .scroll");
    if (busy || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else return;
    event.preventDefault();
  });
  addEventListener("hashchange", () => follow(false));
  filter();
  follow(true);
  if (open < 0 && ["", "#map"].includes(location.hash) && total && matchMedia("(min-width: 861px)").matches) show(shown[0]);
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
