"use strict";
// What is predicted of a face over time, one line per class or target, and the current moment.
// Click to seek.

// higher where a curve has two sides
const LINE = task.low < 0 ? 44 : 22;
const WIDE = 700;
// what a unit's number stands for is beside it where there is space
const LONG_NAMES = task.long.some((name, k) => name !== task.short[k]) ? 216 : 96;
const NUMBERS = task.low < 0 ? 56 : 44;
let NAMES = 96;
const SPANS = [10, 60, 600].filter((span) => span * 1.5 < duration);
// a face that was away for longer is a gap
const GAP_S = Math.max(0.5, 3 * usualStep);
// a long video has more faces than fit on a page
const SHOWN = 12;

const view = { from: 0, span: duration };
const timelines = [];
const tip = byId("tip");

// faces that are in most frames first
const bySize = [...faces].sort((one, other) => other.frames.length - one.frames.length);

function summary(face) {
  const counts = new Map();
  const sums = new Float64Array(classes.length);
  let known = 0;
  for (let row = 0; row < face.frames.length; row += 1) {
    const values = valuesAt(face, row);
    if (!values) continue;
    known += 1;
    for (const k of markedIn(values)) counts.set(k, (counts.get(k) || 0) + 1);
    values.forEach((value, k) => {
      sums[k] += value;
    });
  }
  const seen = Math.round((100 * face.frames.length) / times.length);
  const said = known ? often(counts, face.frames.length, sums.map((sum) => sum / known)) : "not classified";
  return `in ${seen} % of the frames; ${said}`;
}

function often(counts, total, means) {
  if (!task.ofClasses && task.present === null) {
    return `mean: ${Array.from(means, (mean, k) => `${task.short[k]} ${numberOf(mean)}`).join(", ")}`;
  }
  const parts = [...counts].sort((one, other) => other[1] - one[1]).slice(0, task.ofClasses ? 3 : 6);
  const words = parts.map(([k, count]) => `${task.short[k]} ${Math.round((100 * count) / total)} %`);
  if (!words.length) return "no action unit is present";
  return `${task.ofClasses ? "most probable" : "present"}: ${words.join(", ")} of its frames`;
}

class Timeline {
  constructor(face) {
    this.face = face;
    this.section = document.createElement("section");
    this.section.className = "face";
    const header = document.createElement("header");
    this.button = document.createElement("button");
    this.button.type = "button";
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.style.background = face.color;
    this.button.append(chip, `Face ${face.id}`);
    this.button.addEventListener("click", () => choose(face.place));
    const words = document.createElement("span");
    words.className = "soft";
    words.textContent = summary(face);
    header.append(this.button, words);
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    const about = { role: "slider", "aria-label": `Timeline of face ${face.id}` };
    const range = { "aria-valuemin": 0, "aria-valuemax": duration.toFixed(2) };
    for (const [name, value] of Object.entries({ ...about, ...range })) {
      this.canvas.setAttribute(name, value);
    }
    this.section.append(header, this.canvas);
    this.pose = new PoseLines(this);
    this.ground = document.createElement("canvas");
    this.canvas.addEventListener("click", (event) => {
      choose(face.place);
      seek(this.timeAt(event));
    });
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => {
      tip.hidden = true;
    });
  }

  get width() {
    return this.canvas.clientWidth;
  }

  get plotWidth() {
    return Math.max(10, this.width - NAMES - NUMBERS);
  }

  xOf(time) {
    return NAMES + ((time - view.from) / view.span) * this.plotWidth;
  }

  // of a fraction of the scale, in the line of a class or target
  yOf(k, share) {
    return (k + 1) * LINE - share * (LINE - 3);
  }

  timeAt(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left - NAMES;
    return view.from + (Math.min(Math.max(0, x), this.plotWidth) / this.plotWidth) * view.span;
  }

  // curves and names, once for a view
  paint() {
    const scale = window.devicePixelRatio || 1;
    const height = LINE * classes.length + 18;
    this.canvas.style.height = `${height}px`;
    for (const canvas of [this.canvas, this.ground]) {
      canvas.width = Math.round(this.width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = this.ground.getContext("2d");
    pen.scale(scale, scale);
    pen.font = "13px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.fillStyle = "#4b5563";
    const names = NAMES === LONG_NAMES ? task.long : task.short;
    names.forEach((name, k) => {
      pen.fillText(shortened(pen, name), 0, (k + 0.5) * LINE);
      pen.fillRect(NAMES, this.yOf(k, ZERO) - 0.5, this.plotWidth, 0.5);
    });
    this.thresholds(pen);
    this.ticks(pen, classes.length * LINE);
    this.curves(pen);
  }

  // from where on a unit counts as present, if the run has chosen that
  thresholds(pen) {
    pen.fillStyle = "#d1d5db";
    task.limits.forEach((_, k) => {
      pen.fillRect(NAMES, this.yOf(k, shareOf(task.present[k])) - 0.5, this.plotWidth, 1);
    });
    pen.fillStyle = "#4b5563";
  }

  ticks(pen, base) {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600];
    const step = steps.find((one) => (one / view.span) * this.plotWidth > 70) || 7200;
    pen.textAlign = "center";
    const first = Math.ceil(view.from / step) * step;
    for (let time = first; time <= view.from + view.span; time += step) {
      pen.fillRect(this.xOf(time), base, 0.5, 4);
      pen.fillText(step < 1 ? `${time.toFixed(1)} s` : clock(time), this.xOf(time), base + 11);
    }
    pen.textAlign = "left";
  }

  // pixel by pixel the mean of the rows within it, or a piece of the line between two
  curves(pen) {
    const face = this.face;
    for (let x = 0; x < this.plotWidth; x += 1) {
      const from = view.from + (x / this.plotWidth) * view.span;
      const found = this.within(from, from + view.span / this.plotWidth);
      if (!found) continue;
      const marked = markedIn(found.values);
      found.values.forEach((value, k) => {
        pen.globalAlpha = found.coverage < CONFIDENT_COVERAGE ? 0.45 : 1;
        pen.fillStyle = marked.has(k) ? face.color : "#9ca3af";
        const top = this.yOf(k, Math.max(value, ZERO));
        pen.fillRect(NAMES + x, top, 1, this.yOf(k, Math.min(value, ZERO)) - top);
      });
    }
    pen.globalAlpha = 1;
  }

  within(from, to) {
    const { frames, coverage } = this.face;
    let first = placeOf(frames, frameAt(from));
    const last = placeOf(frames, frameAt(to));
    if (last < 0) return null;
    if (first < last) first += 1;
    first = Math.max(0, first);
    if (from - times[frames[last]] > GAP_S) return null;
    const sums = new Float64Array(classes.length);
    let covered = 0;
    let count = 0;
    // of very many the evenly spaced ones
    const step = Math.max(1, Math.floor((last - first + 1) / 64));
    for (let row = first; row <= last; row += step) {
      const values = valuesAt(this.face, row);
      if (!values) continue;
      for (let k = 0; k < classes.length; k += 1) sums[k] += values[k];
      covered += coverage[row];
      count += 1;
    }
    if (!count) return null;
    return { values: Array.from(sums, (sum) => sum / count), coverage: covered / count };
  }

  // the moment, on top of what was painted
  draw() {
    // in a frame that is not laid out yet; its first size is a resize, which paints
    if (!this.ground.width) return;
    const scale = window.devicePixelRatio || 1;
    const pen = this.canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.drawImage(this.ground, 0, 0);
    pen.scale(scale, scale);
    this.pose.draw();
    const row = rowAt(this.face, state.frame);
    const values = valuesAt(this.face, row);
    const marked = values ? markedIn(values) : new Set();
    pen.textBaseline = "middle";
    pen.fillStyle = "#111827";
    values?.forEach((value, k) => {
      pen.font = `${marked.has(k) ? 700 : 400} 13px system-ui, sans-serif`;
      pen.fillText(numberOf(value), this.width - NUMBERS + 8, (k + 0.5) * LINE);
    });
    const x = this.xOf(state.time);
    if (x >= NAMES && x <= NAMES + this.plotWidth) pen.fillRect(x - 1, 0, 2, LINE * classes.length + 4);
    const said = saidOf(values) || "not in the image";
    this.canvas.setAttribute("aria-valuenow", state.time.toFixed(2));
    this.canvas.setAttribute("aria-valuetext", `${seconds(state.time)}: ${said}`);
    this.button.setAttribute("aria-pressed", String(this.face.place === state.face));
  }

  hover(event) {
    if (event.pointerType === "touch") return;
    const time = this.timeAt(event);
    const row = rowAt(this.face, frameAt(time));
    const lines = [`face ${this.face.id} at ${seconds(time)}`];
    if (row < 0) lines.push("not in the image");
    else {
      const values = valuesAt(this.face, row);
      task.long.forEach((name, k) => lines.push(`${values ? numberOf(values[k], 3) : "–"}  ${name}`));
      lines.push(`${this.face.coverage[row].toFixed(2)}  coverage`);
    }
    showTip(event, lines);
  }
}

// beside the pointer, within the window
function showTip(event, lines) {
  tip.textContent = lines.join("\n");
  tip.hidden = false;
  const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
  const under = event.clientY + 16;
  const fits = under + tip.offsetHeight <= window.innerHeight;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, fits ? under : event.clientY - tip.offsetHeight - 10)}px`;
}

function shortened(pen, name) {
  let text = name;
  while (text && pen.measureText(text).width > NAMES - 8) text = text.slice(0, -1);
  return text === name ? name : `${text.slice(0, -1)}…`;
}

function clock(time) {
  if (duration < 90) return `${Math.round(time)} s`;
  const whole = Math.round(time);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return (parts[0] ? parts : parts.slice(1))
    .map((part, place) => (place ? String(part).padStart(2, "0") : part))
    .join(":");
}

function show(span) {
  view.span = span;
  view.from = Math.min(Math.max(0, state.time - span / 2), duration - span);
  for (const button of byId("zoom").children) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.span) === span));
  }
  repaint();
}

function chooseNames() {
  NAMES = document.documentElement.clientWidth < WIDE ? 96 : LONG_NAMES;
}

function repaint() {
  chooseNames();
  for (const timeline of timelines) {
    timeline.paint();
    timeline.draw();
  }
}

// the view goes with the moment
function followView() {
  if (state.time >= view.from && state.time <= view.from + view.span) return;
  view.from = Math.min(Math.max(0, state.time - view.span * 0.1), duration - view.span);
  for (const timeline of timelines) timeline.paint();
}

function addTimelines(some) {
  chooseNames();
  for (const face of some) {
    const timeline = new Timeline(face);
    timelines.push(timeline);
    byId("timelines").append(timeline.section);
    timeline.paint();
    timeline.draw();
  }
}

addTimelines(bySize.slice(0, SHOWN));
if (bySize.length > SHOWN) {
  const more = document.createElement("button");
  more.type = "button";
  more.textContent = `Show ${bySize.length - SHOWN} more faces`;
  more.addEventListener("click", () => {
    more.remove();
    addTimelines(bySize.slice(SHOWN));
  });
  byId("timelines").after(more);
}
if (SPANS.length) {
  for (const span of [duration, ...SPANS.reverse()]) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.span = span;
    button.textContent = span === duration ? "All" : clock(span);
    button.setAttribute("aria-pressed", String(span === duration));
    button.addEventListener("click", () => show(span));
    byId("zoom").append(button);
  }
}
listen(() => {
  followView();
  for (const timeline of timelines) timeline.draw();
});
window.addEventListener("resize", repaint);
