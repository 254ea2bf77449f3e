"use strict";
// Texts are set only as text nodes and attributes, never as HTML; the URL holds all page state.

const byId = id => document.getElementById(id);
const WORDS = ["q", "second", "plus", "minus"];
const fields = Object.fromEntries([...WORDS, "scores"].map(id => [id, byId(id)]));
const columns = byId("columns"), dialog = byId("large");
const narrow = matchMedia("(max-width: 700px)");  // as in page.css
const LATE = 8000;  // milliseconds after which a request is said to take longer
const DEPTH = 10;  // results that are compared, and of a strip
const STEP = 12, MOST = 996;  // results; rows of 2, 3, 4 and 6 are full
let about = { models: [], pictures: 0, rewording: false, name: "", root: "" };
let like = "", k = 0, running = null, timer = 0, typing = false, shown = null, opened = { hits: [], at: 0 }, tab = "";

function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// ---- state and address ------------------------------------------------------------------------

function chosenModels() {
  return [...document.querySelectorAll("#models input:checked")].map(box => box.value);
}

// Results that a query begins with.
function initialCount() { return WORDS.slice(0, 2).every(id => fields[id].value.trim()) ? DEPTH : STEP; }

function state() {
  const made = new URLSearchParams();
  for (const id of WORDS) if (fields[id].value.trim()) made.set(id, fields[id].value.trim());
  if (like) made.set("like", like);
  if (k !== initialCount()) made.set("k", k);
  if (fields.scores.checked) made.set("scores", "1");
  const models = chosenModels();
  if (models.length && models.length < about.models.length) models.forEach(label => made.append("models", label));
  return made;
}

function restore() {
  const given = new URLSearchParams(location.search);
  for (const id of WORDS) fields[id].value = given.get(id) || "";
  k = Math.min(Math.max(Math.trunc(Number(given.get("k"))) || initialCount(), 1), MOST);
  fields.scores.checked = given.get("scores") === "1";
  setLike(/^[0-9a-f]{24}$/.test(given.get("like") || "") ? given.get("like") : "");
  byId("more").open = !!(fields.plus.value || fields.minus.value);
  const models = given.getAll("models");
  for (const box of document.querySelectorAll("#models input")) box.checked = !models.length || models.includes(box.value);
  fold(!!String(state()));
}

// Only a narrow screen folds the form.
function fold(folded) {
  document.body.classList.toggle("folded", folded);
  byId("unfold").setAttribute("aria-expanded", String(!folded));
}

function keep(push) {
  typing = false;
  const wordings = ["q", "second"].map(id => fields[id].value.trim()).filter(Boolean).map(text => `“${text}”`);
  byId("unfold").replaceChildren(`${wordings.join(" and ") || (like ? "like this picture" : "Search")} \u25be`);
  if (like && !wordings.length) byId("unfold").prepend(thumbnail(like));
  const text = state().toString(), address = text ? `?${text}` : location.pathname;
  if (address === (location.search || location.pathname)) return;
  if (push) history.pushState(null, "", address); else history.replaceState(null, "", address);
}

function thumbnail(id) {
  const made = element("img");
  made.src = `api/thumbnail/${id}`;
  made.alt = "";
  made.width = made.height = 48;
  return made;
}

function setLike(id) {
  like = id;
  byId("like").hidden = !id;
  if (id) byId("like-picture").src = `api/thumbnail/${id}`;
}

// ---- requests ---------------------------------------------------------------------------------

async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response.json();
  const body = await response.json().catch(() => ({}));
  throw new Error(typeof body.detail === "string" ? body.detail : `The server answered ${response.status}.`);
}

// A query of its own begins with the first results; "further" keeps those that are shown.
async function search(push, count = initialCount()) {
  clearTimeout(timer);
  if (running) running.abort();
  k = count;
  keep(push);
  const wanted = state();
  wanted.delete("scores");
  for (const id of ["plus", "minus"]) {
    const parts = (wanted.get(id) || "").split(",").map(part => part.trim()).filter(Boolean);
    wanted.delete(id);
    parts.forEach(part => wanted.append(id, part));
  }
  if (![...WORDS, "like"].some(name => wanted.has(name))) return welcome();
  if (!wanted.has("q") && wanted.has("second")) { wanted.set("q", wanted.get("second")); wanted.delete("second"); }
  if (!WORDS.some(name => wanted.has(name))) wanted.set("models", about.models[0]);  // all have one image tower
  wanted.set("k", k);
  wanted.set("judge", "1");
  const texts = ["q", "second"].map(name => wanted.get(name)).filter(Boolean);
  await show(texts, signal => ask(`api/search?${wanted}`, { signal }));
}

async function show(texts, request) {
  const own = running = new AbortController();
  columns.setAttribute("aria-busy", "true");
  byId("status").textContent = "Searching...";
  byId("error").hidden = true;
  try {
    const began = performance.now(), found = await request(own.signal);
    if (own !== running) return;
    draw({ found, texts, milliseconds: performance.now() - began });
  } catch (error) {
    if (own !== running || error.name === "AbortError") return;
    fail(error.message);
  }
  columns.setAttribute("aria-busy", "false");
}

function clear() {
  shown = null;
  columns.replaceChildren();
  for (const id of ["welcome", "error", "tabs", "further", "measures"]) byId(id).hidden = true;
}

function fail(text) {
  clear();
  byId("status").textContent = "";
  byId("error-text").textContent = text;
  byId("error").hidden = false;
}

function welcome() {
  running = null;
  clear();
  fold(false);
  columns.setAttribute("aria-busy", "false");
  byId("status").textContent = about.pictures ? "" : "The index contains no pictures yet. Run paraclip index FOLDER.";
  byId("welcome").hidden = false;
  showRandom();
  offerExamples();
}

async function showRandom() {
  const { pictures } = await ask("api/random").catch(() => ({ pictures: [] }));  // none without a store
  byId("random").hidden = !pictures.length;
  byId("pictures").replaceChildren(...pictures.map((_, at) => tile(pictures, at, false)));
}

// The first request asks each model for all scenes, which takes seconds.
async function offerExamples() {
  if (!about.pictures) return;
  byId("examples").hidden = false;
  if (!byId("queries").children.length) byId("asked").textContent = "Asking each model for everyday scenes...";
  const found = await ask("api/examples").catch(() => ({ queries: [] }));
  byId("examples").hidden = !found.queries.length;
  if (!found.queries.length) return;
  const [base, ...others] = about.models, last = others[others.length - 1];
  const rule = last ? `: some that gain with ${last} and, if there is one, one that loses` : "";
  byId("asked").textContent = `${last ? base : "The model"} finds a close picture for ${found.held} of ${found.asked} everyday scenes. Here are ${found.queries.length} of these at random${rule}.`;
  byId("queries").replaceChildren(...found.queries.map(example));
  const [head, ...rows] = found.table.map((cells, at) => {
    const row = element("tr");
    row.append(...cells.map((text, place) => {
      const cell = element(text && !(at && place) ? "th" : "td", "", text);
      if (cell.tagName === "TH") cell.scope = at ? "row" : "col";
      return cell;
    }));
    return row;
  });
  byId("counts").tHead.replaceChildren(head);
  byId("counts").tBodies[0].replaceChildren(...rows);
}

function example({ q, second, picture, shared }) {
  const item = element("li"), button = element("button"), words = element("span");
  button.type = "button";
  words.append(...[[q, "one"], [second, "two"]].map(([text, dot]) => {
    const line = element("span", "wording", text);
    line.prepend(element("span", `dot ${dot}`));
    return line;
  }));
  words.append(element("span", "faint", `In common: ${about.models.map(label => `${about.models.length > 1 ? label : ""} ${shared[label]}`).join(", ")} of ${DEPTH}`));
  button.append(thumbnail(picture), words);
  button.addEventListener("click", () => { fields.q.value = q; fields.second.value = second; submit(); });
  item.append(button);
  return item;
}

// ---- results ----------------------------------------------------------------------------------

function draw(results) {
  clear();
  shown = results;
  const { found, texts, milliseconds } = results, lists = found.models.flatMap(model => model.results), hits = lists.flat();
  columns.style.setProperty("--models", texts.length > 1 ? 1 : found.models.length);
  columns.replaceChildren(...found.models.map((model, at) => column(model, at)));
  const pictures = found.pictures.toLocaleString("en");
  byId("status").textContent = hits.length
    ? `${nothingClose(hits) ? "Nothing close among" : "The best of"} ${pictures} pictures in ${duration(milliseconds)}.${sharedText(found)}${hits.some(isFar) ? " Faded: not close." : ""}`
    : "No pictures: the index is empty.";
  explain(hits);
  tabulate();
  compare(found);
  byId("further").hidden = k >= MOST || lists.every(list => list.length < k);
  byId("further").textContent = `Show ${Math.min(initialCount(), MOST - k)} more`;
}

function duration(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function nothingClose(hits) { return hits.length > 0 && hits.every(isFar); }

function sharedText(found) {
  const one = found.between.find(pair => pair.wording === 0);
  if (!one) return "";
  const place = shown.texts.length > 1 ? " for the first wording" : one.shared && found.models.length === 2 ? " (framed)" : "";
  return ` ${one.models.join(" and ")} share ${one.shared} of ${one.depth}${place}.`;
}

function explain(hits) {
  const parts = [];
  if (columns.querySelector(".shared")) parts.push(shown.texts.length > 1 ? "Line: joins the two places of a picture that both wordings find." : "Frame: found by all models.");
  if (hits.some(hit => hit.right)) parts.push("✓ caption: the picture's caption has every word of a wording, so it is right; others may be, too.");
  if (hits.some(isFar)) parts.push("Faded: no more similar than what unrelated queries find.");
  byId("legend").textContent = parts.join(" ");
}

function column(model, at) {
  const made = element("section", "model"), head = element("div", "head"), title = element("h2", "", headline(model));
  title.id = `model-${at}`;
  made.id = `panel-${at}`;
  made.setAttribute("aria-labelledby", title.id);
  head.append(title, ...findings(model));
  if (nothingClose(model.results.flat())) head.append(element("span", "nothing bad", "Nothing close: no better than what unrelated queries find."));
  made.append(head);
  made.append(model.results.length === 2 ? pair(model) : grid(model));
  return made;
}

// The label of a model tells nothing where there is only one.
function headline(model) {
  if (!shown.texts.length) return "Similar pictures";
  return about.models.length > 1 ? model.label : "Results";
}

// What matters in words: how many are the same, and, where captions tell, how many are right.
function findings(model) {
  const lists = model.results.map(hits => hits.slice(0, DEPTH)), right = hits => hits.filter(hit => hit.right).length;
  const known = lists.flat().some(hit => hit.right !== null && hit.right !== undefined), made = [];
  if (lists.length === 2) {
    const ids = new Set(lists[1].map(hit => hit.id)), both = lists[0].filter(hit => ids.has(hit.id));
    made.push(counted(both.length, model.agreement.depth, "found with both wordings"));
    if (known && both.length) made.push(right(both) ? element("span", "good", `✓ ${right(both)} of them right`) : element("span", "bad", "✗ none of them right"));
    if (known && !right(both) && right(lists.flat())) made.push(element("span", "good", `✓ ${lists.map(right).join(" and ")} right`));
  } else if (known) made.push(counted(right(lists[0]), lists[0].length, "right"));
  if (known) made.push(element("span", "faint", "by their captions"));
  return made;
}

function counted(count, of, what) {
  const made = element("span", "figure");
  made.append(element("b", "", `${count} of ${of}`), ` ${what}`);
  return made;
}

function grid(model) {
  const made = element("ol", "grid"), hits = model.results[0];
  const others = shown.found.models.filter(one => one !== model).map(one => new Set(one.results[0].map(hit => hit.id)));
  hits.forEach((hit, at) => made.append(tile(hits, at, others.length > 0 && others.every(ids => ids.has(hit.id)))));
  return made;
}

// The lists of two wordings: strips one above the other; columns side by side on a narrow screen.
function pair(model) {
  const made = element("div", "pair"), [first, second] = model.results;
  const places = new Map(second.map((hit, at) => [hit.id, at])), ids = new Set(first.map(hit => hit.id));
  const count = Math.max(first.length, second.length, 1);
  const lines = svg("svg", { viewBox: `0 0 ${narrow.matches ? `100 ${count}` : `${count} 100`}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  made.style.setProperty("--count", count);
  first.forEach((hit, at) => {
    if (!places.has(hit.id)) return;
    const points = [[0, at], [50, at], [50, places.get(hit.id)], [100, places.get(hit.id)]];
    const [from, ...to] = points.map(([across, place]) => (narrow.matches ? [across, place + .5] : [place + .5, across]).join(" "));
    const line = svg("path", { d: `M${from} C${to.join(" ")}`, class: verdict(hit) });
    line.dataset.picture = hit.id;
    lines.append(line);
  });
  const lists = [[first, hit => places.has(hit.id), "one"], [second, hit => ids.has(hit.id), "two"]].map(([hits, isShared, dot], at) => {
    const text = shown.texts[at], title = element("h3"), list = element("ol", dot);
    title.append(element("span", `dot ${dot}`), text);
    title.id = `wording-${at}-${shown.found.models.indexOf(model)}`;
    list.setAttribute("aria-labelledby", title.id);
    hits.forEach((hit, place) => list.append(tile(hits, place, isShared(hit))));
    return [title, list];
  });
  made.append(...lists[0], lines, ...lists[1].reverse());
  return made;
}

// What is known to be right is not called far, whatever the model thinks of it.
function isFar(hit) { return hit.close === false && !hit.right; }

function verdict(hit) { return hit.right ? "right" : hit.right === false ? "wrong" : ""; }

function tile(hits, at, shared) {
  const hit = hits[at], item = element("li"), button = element("button", `tile ${shared ? "shared" : ""} ${verdict(hit)} ${isFar(hit) ? "far" : ""}`), image = element("img");
  const common = shared && (shown.texts.length > 1 ? "found with both wordings" : "found by all models");
  const notes = [hit.right && "right by its caption", common, isFar(hit) && "not close"].filter(Boolean), flags = element("span", "flags");
  button.type = "button";
  button.dataset.picture = hit.id;
  image.addEventListener("load", () => fit(image, button));
  image.src = `api/thumbnail/${hit.id}`;
  image.loading = "lazy";
  image.alt = `${at + 1}: ${hit.caption || hit.path}${notes.length ? ` (${notes.join(", ")})` : ""}`;
  button.title = hit.caption || hit.path;
  if (hit.right) flags.append(element("span", "good", "✓ caption"));
  button.append(image, element("span", "rank", String(at + 1)));
  if (fields.scores.checked && hit.score) button.append(element("span", "score", hit.score.toFixed(3)));
  for (const one of [button.querySelector(".rank"), flags]) one.setAttribute("aria-hidden", "true");
  button.addEventListener("click", () => enlarge(hits, at));
  item.append(button, flags);
  return item;
}

// Photographs fill their tile; upright ones and drawings on white are shown whole.
function fit(image, button) {
  const sketch = element("canvas"), side = sketch.width = sketch.height = 16, brush = sketch.getContext("2d");
  brush.drawImage(image, 0, 0, side, side);
  const { data } = brush.getImageData(0, 0, side, side);
  const isEdge = at => at < side || at >= side * (side - 1) || at % side === 0 || at % side === side - 1;
  const edge = [...Array(side * side).keys()].filter(isEdge);
  const white = edge.filter(at => data.subarray(4 * at, 4 * at + 3).every(value => value > 235));
  const drawn = white.length > 0.4 * edge.length;
  button.classList.toggle("drawn", drawn);
  button.classList.toggle("whole", drawn || image.naturalWidth < image.naturalHeight);
}

// ---- tabs where the models do not fit beside each other, and the figures ----------------------

function tabulate() {
  const panels = [...columns.children], tabbed = narrow.matches && panels.length > 1, labels = shown.found.models.map(model => model.label);
  if (!labels.includes(tab)) tab = labels[labels.length - 1];
  byId("tabs").hidden = !tabbed;
  byId("tabs").replaceChildren(...panels.map((panel, at) => {
    const button = element("button", "", `${labels[at]} `), figure = panel.querySelector(".figure b"), chosen = labels[at] === tab;
    if (figure) button.append(element("span", "faint", figure.textContent));
    button.type = "button";
    button.id = `tab-${at}`;
    button.tabIndex = chosen ? 0 : -1;
    for (const [name, value] of [["role", "tab"], ["aria-selected", chosen], ["aria-controls", panel.id]]) button.setAttribute(name, value);
    button.addEventListener("click", () => { tab = labels[at]; tabulate(); });
    return button;
  }));
  panels.forEach((panel, at) => {
    panel.hidden = tabbed && labels[at] !== tab;
    if (tabbed) panel.setAttribute("role", "tabpanel"); else panel.removeAttribute("role");
  });
}

function turn(event) {
  const buttons = [...byId("tabs").children], at = buttons.indexOf(document.activeElement), by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || at < 0) return;
  event.stopPropagation();
  const next = (at + by + buttons.length) % buttons.length;
  buttons[next].click();
  byId("tabs").children[next].focus();
}

function compare(found) {
  const rows = found.models.filter(model => model.agreement).map(model => [`${headline(model)}, two wordings`, model.agreement]);
  rows.push(...found.between.map(one => [`${one.models.join(" and ")}, “${shown.texts[one.wording]}”`, one]));
  byId("measures").hidden = !rows.length && !byId("legend").textContent;
  byId("agreement").hidden = !rows.length;
  byId("agreements").replaceChildren(...rows.map(([name, { ao, js, shared, depth }]) => {
    const row = element("tr"), head = element("th", "", name);
    head.scope = "row";
    row.append(head, ...[ao.toFixed(1), js.toFixed(1), `${shared} of ${depth}`].map(text => element("td", "", text)));
    return row;
  }));
}

function mark(id) {
  for (const one of columns.querySelectorAll("[data-picture]")) one.classList.toggle("same", one.dataset.picture === id);
}

function pointed(event) {
  const over = event.target.closest && event.target.closest("[data-picture]");
  mark(over ? over.dataset.picture : null);
}

// ---- one picture, large -----------------------------------------------------------------------

function enlarge(hits, at) {
  opened = { hits, at };
  const hit = hits[at], image = byId("large-picture");
  image.src = `api/picture/${hit.id}`;
  image.alt = hit.caption || hit.path;
  byId("large-title").textContent = hit.caption || hit.path.split("/").pop();
  byId("large-path").textContent = `${at + 1} of ${hits.length}, ${hit.path}${hit.score ? `, score ${hit.score.toFixed(3)}` : ""}`;
  byId("done").textContent = "";
  byId("previous").disabled = at === 0;
  byId("next").disabled = at === hits.length - 1;
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  const at = opened.at + by;
  if (at >= 0 && at < opened.hits.length) enlarge(opened.hits, at);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // browsers have no clipboard for pages without HTTPS
    const field = element("textarea");
    field.value = text;
    dialog.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  byId("done").textContent = `Copied the ${what}.`;
}

function copyPath() {
  const { path } = opened.hits[opened.at];
  copy(about.root && !path.includes("://") ? `${about.root}/${path}` : path, "path");
}

// ---- rewordings -------------------------------------------------------------------------------

async function suggest() {
  const text = fields.q.value.trim() || fields.second.value.trim(), place = byId("suggestions"), button = byId("suggest");
  if (!text) { place.replaceChildren(element("span", "faint", "Type a query first.")); return; }
  button.disabled = true;
  const said = element("span", "faint", "The language model is writing...");
  place.replaceChildren(said);
  const late = setTimeout(() => { said.textContent = "The language model needs longer than usual: it is being loaded, or this machine is busy. This can take a minute."; }, LATE);
  try {
    const body = JSON.stringify({ text: text.slice(0, 500) });
    const { rewordings } = await ask("api/reword", { method: "POST", headers: { "content-type": "application/json" }, body });
    place.replaceChildren(...rewordings.map(offer));
    if (!rewordings.length) place.replaceChildren(element("span", "faint", "No rewording kept the meaning. Try another query."));
  } catch (error) {
    place.replaceChildren(element("span", "faint", error.message));
  }
  clearTimeout(late);
  button.disabled = false;
}

function offer(text) {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", () => { fields.second.value = text; submit(); });
  return made;
}

// ---- keys and events --------------------------------------------------------------------------

function move(event) {
  const tiles = [...document.querySelectorAll("main button.tile")].filter(one => one.offsetParent), at = tiles.indexOf(document.activeElement);
  if (at < 0) return;
  const here = tiles[at].getBoundingClientRect();
  const across = event.key === "ArrowLeft" || event.key === "ArrowRight", sign = event.key === "ArrowRight" || event.key === "ArrowDown" ? 1 : -1;
  const distance = one => {
    const there = one.getBoundingClientRect();
    const along = sign * (across ? there.left - here.left : there.top - here.top), aside = Math.abs(across ? there.top - here.top : there.left - here.left);
    return along > 4 ? along + 3 * aside : Infinity;
  };
  const best = tiles.reduce((one, other) => distance(other) < distance(one) ? other : one, tiles[at]);
  if (best !== tiles[at]) { best.focus(); event.preventDefault(); }
}

function pressed(event) {
  if (dialog.open) {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
    return;
  }
  if (event.key === "/" && document.activeElement.tagName !== "INPUT") { fields.q.focus(); event.preventDefault(); }
  if (event.key.startsWith("Arrow")) move(event);
}

// The first change of a query is a new entry of the history, which the following ones replace.
function soon() {
  clearTimeout(timer);
  timer = setTimeout(() => { const first = !typing; search(first); typing = true; }, 300);
}

function submit() {
  fold(true);
  if (narrow.matches) byId("results").focus();  // the box that had it is folded away
  search(true);
}

function sendPicture(files) {
  const file = [...files].find(one => one.type.startsWith("image/"));
  if (!file) return files.length ? fail("This is not a picture.") : undefined;
  if (file.size > 10 * 2 ** 20) return fail("The picture is larger than 10 MiB.");
  for (const id of WORDS) fields[id].value = "";
  if (running) running.abort();
  k = initialCount();
  fold(true);
  return show([], async signal => {
    const found = await ask(`api/search/picture?k=${k}`, { method: "POST", body: file, signal, headers: { "content-type": file.type } });
    setLike(found.like);
    keep(true);
    return found;
  });
}

function drop(event) {
  document.body.classList.toggle("dropping", event.type === "dragover");
  if (event.type !== "dragleave" && event.dataTransfer.types.includes("Files")) event.preventDefault();
  if (event.type === "drop" && event.dataTransfer.files.length) sendPicture(event.dataTransfer.files);
}

async function further() {
  const before = k;
  await search(true, Math.min(k + initialCount(), MOST));
  const next = columns.querySelector(`.model:not([hidden]) li:nth-child(${before + 1}) .tile`);
  if (!next) return;
  next.focus({ preventScroll: true });
  if (narrow.matches) return;
  for (const one of columns.querySelectorAll(`.pair .one li:nth-child(${before + 1})`)) one.scrollIntoView({ block: "nearest", inline: "start" });
}

function listen() {
  byId("form").addEventListener("submit", event => { event.preventDefault(); submit(); });
  for (const id of WORDS) fields[id].addEventListener("input", soon);
  fields.scores.addEventListener("change", () => { keep(true); if (shown) draw(shown); });
  byId("models").addEventListener("change", () => search(true));
  byId("suggest").addEventListener("click", suggest);
  byId("retry").addEventListener("click", () => search(false, k));
  byId("further").addEventListener("click", further);
  byId("others").addEventListener("click", showRandom);
  byId("unfold").addEventListener("click", () => { fold(false); fields.q.focus(); });
  byId("tabs").addEventListener("keydown", turn);
  narrow.addEventListener("change", () => { if (shown) draw(shown); });
  byId("unlike").addEventListener("click", () => { setLike(""); search(true); });
  byId("picture").addEventListener("change", event => { sendPicture([...event.target.files]); event.target.value = ""; });
  for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, drop);
  document.addEventListener("paste", event => { if (event.clipboardData.files.length) sendPicture(event.clipboardData.files); });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("copy-path").addEventListener("click", copyPath);
  byId("copy-link").addEventListener("click", () => copy(new URL(`api/picture/${opened.hits[opened.at].id}`, location.href).href, "link"));
  byId("close").addEventListener("click", () => dialog.close());
  byId("similar").addEventListener("click", () => {
    dialog.close();
    for (const id of WORDS) fields[id].value = "";
    setLike(opened.hits[opened.at].id);
    submit();
  });
  columns.addEventListener("pointerover", pointed);
  columns.addEventListener("focusin", pointed);
  columns.addEventListener("pointerleave", () => mark(null));
  document.addEventListener("keydown", pressed);
  addEventListener("popstate", () => { dialog.close(); restore(); search(false, k); });
}

async function start() {
  listen();
  try {
    about = await ask("api/index");
  } catch (error) {
    return fail(error.message);
  }
  byId("about").textContent = `${about.pictures.toLocaleString("en")} pictures in ${about.name}`;
  byId("suggest").hidden = !about.rewording;
  byId("models").hidden = about.models.length < 2;
  byId("models").append(...about.models.map(label => {
    const outer = element("label"), box = element("input");
    box.type = "checkbox"; box.value = label; box.checked = true;
    outer.append(box, ` ${label}`);
    return outer;
  }));
  restore();
  search(false, k);
  if (!fields.q.value) fields.q.focus();  // a shared address shows its words from the start
}

start();
