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
    probabilities: sharesOf(stored.probabilities),
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

function bestOf(face, row) {
  const first = row * classes.length;
  let best = -1;
  for (let k = 0; k < classes.length; k += 1) {
    const value = face.probabilities[first + k];
    if (!Number.isNaN(value) && (best < 0 || value > face.probabilities[first + best])) best = k;
  }
  return best;
}

const probability = (face, row, k) => face.probabilities[row * classes.length + k];

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
