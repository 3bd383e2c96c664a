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

// what the values are: see pipeline/predict/page/words.py
const task = metadata.task;
const shareOf = (value) => (value - task.low) / (task.high - task.low);
const ZERO = shareOf(0);

const times = new Float32Array(bytesOf(metadata.times).buffer);
const classes = metadata.classes;

function faceOf(stored, place) {
  return {
    id: stored.id,
    place,
    color: metadata.colors[stored.id % metadata.colors.length],
    frames: new Uint32Array(bytesOf(stored.frames).buffer),
    boxes: new Float32Array(bytesOf(stored.boxes).buffer),
    confidence: sharesOf(stored.confidence),
    coverage: sharesOf(stored.coverage),
    shares: sharesOf(stored.shares),
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

// what is predicted in a row, as fractions of the scale; null where nothing is
function valuesAt(face, row) {
  if (row < 0) return null;
  const values = face.shares.subarray(row * classes.length, (row + 1) * classes.length);
  return Number.isNaN(values[0]) ? null : values;
}

// what is emphasized: the most probable class, the units that are present, or all
function markedIn(values) {
  if (task.ofClasses) return new Set([values.indexOf(Math.max(...values))]);
  const least = (k) => (task.present === null ? 0 : shareOf(task.present[k]) - 1e-5);
  return new Set([...values.keys()].filter((k) => values[k] >= least(k)));
}

function numberOf(share, digits = 2) {
  const text = (task.low + share * (task.high - task.low)).toFixed(digits);
  return task.low < 0 && Number(text) >= 0 ? `+${text.replace("-", "")}` : text;
}

// in a few words
function saidOf(values) {
  if (!values) return "";
  const marked = [...markedIn(values)];
  if (!marked.length) return "no action unit";
  const word = (k) => (task.presence ? task.short[k] : `${task.short[k]} ${numberOf(values[k])}`);
  return marked.map(word).join(", ");
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
