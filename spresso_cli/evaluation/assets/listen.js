"use strict";

/* All versions of a sound run in step from one start time, each through a gain of its own; switching
   moves a gain, so the position is kept to the sample. Buffers are decoded at the first play. */

const FADE = 0.008; // seconds: short enough to be a switch, long enough not to click
const SEEK = 0.5;
let context = null;
let current = null;

function bytesOf(uri) {
  const text = atob(uri.slice(uri.indexOf(",") + 1));
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes.buffer;
}

class Sound {
  constructor(section) {
    this.section = section;
    this.rows = [...section.querySelectorAll(".version")];
    this.playButton = section.querySelector(".play");
    this.loopButton = section.querySelector(".loop");
    this.clock = section.querySelector(".time");
    this.chosen = 0;
    this.position = 0; // seconds, while paused
    this.startedAt = null; // context time of position 0, while playing
    this.loop = false;
    this.loading = null;
    this.buffers = null;
    this.voices = [];
    this.duration = 0;

    this.playButton.addEventListener("click", () => this.toggle());
    this.loopButton.addEventListener("click", () => this.setLoop(!this.loop));
    this.rows.forEach((row, index) => {
      row.querySelector("input").addEventListener("change", () => this.choose(index));
      row.querySelector(".strip").addEventListener("click", (event) => {
        const box = event.currentTarget.getBoundingClientRect();
        this.choose(index);
        this.load().then(() => this.seek(((event.clientX - box.left) / box.width) * this.duration));
      });
    });
    section.addEventListener("pointerdown", () => makeCurrent(this));
    section.addEventListener("focusin", () => makeCurrent(this));
    section.classList.add("ready");
    this.choose(0);
    this.draw();
  }

  get playing() {
    return this.startedAt !== null;
  }

  load() {
    if (!this.loading) {
      context = context || new AudioContext();
      const uris = this.rows.map((row) => row.querySelector("audio").src);
      this.loading = Promise.all(uris.map((uri) => context.decodeAudioData(bytesOf(uri)))).then(
        (buffers) => {
          this.buffers = buffers;
          this.duration = buffers[0].duration;
          this.draw();
        },
        (error) => {
          const line = document.createElement("p");
          line.className = "failed";
          line.textContent = `This browser cannot decode the sound: ${error.message}`;
          this.section.append(line);
          throw error;
        },
      );
    }
    return this.loading;
  }

  now() {
    if (!this.playing) return this.position;
    // The start lies a moment ahead, so that all voices meet it: no step back until then.
    const passed = Math.max(this.position, context.currentTime - this.startedAt);
    return this.loop ? passed % this.duration : Math.min(passed, this.duration);
  }

  async play() {
    for (const other of sounds) if (other !== this) other.pause();
    await this.load();
    await context.resume();
    if (this.playing) return;
    if (this.position >= this.duration - 0.01) this.position = 0;
    const when = context.currentTime + 0.02;
    this.voices = this.buffers.map((buffer, index) => {
      const source = new AudioBufferSourceNode(context, { buffer, loop: this.loop });
      const gain = new GainNode(context, { gain: index === this.chosen ? 1 : 0 });
      source.connect(gain).connect(context.destination);
      source.start(when, this.position);
      return { source, gain };
    });
    this.voices[0].source.onended = () => {
      if (this.playing) {
        this.halt();
        this.position = 0;
        this.draw();
      }
    };
    this.startedAt = when - this.position;
    this.draw();
    this.follow();
  }

  halt() {
    for (const { source } of this.voices) {
      source.onended = null;
      source.stop();
    }
    this.voices = [];
    this.startedAt = null;
  }

  pause() {
    if (!this.playing) return;
    this.position = this.now();
    this.halt();
    this.draw();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play().catch((error) => console.error(error));
  }

  seek(seconds) {
    const again = this.playing;
    if (again) this.halt();
    this.position = Math.min(Math.max(seconds, 0), Math.max(0, this.duration - 0.001));
    this.draw();
    if (again) this.play();
  }

  choose(index) {
    if (index >= this.rows.length) return;
    this.chosen = index;
    this.voices.forEach(({ gain }, voice) => {
      gain.gain.setTargetAtTime(voice === index ? 1 : 0, context.currentTime, FADE / 3);
    });
    this.rows.forEach((row, i) => {
      row.classList.toggle("chosen", i === index);
      row.querySelector("input").checked = i === index;
    });
  }

  setLoop(loop) {
    const position = this.now();
    this.loop = loop;
    for (const { source } of this.voices) source.loop = loop;
    if (this.playing) {
      this.position = position;
      this.startedAt = context.currentTime - position;
    }
    this.loopButton.setAttribute("aria-pressed", String(loop));
  }

  follow() {
    if (!this.playing) return;
    this.draw();
    requestAnimationFrame(() => this.follow());
  }

  draw() {
    const position = this.now();
    const share = this.duration ? (100 * position) / this.duration : 0;
    for (const row of this.rows) row.querySelector(".playhead").style.left = `${share}%`;
    this.playButton.textContent = this.playing ? "Pause" : "Play";
    this.clock.textContent = this.duration
      ? `${position.toFixed(2)} / ${this.duration.toFixed(2)} s`
      : "";
  }
}

function makeCurrent(sound, reveal = false) {
  if (current !== sound) {
    if (current) current.section.classList.remove("current");
    current = sound;
    current.section.classList.add("current");
  }
  if (reveal) current.section.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

const sounds = [...document.querySelectorAll(".sound")].map((section) => new Sound(section));
if (sounds.length) makeCurrent(sounds[0]);

function neighbour(step) {
  const next = sounds[sounds.indexOf(current) + step];
  if (!next) return;
  const goOn = current.playing;
  const version = Math.min(current.chosen, next.rows.length - 1);
  current.pause();
  next.choose(version);
  makeCurrent(next, true);
  if (document.activeElement) document.activeElement.blur();
  if (goOn) next.play();
}

document.addEventListener("keydown", (event) => {
  if (!current || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && event.target.closest("button")) return; // it presses the button
  if (event.repeat && !event.key.startsWith("Arrow")) return;
  const actions = {
    " ": () => current.toggle(),
    ArrowLeft: () => current.load().then(() => current.seek(current.now() - SEEK)),
    ArrowRight: () => current.load().then(() => current.seek(current.now() + SEEK)),
    ArrowUp: () => neighbour(-1),
    ArrowDown: () => neighbour(1),
    l: () => current.setLoop(!current.loop),
    L: () => current.setLoop(!current.loop),
  };
  const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
  const action = digit ? () => current.choose(digit - 1) : actions[event.key];
  if (!action) return;
  event.preventDefault(); // radios would take the arrows for themselves, and the page would scroll
  action();
});
