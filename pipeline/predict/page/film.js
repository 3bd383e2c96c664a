"use strict";
// The video with the faces' boxes, its controls and keys.

const film = byId("film");
const boxes = byId("boxes");
let playable = true;

if (byId("film-bytes")) {
  const bytes = bytesOf(byId("film-bytes").textContent);
  byId("film-bytes").remove();
  film.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
}

function seek(time) {
  const wanted = Math.min(Math.max(0, time), duration);
  if (playable) film.currentTime = wanted;
  setTime(wanted);
}

// a little into the frame, so that rounding does not show the one before
const seekFrame = (frame) => {
  const number = Math.min(Math.max(0, frame), times.length - 1);
  const next = number + 1 < times.length ? times[number + 1] : duration;
  seek(times[number] + Math.min(0.002, (next - times[number]) / 4));
};

function togglePlay() {
  if (!playable) return;
  if (film.paused) film.play();
  else film.pause();
}

function follow() {
  if (!film.seeking) setTime(film.currentTime);
  if (!film.paused) requestAnimationFrame(follow);
}

film.addEventListener("play", () => {
  byId("play").textContent = "Pause";
  requestAnimationFrame(follow);
});
film.addEventListener("pause", () => {
  byId("play").textContent = "Play";
  setTime(film.currentTime);
});
for (const event of ["seeked", "loadeddata"]) film.addEventListener(event, tell);
// some browsers have the first image only after "loadeddata"
if ("requestVideoFrameCallback" in film) film.requestVideoFrameCallback(() => tell());
film.addEventListener("error", () => {
  playable = false;
  byId("unplayable").hidden = false;
  byId("play").disabled = true;
});

byId("play").addEventListener("click", togglePlay);
byId("speed").addEventListener("change", (event) => {
  film.playbackRate = Number(event.target.value);
});
byId("seek").max = duration;
byId("seek").addEventListener("input", (event) => seek(Number(event.target.value)));

document.addEventListener("keydown", (event) => {
  const within = event.target.tagName;
  if (event.ctrlKey || event.altKey || event.metaKey || within === "SELECT") return;
  const own = within === "BUTTON" || within === "INPUT" || within === "SUMMARY";
  const step = event.shiftKey ? 1 : 0;
  const keys = {
    " ": () => togglePlay(),
    ArrowLeft: () => (step ? seek(state.time - step) : seekFrame(state.frame - 1)),
    ArrowRight: () => (step ? seek(state.time + step) : seekFrame(state.frame + 1)),
    Home: () => seekFrame(0),
    End: () => seekFrame(times.length - 1),
    a: () => byId("attention").click(),
    l: () => byId("landmarks")?.click(),
  };
  const named = faces.findIndex((face) => String(face.id) === event.key);
  const act = named < 0 ? keys[event.key] : () => choose(named);
  // a button has its own meaning for Space, and so has the range
  if (!act || (own && (event.key === " " || event.target.type === "range"))) return;
  event.preventDefault();
  act();
});

function boxOf(face, row) {
  const [left, top, right, bottom] = face.boxes.subarray(4 * row, 4 * row + 4);
  return { left, top, right, bottom };
}

// landmarks of a smaller face would cover it
const LEAST_POINTS_PX = 64;

// the landmarks of a face that is shown with this side; `placed` puts fractions of the image there
function drawPoints(pen, face, row, side, placed) {
  const count = metadata.points;
  if (!count || !byId("landmarks").checked) return;
  const radius = Math.min(2.5, side / 130);
  for (const [far, color] of [[1.6 * radius, "#000"], [radius, face.color]]) {
    pen.fillStyle = color;
    for (let n = row * count; n < (row + 1) * count; n += 1) {
      const [x, y] = placed(face.points[2 * n], face.points[2 * n + 1]);
      if (Number.isNaN(x)) continue;
      pen.beginPath();
      pen.arc(x, y, far, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}

function drawBoxes() {
  const scale = window.devicePixelRatio || 1;
  const width = boxes.clientWidth;
  const height = boxes.clientHeight;
  boxes.width = Math.round(width * scale);
  boxes.height = Math.round(height * scale);
  const pen = boxes.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "600 13px system-ui, sans-serif";
  for (const face of faces) {
    const row = rowAt(face, state.frame);
    if (row < 0) continue;
    const box = boxOf(face, row);
    const chosen = face.place === state.face;
    const x = box.left * width;
    const y = box.top * height;
    const place = [x, y, (box.right - box.left) * width, (box.bottom - box.top) * height];
    // thinner around a small face, which stays visible
    const side = Math.max(place[2], place[3]);
    const line = (chosen ? 3 : 1.5) * Math.min(1, Math.max(0.4, side / 100));
    pen.setLineDash(face.coverage[row] < CONFIDENT_COVERAGE ? [2 * line + 1, 2 * line] : []);
    pen.lineWidth = 2 * line;
    pen.strokeStyle = "#000";
    pen.strokeRect(...place);
    pen.lineWidth = line;
    pen.strokeStyle = face.color;
    pen.strokeRect(...place);
    pen.setLineDash([]);
    if (side >= LEAST_POINTS_PX) drawPoints(pen, face, row, side, (x, y) => [x * width, y * height]);
    label(pen, face, row, x, y, width);
  }
}

function label(pen, face, row, x, y, width) {
  const text = `${face.id} ${main.saidOf(main.valuesAt(face, row))}`.trim();
  const wide = pen.measureText(text).width + 8;
  const left = Math.max(0, Math.min(x, width - wide));
  const top = Math.max(0, y - 19);
  pen.fillStyle = "#000c";
  pen.fillRect(left, top, wide, 18);
  pen.fillStyle = face.color;
  pen.fillRect(left, top, 4, 18);
  pen.fillStyle = "#fff";
  pen.fillText(text, left + 6, top + 13);
}

boxes.addEventListener("click", (event) => {
  const area = boxes.getBoundingClientRect();
  const x = (event.clientX - area.left) / area.width;
  const y = (event.clientY - area.top) / area.height;
  const hit = faces.find((face) => {
    const row = rowAt(face, state.frame);
    if (row < 0) return false;
    const box = boxOf(face, row);
    return box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
  });
  if (hit) choose(hit.place);
  else togglePlay();
});

listen(() => {
  byId("clock").textContent = `${seconds(state.time)} of ${seconds(duration)}`;
  byId("seek").value = state.time;
  drawBoxes();
});
window.addEventListener("resize", drawBoxes);
