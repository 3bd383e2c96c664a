"use strict";
// The selected face at this moment: its image with the network's attention, and its numbers.

const look = byId("look");
const heat = document.createElement("canvas");
const CELLS = 48;
// as in the overlay: see pipeline/predict/overlay/heat.py
const AROUND = 0.15;
const REACH = 0.1;
const TOP = 1.5;
const OPACITY = 0.7;
const MORE = [213, 94, 0];
const LESS = [0, 114, 178];
heat.width = CELLS;
heat.height = CELLS;

const barOf = (task, k) => {
  const row = document.querySelectorAll(".bars")[task.place].tBodies[0].insertRow();
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = task.long[k];
  if (task.limits.length) {
    const limit = document.createElement("span");
    limit.className = "limit";
    limit.textContent = ` ${task.limits[k]}`;
    head.append(limit);
  }
  const bar = document.createElement("div");
  bar.className = "bar";
  bar.append(document.createElement("i"));
  row.append(head);
  row.insertCell().append(bar);
  return { row, fill: bar.firstChild, number: row.insertCell() };
};
const bars = tasks.map((task) => task.long.map((_, k) => barOf(task, k)));

// a face's regions in a row: centers as a fraction of the box, and attention relative to uniform
function regionsOf(face, row) {
  const number = row < 0 ? NO_REGIONS : face.look[row];
  if (number === NO_REGIONS) return [];
  const count = metadata.regions.length;
  const found = [];
  for (let n = 0; n < count; n += 1) {
    const times = face.timesUniform[number * count + n];
    if (!(times > 0)) continue;
    const place = 2 * (number * count + n);
    found.push({ name: metadata.regions[n], x: face.where[place], y: face.where[place + 1], times });
  }
  return found;
}

function drawHeat(regions) {
  const pen = heat.getContext("2d");
  const image = pen.createImageData(CELLS, CELLS);
  const line = Array.from({ length: CELLS }, (_, n) => -AROUND + ((n + 0.5) / CELLS) * (1 + 2 * AROUND));
  const near = (a, b) => Math.exp(-((a - b) ** 2) / (2 * REACH ** 2));
  const nearX = regions.map((region) => line.map((x) => near(x, region.x)));
  const nearY = regions.map((region) => line.map((y) => near(y, region.y)));
  const logs = regions.map((region) => Math.log(region.times) / Math.log(TOP));
  for (let y = 0; y < CELLS; y += 1) {
    for (let x = 0; x < CELLS; x += 1) {
      let weight = 0;
      let sum = 0;
      regions.forEach((_, n) => {
        const own = nearX[n][x] * nearY[n][y];
        weight += own;
        sum += own * logs[n];
      });
      const level = sum / Math.max(weight, 1e-9);
      const alpha = OPACITY * Math.min(1, weight) * Math.min(1, Math.abs(level));
      image.data.set([...(level > 0 ? MORE : LESS), Math.round(255 * alpha)], 4 * (y * CELLS + x));
    }
  }
  pen.putImageData(image, 0, 0);
}

// where the box and what is around it lie on the canvas, without distortion
function spotOf(box) {
  const wide = (box.right - box.left) * boxes.clientWidth;
  const high = (box.bottom - box.top) * boxes.clientHeight;
  const scale = look.width / Math.max(wide, high, 1e-9);
  const [width, height] = [wide * scale, high * scale];
  return [(look.width - width) / 2, (look.height - height) / 2, width, height];
}

function drawLook(face, row) {
  const pen = look.getContext("2d");
  pen.clearRect(0, 0, look.width, look.height);
  if (row < 0) return;
  const box = boxOf(face, row);
  const spot = spotOf(box);
  if (playable && film.readyState >= 2) {
    const width = box.right - box.left;
    const height = box.bottom - box.top;
    const x = (box.left - AROUND * width) * film.videoWidth;
    const y = (box.top - AROUND * height) * film.videoHeight;
    const wide = (1 + 2 * AROUND) * width * film.videoWidth;
    const high = (1 + 2 * AROUND) * height * film.videoHeight;
    pen.drawImage(film, x, y, wide, high, ...spot);
  }
  const regions = regionsOf(face, row);
  if (regions.length && byId("attention").checked) {
    drawHeat(regions);
    pen.drawImage(heat, ...spot);
  }
  const inSpot = (value, low, high, first, length) =>
    first + (((value - low) / (high - low) + AROUND) / (1 + 2 * AROUND)) * length;
  drawPoints(pen, face, row, Math.max(spot[2], spot[3]) / (1 + 2 * AROUND), (x, y) => [
    inSpot(x, box.left, box.right, spot[0], spot[2]),
    inSpot(y, box.top, box.bottom, spot[1], spot[3]),
  ]);
}

function words(face, row) {
  const regions = regionsOf(face, row);
  if (!metadata.regions.length || !faces.some((one) => one.where.length)) {
    return "This network has no attention over regions.";
  }
  const top = [...regions].sort((one, other) => other.times - one.times).slice(0, 2);
  if (!top.length) return "";
  const said = top.map((one) => `${one.name} (${one.times.toFixed(2)})`);
  const limit = "Attention shows where the network reads, not why it predicts.";
  return `Most attention, relative to uniform: ${said.join("; ")}. ${limit}`;
}

// of a class its name alone: the numbers are below it
const headlineOf = (values) =>
  main.ofClasses ? main.names[[...main.markedIn(values)][0]] : main.saidOf(values);

function drawBars(task, face, row) {
  const values = task.valuesAt(face, row);
  const marked = values ? task.markedIn(values) : new Set();
  bars[task.place].forEach(({ row: line, fill, number }, k) => {
    const value = values ? values[k] : task.zero;
    line.className = marked.has(k) ? "best" : "";
    fill.style.marginLeft = `${100 * Math.min(value, task.zero)}%`;
    fill.style.width = `${100 * Math.abs(value - task.zero)}%`;
    fill.style.background = marked.has(k) ? face.color : "#9ca3af";
    number.textContent = values ? task.numberOf(value, 3) : "–";
  });
}

function drawMoment() {
  const face = faces[state.face];
  if (!face) return;
  const row = rowAt(face, state.frame);
  const values = main.valuesAt(face, row);
  byId("who").textContent = `Face ${face.id}${values ? `: ${headlineOf(values)}` : ""}`;
  byId("moment").textContent =
    row < 0
      ? `frame ${state.frame}: not in the image`
      : `frame ${state.frame}, ${seconds(times[state.frame])} · coverage ${face.coverage[row].toFixed(2)} · detector ${face.confidence[row].toFixed(2)} · quality ${face.quality[row].toFixed(2)}`.replace("NaN", "–");
  for (const task of tasks) drawBars(task, face, row);
  byId("look-words").textContent = words(face, row);
  drawLook(face, row);
}

// the region under the pointer
function regionAt(event) {
  const face = faces[state.face];
  const row = face ? rowAt(face, state.frame) : -1;
  const regions = face ? regionsOf(face, row) : [];
  if (!regions.length) return null;
  const area = look.getBoundingClientRect();
  const [left, top, width, height] = spotOf(boxOf(face, row));
  const inBox = (pixel, first, length) => -AROUND + ((pixel - first) / length) * (1 + 2 * AROUND);
  const x = inBox(((event.clientX - area.left) / area.width) * look.width, left, width);
  const y = inBox(((event.clientY - area.top) / area.height) * look.height, top, height);
  const far = (region) => Math.hypot(region.x - x, region.y - y);
  return regions.reduce((one, other) => (far(other) < far(one) ? other : one));
}

look.addEventListener("pointermove", (event) => {
  const region = regionAt(event);
  if (region) showTip(event, [region.name, `${region.times.toFixed(2)} × uniform attention`]);
  else tip.hidden = true;
});
look.addEventListener("pointerleave", () => {
  tip.hidden = true;
});
byId("attention").addEventListener("change", drawMoment);
byId("landmarks")?.addEventListener("change", tell);
listen(drawMoment);
setTime(0);
