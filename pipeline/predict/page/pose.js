"use strict";
// Below a face's timeline: yaw, pitch and roll of its head over the same span, in degrees.

const ANGLES = ["yaw", "pitch", "roll"];
const HIGH = 34;
// what the height of a line shows to either side; few heads turn further
const LIMIT = 45;

const angle = (face, row, k) => face.angles[row * ANGLES.length + k];

const degrees = (value) => (Number.isNaN(value) ? "–" : `${Math.round(value)}°`.replace(/^-0°/, "0°"));

class PoseLines {
  constructor(timeline) {
    this.timeline = timeline;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "pose";
    this.canvas.setAttribute("role", "img");
    this.known = timeline.face.angles.some((value) => !Number.isNaN(value));
    this.canvas.hidden = !this.known;
    timeline.section.append(this.canvas);
    this.canvas.addEventListener("click", (event) => {
      choose(timeline.face.place);
      seek(timeline.timeAt(event));
    });
  }

  draw() {
    if (!this.known) return;
    const { face, width, plotWidth } = this.timeline;
    const scale = window.devicePixelRatio || 1;
    const height = HIGH * ANGLES.length + 4;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.font = "13px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const now = rowAt(face, state.frame);
    ANGLES.forEach((name, k) => {
      const middle = (k + 0.5) * HIGH + 2;
      pen.fillStyle = "#4b5563";
      pen.fillText(`${name} ±${LIMIT}°`, 0, middle);
      pen.fillRect(NAMES, middle - 0.25, plotWidth, 0.5);
      pen.fillStyle = "#111827";
      pen.fillText(now < 0 ? "" : degrees(angle(face, now, k)), width - NUMBERS + 8, middle);
      this.line(pen, k, middle);
    });
    const x = this.timeline.xOf(state.time);
    if (x >= NAMES && x <= NAMES + plotWidth) pen.fillRect(x - 1, 0, 2, height);
    const said = ANGLES.map((name, k) => `${name} ${now < 0 ? "–" : degrees(angle(face, now, k))}`);
    this.canvas.setAttribute("aria-label", `Head of face ${face.id}: ${said.join(", ")}`);
  }

  line(pen, k, middle) {
    const { face } = this.timeline;
    const rows = this.rows();
    pen.strokeStyle = face.color;
    pen.lineWidth = 1.5;
    pen.beginPath();
    let before = -Infinity;
    for (const row of rows) {
      const value = angle(face, row, k);
      const time = times[face.frames[row]];
      if (Number.isNaN(value)) continue;
      const y = middle - (Math.min(Math.max(value, -LIMIT), LIMIT) / LIMIT) * (HIGH / 2 - 2);
      if (time - before > GAP_S) pen.moveTo(this.timeline.xOf(time), y);
      else pen.lineTo(this.timeline.xOf(time), y);
      before = time;
    }
    pen.stroke();
  }

  // the rows in view; of very many the evenly spaced ones, two per pixel
  rows() {
    const { frames } = this.timeline.face;
    const first = Math.max(0, placeOf(frames, frameAt(view.from)));
    const last = placeOf(frames, frameAt(view.from + view.span));
    const step = Math.max(1, Math.ceil((last - first + 1) / (2 * this.timeline.plotWidth)));
    const found = [];
    for (let row = first; row <= last; row += step) found.push(row);
    return found;
  }
}
