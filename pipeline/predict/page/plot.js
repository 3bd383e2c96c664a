"use strict";
// What is predicted of a face in one task over time, one line per class or target, and the current
// moment. Click to seek.

class Plot {
  // `last`: the times stand below the last plot of a face
  constructor(timeline, task, last) {
    this.timeline = timeline;
    this.task = task;
    this.last = last;
    // higher where a curve has two sides
    this.line = task.low < 0 ? 44 : 22;
    this.canvas = document.createElement("canvas");
    this.ground = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    const of = task === main ? "" : `, ${task.title}`;
    const about = { role: "slider", "aria-label": `Timeline of face ${timeline.face.id}${of}` };
    const range = { "aria-valuemin": 0, "aria-valuemax": duration.toFixed(2) };
    for (const [name, value] of Object.entries({ ...about, ...range })) {
      this.canvas.setAttribute(name, value);
    }
    this.canvas.addEventListener("click", (event) => {
      choose(timeline.face.place);
      seek(timeline.timeAt(event));
    });
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => {
      tip.hidden = true;
    });
  }

  // of the lines alone
  get height() {
    return this.line * this.task.names.length;
  }

  // of a fraction of the scale, in the line of a class or target
  yOf(k, share) {
    return (k + 1) * this.line - share * (this.line - 3);
  }

  // curves and names, once for a view
  paint() {
    const { task } = this;
    const { width, plotWidth } = this.timeline;
    const scale = window.devicePixelRatio || 1;
    const height = this.height + (this.last ? 18 : 2);
    this.canvas.style.height = `${height}px`;
    for (const canvas of [this.canvas, this.ground]) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = this.ground.getContext("2d");
    pen.scale(scale, scale);
    pen.font = "13px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.fillStyle = "#4b5563";
    const names = NAMES === LONG_NAMES ? task.long : task.short;
    names.forEach((name, k) => {
      pen.fillText(shortened(pen, name), 0, (k + 0.5) * this.line);
      pen.fillRect(NAMES, this.yOf(k, task.zero) - 0.5, plotWidth, 0.5);
    });
    this.thresholds(pen);
    if (this.last) this.ticks(pen, this.height);
    this.curves(pen);
  }

  // from where on a unit counts as present, if the run has chosen that
  thresholds(pen) {
    pen.fillStyle = "#d1d5db";
    this.task.limits.forEach((_, k) => {
      pen.fillRect(NAMES, this.yOf(k, this.task.shareOf(this.task.present[k])) - 0.5, this.timeline.plotWidth, 1);
    });
    pen.fillStyle = "#4b5563";
  }

  ticks(pen, base) {
    const { plotWidth } = this.timeline;
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600];
    const step = steps.find((one) => (one / view.span) * plotWidth > 70) || 7200;
    pen.textAlign = "center";
    const first = Math.ceil(view.from / step) * step;
    for (let time = first; time <= view.from + view.span; time += step) {
      pen.fillRect(this.timeline.xOf(time), base, 0.5, 4);
      pen.fillText(step < 1 ? `${time.toFixed(1)} s` : clock(time), this.timeline.xOf(time), base + 11);
    }
    pen.textAlign = "left";
  }

  // pixel by pixel the mean of the rows within it, or a piece of the line between two
  curves(pen) {
    const { task } = this;
    const { face, plotWidth } = this.timeline;
    for (let x = 0; x < plotWidth; x += 1) {
      const from = view.from + (x / plotWidth) * view.span;
      const found = this.within(from, from + view.span / plotWidth);
      if (!found) continue;
      const marked = task.markedIn(found.values);
      found.values.forEach((value, k) => {
        pen.globalAlpha = found.coverage < CONFIDENT_COVERAGE ? 0.45 : 1;
        pen.fillStyle = marked.has(k) ? face.color : "#9ca3af";
        const top = this.yOf(k, Math.max(value, task.zero));
        pen.fillRect(NAMES + x, top, 1, this.yOf(k, Math.min(value, task.zero)) - top);
      });
    }
    pen.globalAlpha = 1;
  }

  within(from, to) {
    const { task } = this;
    const { face } = this.timeline;
    const { frames, coverage } = face;
    let first = placeOf(frames, frameAt(from));
    const last = placeOf(frames, frameAt(to));
    if (last < 0) return null;
    if (first < last) first += 1;
    first = Math.max(0, first);
    if (from - times[frames[last]] > GAP_S) return null;
    const sums = new Float64Array(task.names.length);
    let covered = 0;
    let count = 0;
    // of very many the evenly spaced ones
    const step = Math.max(1, Math.floor((last - first + 1) / 64));
    for (let row = first; row <= last; row += step) {
      const values = task.valuesAt(face, row);
      if (!values) continue;
      for (let k = 0; k < task.names.length; k += 1) sums[k] += values[k];
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
    const { task, timeline } = this;
    const scale = window.devicePixelRatio || 1;
    const pen = this.canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.drawImage(this.ground, 0, 0);
    pen.scale(scale, scale);
    const values = task.valuesAt(timeline.face, rowAt(timeline.face, state.frame));
    const marked = values ? task.markedIn(values) : new Set();
    pen.textBaseline = "middle";
    pen.fillStyle = "#111827";
    values?.forEach((value, k) => {
      pen.font = `${marked.has(k) ? 700 : 400} 13px system-ui, sans-serif`;
      pen.fillText(task.numberOf(value), timeline.width - NUMBERS + 8, (k + 0.5) * this.line);
    });
    const x = timeline.xOf(state.time);
    if (x >= NAMES && x <= NAMES + timeline.plotWidth) pen.fillRect(x - 1, 0, 2, this.height + 4);
    const said = task.saidOf(values) || "not in the image";
    this.canvas.setAttribute("aria-valuenow", state.time.toFixed(2));
    this.canvas.setAttribute("aria-valuetext", `${seconds(state.time)}: ${said}`);
  }

  hover(event) {
    if (event.pointerType === "touch") return;
    const { task } = this;
    const { face } = this.timeline;
    const time = this.timeline.timeAt(event);
    const row = rowAt(face, frameAt(time));
    const lines = [`face ${face.id} at ${seconds(time)}`];
    if (row < 0) lines.push("not in the image");
    else {
      const values = task.valuesAt(face, row);
      task.long.forEach((name, k) => lines.push(`${values ? task.numberOf(values[k], 3) : "–"}  ${name}`));
      lines.push(`${face.coverage[row].toFixed(2)}  coverage`);
    }
    showTip(event, lines);
  }
}
