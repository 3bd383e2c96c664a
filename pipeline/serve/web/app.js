"use strict";
// Whatever comes from a file's name or from the service is set as text, never as markup.

const $ = (id) => document.getElementById(id);
const ENDED = ["done", "failed", "cancelled"];
const WORDS = { uploading: "uploading", queued: "waiting", running: "predicting", done: "done", failed: "failed", cancelled: "canceled" };
const SAVED = "arpgnet-jobs";
const POLL_MS = 500;
let service = null;
let shown = null;

class Answer extends Error {
  constructor(status, line) { super(line); this.status = status; }
}

async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Answer(0, "the service does not respond: is it still running?");
  }
  const body = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok) return body;
  if (response.status === 401 && address !== "/api/session") showEntry();
  throw new Answer(response.status, body?.error ?? `the service responded with status ${response.status}`);
}

// ---- the token ---------------------------------------------------------------------------------

function showEntry() {
  $("entry").hidden = false;
  $("work").hidden = true;
  $("token").focus();
}

$("entry").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("entry-error").textContent = "";
  try {
    const headers = { Authorization: `Bearer ${$("token").value.trim()}` };
    await ask("/api/session", { method: "POST", headers });
    $("token").value = "";
    await begin();
  } catch (error) {
    $("entry-error").textContent = error.message;
  }
});

// ---- jobs --------------------------------------------------------------------------------------

function remember() {
  const ids = [...$("jobs").children].map((item) => item.dataset.id).filter(Boolean);
  sessionStorage.setItem(SAVED, JSON.stringify(ids));
}

function addCard(name) {
  const card = $("job").content.firstElementChild.cloneNode(true);
  card.querySelector(".name").textContent = name;
  $("jobs").prepend(card);
  return card;
}

function say(card, state, text, share) {
  card.className = `job ${state}`;
  const badge = card.querySelector(".state");
  if (badge.textContent !== WORDS[state]) badge.textContent = WORDS[state];
  card.querySelector(".says").textContent = text;
  const bar = card.querySelector("progress");
  bar.hidden = ENDED.includes(state);
  bar.setAttribute("aria-label", `${WORDS[state]}: ${card.querySelector(".name").textContent}`);
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

function button(card, word, action, main = false) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = word;
  if (main) made.className = "main";
  made.addEventListener("click", action);
  card.querySelector(".actions").append(made);
  return made;
}

function link(card, word, address) {
  const made = document.createElement("a");
  made.textContent = word;
  made.href = address;
  made.target = "_blank";
  made.rel = "noopener";
  card.querySelector(".actions").append(made);
  return made;
}

const megabytes = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${+(bytes / 1e6).toFixed(1)} MB`);

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${+(seconds / 3600).toFixed(1)} h`;
}

function describe(job) {
  if (job.state === "queued") return job.ahead ? `${job.ahead} ahead in the queue` : "next in the queue";
  if (job.state === "running") {
    if (!job.total || !job.frames) return "opening the video";
    if (job.frames === job.total) return `${plural(job.total, "frame")}; writing the page`;
    const rate = job.frames_per_second ? `, ${job.frames_per_second.toFixed(0)} frames per second` : "";
    const left = job.seconds_left !== null ? `, ${duration(job.seconds_left)} left` : "";
    return `${job.frames} of ${plural(job.total, "frame")}${rate}${left}`;
  }
  if (job.state === "done") return `${plural(job.total, "frame")}, ${plural(job.faces, "face")}`;
  return job.error;
}

const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function file(job, kind) {
  return `/api/jobs/${job.id}/files/${job.files[kind].name}`;
}

async function follow(card, job) {
  card.dataset.id = job.id;
  remember();
  card.querySelector(".actions").replaceChildren();
  const cancel = button(card, "Cancel", async () => {
    cancel.disabled = true;
    await ask(`/api/jobs/${job.id}`, { method: "DELETE" }).catch(() => null);
  });
  while (!ENDED.includes(job.state)) {
    say(card, job.state, describe(job), job.state === "running" && job.total ? job.frames / job.total : null);
    await new Promise((done) => setTimeout(done, POLL_MS));
    try {
      job = await ask(`/api/jobs/${job.id}`);
    } catch (error) {
      if (error.status === 404 || error.status === 401) return drop(card, error.status === 404);
      card.querySelector(".says").textContent = error.message;
    }
  }
  finish(card, job);
}

function finish(card, job) {
  const hadFocus = card.contains(document.activeElement);
  say(card, job.state, describe(job), 1);
  card.querySelector(".actions").replaceChildren();
  if (job.files.page) {
    button(card, "View result", () => view(job), true);
    link(card, "Open in new tab", file(job, "page"));
  }
  if (job.files.table) {
    link(card, `Table (${job.wanted.form}, ${megabytes(job.files.table.bytes)})`, file(job, "table")).download = "";
  }
  if (job.files.overlay) link(card, `Video with boxes (${megabytes(job.files.overlay.bytes)})`, file(job, "overlay"));
  button(card, "Remove", async () => {
    await ask(`/api/jobs/${job.id}`, { method: "DELETE" }).catch(() => null);
    if (shown === job.id) close();
    drop(card, true);
    $("file").focus();
  });
  if (hadFocus) card.querySelector("button").focus();
  if (job.state === "done" && shown === null) view(job);
}

function drop(card, forget) {
  card.remove();
  if (forget) remember();
}

// ---- the result --------------------------------------------------------------------------------

function view(job) {
  shown = job.id;
  $("frame").title = `Result: ${job.name}`;
  $("frame").src = file(job, "page");
  $("view").hidden = false;
}

function close() {
  shown = null;
  $("view").hidden = true;
  $("frame").src = "about:blank";
}

$("close").addEventListener("click", close);
$("frame").addEventListener("load", () => {
  const inside = $("frame").contentDocument?.documentElement;
  if (!inside || !shown) return;
  // as high as its content, so that there is only one scroll bar
  const fit = () => {
    const main = inside.querySelector("main");
    if (main) $("frame").style.height = `${Math.max(400, main.offsetHeight + 8)}px`;
  };
  new ResizeObserver(fit).observe(inside.querySelector("main") ?? inside);
  fit();
});

// ---- upload ------------------------------------------------------------------------------------

function query() {
  const words = new URLSearchParams({ format: $("format").value });
  for (const name of ["landmarks", "overlay", "blur_faces"]) words.set(name, String($(name).checked));
  return words;
}

function upload(video) {
  const card = addCard(video.name);
  const request = new XMLHttpRequest();
  const failed = (line) => {
    say(card, "failed", line, 1);
    card.querySelector(".actions").replaceChildren();
    button(card, "Remove", () => card.remove());
  };
  say(card, "uploading", "", 0);
  button(card, "Cancel", () => request.abort());
  if (video.size > service.upload_bytes) {
    return failed(`the file has ${megabytes(video.size)}; the limit is ${megabytes(service.upload_bytes)}`);
  }
  return new Promise((done) => {
    request.upload.addEventListener("progress", (event) => {
      say(card, "uploading", `${megabytes(event.loaded)} of ${megabytes(video.size)}`, event.loaded / video.size);
    });
    request.addEventListener("loadend", () => {
      const body = parse(request.responseText);
      if (request.status === 202) follow(card, body);
      else if (request.status === 0) failed("the upload was interrupted");
      else failed(body?.error ?? `the service responded with status ${request.status}`);
      if (request.status === 401) showEntry();
      done();
    });
    request.open("POST", `/api/jobs?${query()}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-File-Name", encodeURIComponent(video.name));
    request.send(video);
  });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function uploadAll(videos) {
  $("error").textContent = "";
  // one after the other: each gets the whole bandwidth
  for (const video of [...videos]) await upload(video);
}

$("file").addEventListener("change", async () => {
  const chosen = [...$("file").files];
  $("file").value = "";
  await uploadAll(chosen);
});
addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
addEventListener("drop", (event) => {
  // anywhere on the page: a video that misses must not replace the page
  event.preventDefault();
  $("drop").classList.remove("over");
  if (service) uploadAll(event.dataTransfer.files);
});

$("path-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("error").textContent = "";
  try {
    const body = JSON.stringify({ path: $("path").value });
    const headers = { "Content-Type": "application/json" };
    const job = await ask(`/api/paths?${query()}`, { method: "POST", headers, body });
    follow(addCard(job.name), job);
  } catch (error) {
    $("error").textContent = error.message;
  }
});

// ---- begin -------------------------------------------------------------------------------------

async function begin() {
  service = await ask("/api/service");
  $("entry").hidden = true;
  $("work").hidden = false;
  const title = `${service.title[0].toUpperCase()}${service.title.slice(1)} in video`;
  document.title = title;
  document.querySelector("h1").textContent = title;
  const tasks = [{ scale: service.scale, outputs: service.classes }, ...service.also];
  const said = tasks.map((task) => task.scale || task.outputs.join(", ")).join(". Also ");
  $("about").textContent = `Predictions for every face, frame by frame, by the network ${service.model}: ${said}.`;
  $("warning").textContent = service.warning;
  $("warning").hidden = !service.warning;
  $("limits").textContent = `Up to ${megabytes(service.upload_bytes)} and ${duration(service.longest_s)}.`;
  $("fate").textContent =
    `It is sent to the computer that runs this service, ${location.host}, and nowhere else. It is deleted there as soon as the prediction is finished. ` +
    `The table and the page, which contains a smaller copy of the video, are available for ${duration(service.keep_s)} to anyone who has the job's address` +
    (service.token ? " and the token" : "") +
    (service.kept ? "; the files stay on that computer afterwards. Remove deletes them immediately." : "; then they are deleted, or earlier when the service stops. Remove deletes them immediately.");
  if (!$("format").options.length) $("format").append(...service.formats.map((name) => new Option(name, name)));
  $("format").value = "csv";
  $("path-form").hidden = !service.paths;
  if ($("jobs").children.length) return;
  for (const id of (parse(sessionStorage.getItem(SAVED)) ?? []).reverse()) {
    const job = await ask(`/api/jobs/${encodeURIComponent(id)}`).catch(() => null);
    if (job) follow(addCard(job.name), job);
  }
}

begin().catch((error) => {
  if (error.status !== 401) $("about").textContent = error.message;
});
