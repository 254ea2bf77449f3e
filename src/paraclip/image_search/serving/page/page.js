"use strict";
// Texts are set only as text nodes and attributes, never as HTML; the URL holds all page state.

const byId = id => document.getElementById(id);
const fields = Object.fromEntries(["q", "second", "plus", "minus", "k", "scores"].map(id => [id, byId(id)]));
const columns = byId("columns"), dialog = byId("large");
let about = { models: [], pictures: 0, rewording: false, name: "" };
let like = "", sent = null, running = null, timer = 0, shown = null, opened = { hits: [], at: 0 };

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

function state() {
  const made = new URLSearchParams();
  for (const id of ["q", "second", "plus", "minus"]) if (fields[id].value.trim()) made.set(id, fields[id].value.trim());
  if (like) made.set("like", like);
  if (fields.k.value !== "10") made.set("k", fields.k.value);
  if (fields.scores.checked) made.set("scores", "1");
  const models = chosenModels();
  if (models.length && models.length < about.models.length) models.forEach(label => made.append("models", label));
  return made;
}

function restore() {
  const given = new URLSearchParams(location.search);
  for (const id of ["q", "second", "plus", "minus"]) fields[id].value = given.get(id) || "";
  fields.k.value = given.get("k") || "10";
  if (!fields.k.value) fields.k.value = "10";
  fields.scores.checked = given.get("scores") === "1";
  setLike(/^[0-9a-f]{24}$/.test(given.get("like") || "") ? given.get("like") : "");
  byId("more").open = !!(fields.plus.value || fields.minus.value);
  const models = given.getAll("models");
  for (const box of document.querySelectorAll("#models input")) box.checked = !models.length || models.includes(box.value);
}

function keep(push) {
  const text = state().toString(), address = text ? `?${text}` : location.pathname;
  if (address === (location.search || location.pathname)) return;
  if (push) history.pushState(null, "", address); else history.replaceState(null, "", address);
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

async function search(push) {
  clearTimeout(timer);
  if (running) running.abort();
  keep(push);
  const wanted = state();
  wanted.delete("scores");
  for (const id of ["plus", "minus"]) {
    const parts = (wanted.get(id) || "").split(",").map(part => part.trim()).filter(Boolean);
    wanted.delete(id);
    parts.forEach(part => wanted.append(id, part));
  }
  if (!["q", "second", "plus", "minus", "like"].some(name => wanted.has(name))) return sent ? searchPicture() : welcome();
  sent = null;
  if (!wanted.has("q") && wanted.has("second")) { wanted.set("q", wanted.get("second")); wanted.delete("second"); }
  await show(signal => ask(`api/search?${wanted}`, { signal }));
}

async function show(request) {
  const own = running = new AbortController();
  columns.setAttribute("aria-busy", "true");
  byId("status").textContent = "Searching...";
  byId("error").hidden = true;
  try {
    const began = performance.now(), found = await request(own.signal);
    if (own !== running) return;
    draw(found, performance.now() - began);
  } catch (error) {
    if (own !== running || error.name === "AbortError") return;
    fail(error.message);
  }
  columns.setAttribute("aria-busy", "false");
}

function fail(text) {
  shown = null;
  columns.replaceChildren();
  byId("welcome").hidden = true;
  byId("status").textContent = "";
  byId("error-text").textContent = text;
  byId("error").hidden = false;
}

function welcome() {
  running = shown = null;
  columns.replaceChildren();
  columns.setAttribute("aria-busy", "false");
  byId("status").textContent = about.pictures ? "" : "The index contains no pictures yet. Run paraclip index FOLDER.";
  byId("error").hidden = true;
  byId("welcome").hidden = false;
}

// ---- results ----------------------------------------------------------------------------------

function draw(found, milliseconds) {
  shown = { found, milliseconds };
  byId("welcome").hidden = true;
  columns.style.setProperty("--models", found.models.length);
  columns.replaceChildren(...found.models.map(model => column(model, found)));
  const total = found.models.reduce((sum, model) => sum + model.results[0].length, 0);
  const pictures = found.pictures.toLocaleString("en");
  byId("status").textContent = total
    ? `The best of ${pictures} pictures in ${Math.round(milliseconds)} ms.${sharedText(found)}`
    : "No pictures: the index is empty.";
}

function sharedText(found) {
  const one = found.between.find(pair => pair.wording === 0);
  return one ? ` ${one.models.join(" and ")} share ${one.shared} of ${one.depth}.` : "";
}

function column(model, found) {
  const made = element("section", "model"), head = element("div", "head");
  const title = element("h2", "", model.label);
  title.id = `model-${found.models.indexOf(model)}`;
  made.setAttribute("aria-labelledby", title.id);
  head.append(title);
  if (model.agreement) head.append(...figures(model, found));
  made.append(head, model.results.length === 2 ? pair(model) : grid(model, found));
  return made;
}

function figures(model, found) {
  const most = Math.max(...found.models.map(one => one.agreement.ao)), { ao, js, depth, shared } = model.agreement;
  const best = found.models.length > 1 && ao === most ? "figure best" : "figure";
  const overlap = element("span", best), jaccard = element("span", "figure");
  overlap.append(`AO@${depth} `, element("b", "", ao.toFixed(1)));
  jaccard.append(`JS@${depth} `, element("b", "", js.toFixed(1)));
  return [overlap, jaccard, element("span", "figure", `${shared} of ${depth} shared`)];
}

function grid(model, found) {
  const made = element("ol", "grid"), hits = model.results[0];
  const others = found.models.filter(one => one !== model).map(one => new Set(one.results[0].map(hit => hit.id)));
  hits.forEach((hit, at) => made.append(tile(hits, at, others.length > 0 && others.every(ids => ids.has(hit.id)))));
  return made;
}

function pair(model) {
  const made = element("div", "pair"), [first, second] = model.results;
  const places = new Map(second.map((hit, at) => [hit.id, at])), ids = new Set(first.map(hit => hit.id));
  const rows = Math.max(first.length, second.length, 1);
  const lines = svg("svg", { viewBox: `0 0 100 ${rows}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  lines.style.height = `calc(var(--row) * ${rows})`;
  first.forEach((hit, at) => {
    if (!places.has(hit.id)) return;
    const left = at + .47, right = places.get(hit.id) + .47;
    const line = svg("path", { d: `M0 ${left} C50 ${left} 50 ${right} 100 ${right}` });
    line.dataset.picture = hit.id;
    lines.append(line);
  });
  const lists = [[first, hit => places.has(hit.id), "first wording"], [second, hit => ids.has(hit.id), "second wording"]].map(([hits, isShared, label]) => {
    const list = element("ol");
    list.setAttribute("aria-label", `Results of the ${label}, ${model.label}`);
    hits.forEach((hit, at) => list.append(tile(hits, at, isShared(hit))));
    return list;
  });
  made.append(lists[0], lines, lists[1]);
  return made;
}

function tile(hits, at, shared) {
  const hit = hits[at], item = element("li"), button = element("button", shared ? "tile shared" : "tile"), image = element("img");
  button.type = "button";
  button.dataset.picture = hit.id;
  image.src = `api/thumbnail/${hit.id}`;
  image.loading = "lazy";
  image.alt = `${at + 1}: ${hit.caption || hit.path}${shared ? " (shared)" : ""}`;
  button.title = hit.caption || hit.path;
  button.append(image, element("span", "rank", String(at + 1)));
  button.lastChild.setAttribute("aria-hidden", "true");
  if (fields.scores.checked) button.append(element("span", "score", hit.score.toFixed(3)));
  button.addEventListener("click", () => enlarge(hits, at));
  item.append(button);
  return item;
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
  byId("large-path").textContent = `${at + 1} of ${hits.length}, ${hit.path}, score ${hit.score.toFixed(3)}`;
  byId("previous").disabled = at === 0;
  byId("next").disabled = at === hits.length - 1;
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  const at = opened.at + by;
  if (at >= 0 && at < opened.hits.length) enlarge(opened.hits, at);
}

// ---- rewordings -------------------------------------------------------------------------------

async function suggest() {
  const text = fields.q.value.trim() || fields.second.value.trim(), place = byId("suggestions"), button = byId("suggest");
  if (!text) { place.replaceChildren(element("span", "faint", "Type a query first.")); return; }
  button.disabled = true;
  place.replaceChildren(element("span", "faint", "The language model is writing..."));
  try {
    const { rewordings } = await ask("api/reword", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ text: text.slice(0, 500) }),
    });
    place.replaceChildren(...rewordings.map(offer));
    if (!rewordings.length) place.replaceChildren(element("span", "faint", "No rewording kept the meaning. Try another query."));
  } catch (error) {
    place.replaceChildren(element("span", "faint", error.message));
  }
  button.disabled = false;
}

function offer(text) {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", () => { fields.second.value = text; search(true); });
  return made;
}

// ---- keys and events --------------------------------------------------------------------------

function move(event) {
  const tiles = [...columns.querySelectorAll("button.tile")], at = tiles.indexOf(document.activeElement);
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
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) { fields.q.focus(); event.preventDefault(); }
  if (event.key.startsWith("Arrow")) move(event);
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(() => search(false), 300);
}

function sendPicture(event) {
  const [file] = event.target.files;
  if (!file) return;
  event.target.value = "";
  if (file.size > 10 * 2 ** 20) return fail("The picture is larger than 10 MiB.");
  for (const id of ["q", "second", "plus", "minus"]) fields[id].value = "";
  setLike("");
  sent = file;
  history.pushState(null, "", location.pathname);
  searchPicture();
}

// The picture itself is not in the address, so it is kept for changes of the other controls.
function searchPicture() {
  return show(signal => ask(`api/search/picture?k=${fields.k.value}`, { method: "POST", body: sent, signal, headers: { "content-type": sent.type || "image/*" } }));
}

function listen() {
  byId("form").addEventListener("submit", event => { event.preventDefault(); search(true); });
  for (const id of ["q", "second", "plus", "minus"]) fields[id].addEventListener("input", soon);
  fields.k.addEventListener("change", () => search(true));
  fields.scores.addEventListener("change", () => { keep(true); if (shown) draw(shown.found, shown.milliseconds); });
  byId("models").addEventListener("change", () => search(true));
  byId("suggest").addEventListener("click", suggest);
  byId("retry").addEventListener("click", () => search(false));
  byId("unlike").addEventListener("click", () => { setLike(""); search(true); });
  byId("picture").addEventListener("change", sendPicture);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => dialog.close());
  byId("similar").addEventListener("click", () => {
    dialog.close();
    for (const id of ["q", "second", "plus", "minus"]) fields[id].value = "";
    setLike(opened.hits[opened.at].id);
    search(true);
  });
  columns.addEventListener("pointerover", pointed);
  columns.addEventListener("focusin", pointed);
  columns.addEventListener("pointerleave", () => mark(null));
  document.addEventListener("keydown", pressed);
  addEventListener("popstate", () => { sent = null; restore(); search(false); });
}

async function start() {
  listen();
  try {
    about = await ask("api/index");
  } catch (error) {
    return fail(error.message);
  }
  byId("about").textContent = `${about.pictures.toLocaleString("en")} pictures of ${about.name}`;
  byId("suggest").hidden = !about.rewording;
  byId("models").hidden = about.models.length < 2;
  byId("models").append(...about.models.map(label => {
    const outer = element("label"), box = element("input");
    box.type = "checkbox"; box.value = label; box.checked = true;
    outer.append(box, ` ${label}`);
    return outer;
  }));
  restore();
  search(false);
  if (!fields.q.value) fields.q.focus();  // a shared address shows its words from the start
}

start();
