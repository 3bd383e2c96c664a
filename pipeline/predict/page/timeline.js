"use strict";
// A face's row on the page: a plot for each task, one below the other, and its head's turns.

const WIDE = 700;
// what a unit's number stands for is beside it where there is space
const LONG_NAMES = tasks.some((task) => task.long.some((name, k) => name !== task.short[k])) ? 216 : 96;
const NUMBERS = tasks.some((task) => task.low < 0) ? 56 : 44;
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

// how a face is over all of the video, in one task
function summary(task, face) {
  const counts = new Map();
  const sums = new Float64Array(task.names.length);
  let known = 0;
  for (let row = 0; row < face.frames.length; row += 1) {
    const values = task.valuesAt(face, row);
    if (!values) continue;
    known += 1;
    for (const k of task.markedIn(values)) counts.set(k, (counts.get(k) || 0) + 1);
    values.forEach((value, k) => {
      sums[k] += value;
    });
  }
  if (!known) return "not classified";
  return often(task, counts, face.frames.length, sums.map((sum) => sum / known));
}

function often(task, counts, total, means) {
  if (!task.ofClasses && task.present === null) {
    return `mean: ${Array.from(means, (mean, k) => `${task.short[k]} ${task.numberOf(mean)}`).join(", ")}`;
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
    const seen = Math.round((100 * face.frames.length) / times.length);
    header.append(this.button, soft("span", `in ${seen} % of the frames; ${summary(main, face)}`));
    this.section.append(header);
    this.plots = tasks.map((task) => new Plot(this, task, task === tasks[tasks.length - 1]));
    for (const plot of this.plots) {
      const { task } = plot;
      if (task !== main) this.section.append(soft("p", `${capital(task.title)}: ${summary(task, face)}`));
      this.section.append(plot.canvas);
    }
    this.pose = new PoseLines(this);
  }

  get canvas() {
    return this.plots[0].canvas;
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

  timeAt(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left - NAMES;
    return view.from + (Math.min(Math.max(0, x), this.plotWidth) / this.plotWidth) * view.span;
  }

  paint() {
    for (const plot of this.plots) plot.paint();
  }

  draw() {
    for (const plot of this.plots) plot.draw();
    if (this.width) this.pose.draw();
    this.button.setAttribute("aria-pressed", String(this.face.place === state.face));
  }
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function soft(tag, text) {
  const made = document.createElement(tag);
  made.className = "soft";
  made.textContent = text;
  return made;
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
