"use strict";
// What was found, what is selected, and which moment is shown. Every part of the page listens.

const byId = (id) => document.getElementById(id);

const metadata = JSON.parse(byId("metadata").textContent);
const NO_REGIONS = 0xffffffff;
const CONFIDENT_COVERAGE = 0.5;

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// values from 0 to 1, NaN where there is none
function sharesOf(text) {
  const steps = new Uint16Array(bytesOf(text).buffer);
  return Float32Array.from(steps, (step) => (step === 65535 ? NaN : step / 65534));
}

// a task: names of its values, and what these are; see pipeline/predict/page/words.py
class Task {
  constructor(told, place) {
    Object.assign(this, told);
    this.place = place;
    this.zero = this.shareOf(0);
  }

  shareOf(value) {
    return (value - this.low) / (this.high - this.low);
  }

  // what is predicted in a row, as fractions of the scale; null where nothing is
  valuesAt(face, row) {
    if (row < 0) return null;
    const count = this.names.length;
    const values = face.shares[this.place].subarray(row * count, (row + 1) * count);
    return Number.isNaN(values[0]) ? null : values;
  }

  // what is emphasized: the most probable class, the units that are present, or all
  markedIn(values) {
    if (this.ofClasses) return new Set([values.indexOf(Math.max(...values))]);
    const least = (k) => (this.present === null ? 0 : this.shareOf(this.present[k]) - 1e-5);
    return new Set([...values.keys()].filter((k) => values[k] >= least(k)));
  }

  numberOf(share, digits = 2) {
    const text = (this.low + share * (this.high - this.low)).toFixed(digits);
    return this.low < 0 && Number(text) >= 0 ? `+${text.replace("-", "")}` : text;
  }

  // in a few words
  saidOf(values) {
    if (!values) return "";
    const marked = [...this.markedIn(values)];
    if (!marked.length) return "no action unit";
    const word = (k) => (this.presence ? this.short[k] : `${this.short[k]} ${this.numberOf(values[k])}`);
    return marked.map(word).join(", ");
  }
}

const tasks = metadata.tasks.map((told, place) => new Task(told, place));
// what the network was trained for first; boxes and headlines speak of it alone
const main = tasks[0];

const times = new Float32Array(bytesOf(metadata.times).buffer);

function faceOf(stored, place) {
  return {
    id: stored.id,
    place,
    color: metadata.colors[stored.id % metadata.colors.length],
    frames: new Uint32Array(bytesOf(stored.frames).buffer),
    boxes: new Float32Array(bytesOf(stored.boxes).buffer),
    confidence: sharesOf(stored.confidence),
    coverage: sharesOf(stored.coverage),
    shares: stored.shares.map(sharesOf),
    points: sharesOf(stored.points),
    angles: new Float32Array(bytesOf(stored.angles).buffer),
    quality: sharesOf(stored.quality),
    look: new Uint32Array(bytesOf(stored.look).buffer),
    where: new Float32Array(bytesOf(stored.where).buffer),
    timesUniform: new Float32Array(bytesOf(stored.timesUniform).buffer),
  };
}

const faces = metadata.faces.map(faceOf);
const usualStep = times.length > 1 ? times[times.length - 1] / (times.length - 1) : 0.04;
const duration = times[times.length - 1] + usualStep;

// the last place in a rising array whose value is not above `value`; -1: none
function placeOf(rising, value) {
  let low = 0;
  let high = rising.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rising[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// half a millisecond: a player's time is rounded
const frameAt = (time) => Math.max(0, placeOf(times, time + 0.0005));

// a face's row of a frame, -1 where it is not in the image
function rowAt(face, frame) {
  const row = placeOf(face.frames, frame);
  return row >= 0 && face.frames[row] === frame ? row : -1;
}

const seconds = (time) => `${time.toFixed(2)} s`;

const state = { time: 0, frame: 0, face: 0 };
const listeners = [];

function listen(listener) {
  listeners.push(listener);
}

function tell() {
  for (const listener of listeners) listener();
}

// the player's position
function setTime(time) {
  state.time = Math.min(Math.max(0, time), duration);
  state.frame = frameAt(state.time);
  tell();
}

function choose(place) {
  if (place < 0 || place >= faces.length) return;
  state.face = place;
  tell();
}
