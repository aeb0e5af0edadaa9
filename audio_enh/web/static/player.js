// <enh-player config="{...}" base="url of the folder/">: recordings of one scene, switched without a gap.
//
// All tracks run at the same time through one graph; choosing one only changes gains, over 10 ms. Samples come in
// pieces of two seconds by range requests, so that a page holds a few of them however long the recording is.

const PIECE_SECONDS = 2;
const AHEAD = 3; // pieces that are scheduled at a time
const FADE = 0.01;
const DELAY = 0.06; // from a click to the first sample: time to schedule in

class Player extends HTMLElement {
  static observedAttributes = ["config", "base"];

  connectedCallback() {
    if (!this.config) this.load();
  }

  // Gradio gives another result to the same element, one attribute after the other.
  attributeChangedCallback() {
    if (!this.config || this.changing) return;
    this.changing = true;
    queueMicrotask(() => {
      this.changing = false;
      if (!this.isConnected) return;
      this.close();
      this.load();
    });
  }

  load() {
    this.config = JSON.parse(this.getAttribute("config"));
    this.base = this.getAttribute("base");
    this.position = 0; // frames, while nothing plays
    this.playing = false;
    this.run ??= 0; // counts starts, so that what was fetched for an earlier one is dropped
    this.matched = this.config.matched ?? true;
    this.choice = String(this.config.start ?? 0);
    this.heads = [];
    this.build();
    this.show();
  }

  close() {
    this.stop();
    this.context?.close();
    this.context = undefined;
  }

  disconnectedCallback() {
    // Moved within the page, it is connected again at once.
    queueMicrotask(() => {
      if (!this.isConnected) this.close();
    });
  }

  build() {
    const { tracks, pictures = [], frames, rate } = this.config;
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    root.replaceChildren();
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("player.css", import.meta.url).href;
    root.append(style);
    const box = add(root, "div", { class: "player", role: "group", "aria-label": "Player" });

    const choices = tracks.map((track, number) => [String(number), track.label]);
    if (this.config.removed) choices.push(["removed", "Removed"]);
    const bar = add(box, "div", { class: "bar" });
    this.button = add(bar, "button", { type: "button", class: "play" });
    this.button.onclick = () => this.toggle();
    const set = add(bar, "fieldset", { class: "tracks" });
    add(set, "legend", { class: "hidden" }, "What is heard");
    const name = `track-${Math.random().toString(36).slice(2)}`;
    for (const [value, label] of choices) {
      const field = add(set, "label");
      const input = add(field, "input", { type: "radio", name, value });
      input.checked = value === this.choice;
      input.onchange = () => this.choose(value);
      add(field, "span", {}, label);
    }
    if (!this.config.fixed) {
      const match = add(bar, "label", { class: "check" });
      const same = add(match, "input", { type: "checkbox" });
      same.checked = this.matched;
      same.onchange = () => { this.matched = same.checked; this.mix(); };
      add(match, "span", {}, "Same loudness");
    }
    const again = add(bar, "label", { class: "check" });
    this.loop = add(again, "input", { type: "checkbox" });
    add(again, "span", {}, "Repeat");

    const line = add(box, "div", { class: "bar" });
    this.slider = add(line, "input", {
      type: "range", min: 0, max: frames / rate, step: 0.01, value: 0, "aria-label": "Position in seconds",
    });
    this.slider.oninput = () => this.seek(Number(this.slider.value));
    this.clock = add(line, "span", { class: "clock" });

    if (pictures.length) {
      const grid = add(box, "div", { class: "pictures" });
      for (const picture of pictures) {
        const figure = add(grid, "figure");
        add(figure, "figcaption", {}, picture.label);
        const frame = add(figure, "div", { class: "frame" });
        add(frame, "img", { src: this.base + picture.file, alt: `Spectrogram: ${picture.label}` });
        this.heads.push(add(frame, "div", { class: "head" }));
        add(frame, "span", { class: "top" }, `${Number(this.config.top_khz.toFixed(2))} kHz`);
        frame.onclick = (event) => {
          const area = frame.getBoundingClientRect();
          this.seek(((event.clientX - area.left) / area.width) * (frames / rate));
        };
      }
    }
    if (this.config.uncertainty?.length) this.draw(box);
    box.onkeydown = (event) => {
      const number = Number(event.key) - 1;
      if (event.target.type === "range" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === " " && event.target !== this.button && event.target.type !== "checkbox") this.toggle();
      else if (number >= 0 && number < choices.length) {
        const input = set.querySelectorAll("input")[number];
        input.checked = true;
        input.focus();
        this.choose(choices[number][0]);
      } else return;
      event.preventDefault();
    };
  }

  // How far the draws are apart, over time, below the pictures of the same width.
  draw(box) {
    const points = this.config.uncertainty;
    const seconds = this.config.frames / this.config.rate;
    const figure = add(box, "figure", { class: "curve" });
    add(figure, "figcaption", {}, "Uncertainty: how far the draws disagree (0 to 1)");
    const frame = add(figure, "div", { class: "frame" });
    const xml = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(xml, "svg");
    svg.setAttribute("viewBox", "0 0 1000 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    const worst = points.reduce((most, point) => (point[1] > most[1] ? point : most));
    svg.setAttribute("aria-label", `Most uncertain, ${worst[1].toFixed(2)}, at ${worst[0].toFixed(1)} s`);
    const path = document.createElementNS(xml, "polyline");
    path.setAttribute("points", points.map(([t, u]) => `${(1000 * t) / seconds},${100 - 100 * u}`).join(" "));
    svg.append(path);
    frame.append(svg);
    this.heads.push(add(frame, "div", { class: "head" }));
    frame.onclick = (event) => {
      const area = frame.getBoundingClientRect();
      this.seek(((event.clientX - area.left) / area.width) * seconds);
    };
  }

  // ---- sound ----

  open() {
    const { rate, tracks, channels } = this.config;
    // At the recording's own rate: pieces then join without resampling at their ends.
    this.context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    this.input = new ChannelSplitterNode(this.context, { numberOfOutputs: tracks.length * channels });
    this.output = new ChannelMergerNode(this.context, { numberOfInputs: 2 });
    this.output.connect(this.context.destination);
    this.gains = tracks.map((_, track) =>
      Array.from({ length: channels }, (_, channel) => {
        const gain = new GainNode(this.context, { gain: 0 });
        this.input.connect(gain, track * channels + channel);
        for (const side of channels === 1 ? [0, 1] : [channel]) gain.connect(this.output, 0, side);
        return gain;
      }));
    this.mix(true);
  }

  // The gains that the choice asks for. What was removed is the first track less the second, as loud as it was.
  mix(now = false) {
    if (!this.context) return;
    const time = this.context.currentTime;
    this.gains.forEach((gains, track) => {
      let target = 0;
      if (this.choice === "removed") target = [1, -1][track] ?? 0;
      else if (this.choice === String(track)) target = this.matched ? this.config.tracks[track].gain : 1;
      for (const { gain } of gains) {
        gain.cancelScheduledValues(time);
        if (now) gain.value = target;
        else {
          gain.setValueAtTime(gain.value, time);
          gain.linearRampToValueAtTime(target, time + FADE);
        }
      }
    });
  }

  choose(value) {
    this.choice = value;
    this.mix();
    this.dispatchEvent(new CustomEvent("choose", { detail: value, bubbles: true }));
  }

  async toggle() {
    if (this.playing) {
      this.position = this.now();
      this.stop();
    } else await this.play();
  }

  async play() {
    if (!this.context) this.open();
    if (this.position >= this.config.frames) this.position = 0;
    this.playing = true;
    this.show();
    const run = ++this.run;
    this.from = undefined;
    const first = await this.fetch(this.position);
    await this.context.resume();
    if (run !== this.run) return;
    const buffer = this.decode(first);
    this.from = this.next = this.position;
    this.began = Math.ceil((this.context.currentTime + DELAY) * this.config.rate) / this.config.rate;
    this.sources = new Set();
    this.schedule(first, buffer);
    this.pump(run);
    this.tick(run);
  }

  stop() {
    this.run++;
    this.playing = false;
    for (const source of this.sources ?? []) source.stop();
    this.sources = new Set();
    this.show();
  }

  seek(seconds) {
    const wasPlaying = this.playing;
    this.stop();
    this.position = Math.min(Math.max(0, Math.round(seconds * this.config.rate)), this.config.frames - 1);
    if (wasPlaying) this.play();
    this.show();
  }

  // Frame that is heard now.
  now() {
    if (!this.playing || this.from === undefined) return this.position;
    const played = (this.context.currentTime - this.began) * this.config.rate;
    return Math.min(Math.max(this.from, Math.round(this.from + played)), this.config.frames);
  }

  async fetch(start) {
    const { rate, frames, tracks, channels, samples } = this.config;
    const length = Math.min(PIECE_SECONDS * rate, frames - start);
    const size = 2 * tracks.length * channels;
    const range = `bytes=${start * size}-${(start + length) * size - 1}`;
    const answer = await fetch(this.base + samples, { headers: { Range: range } });
    if (!answer.ok) throw new Error(`the sound is no longer there (${answer.status})`);
    return { start, length, data: new Int16Array(await answer.arrayBuffer()) };
  }

  decode({ length, data }) {
    const { rate, tracks, channels, scale } = this.config;
    const rows = tracks.length * channels;
    const buffer = this.context.createBuffer(rows, length, rate);
    for (let row = 0; row < rows; row++) {
      const samples = buffer.getChannelData(row);
      for (let frame = 0, at = row; frame < length; frame++, at += rows) samples[frame] = data[at] * scale;
    }
    return buffer;
  }

  schedule({ start, length }, buffer) {
    const { rate } = this.config;
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.input);
    const when = this.began + (start - this.from) / rate;
    // A piece that comes too late is begun where it should be by now: a gap, but nothing out of place.
    const late = Math.max(0, Math.ceil((this.context.currentTime - when) * rate) / rate);
    source.start(when + late, late);
    source.onended = () => { this.sources.delete(source); source.disconnect(); };
    this.sources.add(source);
    this.next = start + length;
  }

  async pump(run) {
    while (run === this.run && this.next < this.config.frames) {
      if (this.next - this.now() < (AHEAD - 1) * PIECE_SECONDS * this.config.rate) {
        let piece;
        try { piece = await this.fetch(this.next); } catch { break; }
        if (run !== this.run) return;
        this.schedule(piece, this.decode(piece));
      } else await new Promise((done) => setTimeout(done, 200));
    }
  }

  tick(run) {
    if (run !== this.run) return;
    this.show();
    if (this.now() >= this.config.frames) {
      this.stop();
      this.position = 0;
      if (this.loop.checked) this.play();
      this.show();
      return;
    }
    requestAnimationFrame(() => this.tick(run));
  }

  show() {
    const { rate, frames } = this.config;
    const seconds = this.now() / rate;
    this.button.textContent = this.playing ? "Pause" : "Play";
    this.slider.value = seconds;
    this.slider.setAttribute("aria-valuetext", `${seconds.toFixed(1)} seconds`);
    this.clock.textContent = `${time(seconds)} / ${time(frames / rate)}`;
    for (const head of this.heads) head.style.left = `${(100 * this.now()) / frames}%`;
  }
}

function add(parent, tag, attributes = {}, text) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function time(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

customElements.define("enh-player", Player);
