// <enh-live models='["NAME", ...]'>: the microphone through a causal model and back to the ears.

const RECORD_SECONDS = 600;

class Live extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("player.css", import.meta.url).href;
    root.append(style);
    const box = add(root, "div", { role: "group", "aria-label": "Live" });
    add(box, "p", {}, "Speak, and hear yourself without the noise. Use headphones, or it will howl.");

    const bar = add(box, "div", { class: "bar" });
    this.button = add(bar, "button", { type: "button", class: "play" }, "Start");
    this.button.onclick = () => (this.context ? this.stop() : this.start());
    this.model = add(add(bar, "label", { class: "check" }, "Model "), "select");
    for (const name of JSON.parse(this.getAttribute("models"))) add(this.model, "option", { value: name }, name);
    this.model.onchange = () => { if (this.context) { this.stop(); this.start(); } };

    const more = add(box, "div", { class: "bar" });
    const strength = add(more, "label", { class: "check wide" }, "Strength ");
    this.strength = add(strength, "input", { type: "range", min: 0, max: 1, step: 0.05, value: 1 });
    this.shown = add(strength, "span", { class: "clock" }, "100 %");
    this.strength.oninput = () => this.tellStrength();
    const bypass = add(more, "label", { class: "check" });
    this.bypass = add(bypass, "input", { type: "checkbox" });
    this.bypass.onchange = () => this.tellStrength();
    add(bypass, "span", {}, "Bypass: hear the microphone as it is");

    this.meters = ["Microphone", "Enhanced"].map((name) => {
      const line = add(box, "div", { class: "bar meter" });
      add(line, "span", {}, name);
      const meter = add(line, "meter", { min: -60, max: 0, high: -3, value: -60, "aria-label": `${name}: level in dB` });
      return { meter, text: add(line, "span", { class: "clock" }) };
    });
    this.status = add(box, "p", { role: "status", class: "status" });

    const record = add(box, "div", { class: "bar" });
    this.recorder = add(record, "button", { type: "button", class: "play plain", disabled: "" }, "Record");
    this.recorder.onclick = () => this.record(!this.recording);
    this.links = add(record, "span", { class: "bar" });
  }

  disconnectedCallback() {
    queueMicrotask(() => this.isConnected || this.stop());
  }

  async start() {
    const run = (this.run = {});
    this.say("");
    this.button.textContent = "Stop";
    try {
      if (!navigator.mediaDevices || !window.AudioWorklet)
        throw new Error("browsers give the microphone to pages from https or localhost only");
      this.context = new AudioContext({ latencyHint: "interactive" });
      // Whatever the browser would do to the sound is left to the model.
      const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
      const stream = await navigator.mediaDevices.getUserMedia({ audio });
      if (run !== this.run) return stream.getTracks().forEach((track) => track.stop());
      this.stream = stream;
      await this.context.audioWorklet.addModule(new URL("live-processor.js", import.meta.url).href);
      await this.context.resume();
      if (run !== this.run) return;
      this.connect();
    } catch (error) {
      if (run !== this.run) return;
      this.stop();
      this.say(error.name === "NotAllowedError" ? "the browser was not allowed to use the microphone" : error.message, true);
    }
  }

  connect() {
    const rate = this.context.sampleRate;
    const block = Math.round(rate / 100);
    this.node = new AudioWorkletNode(this.context, "enh-live", {
      numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [2], channelCount: 1, channelCountMode: "explicit",
      processorOptions: { block },
    });
    const { port1, port2 } = new MessageChannel();
    this.node.port.postMessage({ link: port1 }, [port1]);
    this.node.port.onmessage = ({ data }) => this.hear(data);
    const address = new URL("live", import.meta.url);
    address.protocol = address.protocol.replace("http", "ws");
    address.search = new URLSearchParams({ model: this.model.value, rate, block });
    this.worker = new Worker(new URL("live-worker.js", import.meta.url));
    this.worker.postMessage({ address: address.href, link: port2 }, [port2]);
    this.worker.onmessage = ({ data }) => {
      if (data.opened) {
        this.engine = data.opened.latency / rate;
        this.node.port.postMessage({ latency: data.opened.latency });
        this.tellStrength();
        this.recorder.disabled = false;
      } else {
        this.stop();
        this.say(data.closed, true);
      }
    };
    this.source = new MediaStreamAudioSourceNode(this.context, { mediaStream: this.stream });
    this.source.connect(this.node).connect(this.context.destination);
  }

  stop() {
    this.run = undefined;
    if (this.recording) this.record(false);
    this.worker?.terminate();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    this.worker = this.stream = this.context = this.node = undefined;
    if (!this.button) return;
    this.button.textContent = "Start";
    this.recorder.disabled = true;
    for (const { meter, text } of this.meters) { meter.value = -60; text.textContent = ""; }
    this.say("");
  }

  tellStrength() {
    this.shown.textContent = `${Math.round(100 * this.strength.value)} %`;
    this.worker?.postMessage({ strength: this.bypass.checked ? 0 : Number(this.strength.value) });
  }

  hear({ delay, peaks, underruns, spoken, heard }) {
    if (spoken) return this.keep(spoken, heard);
    if (!this.context) return;
    peaks.forEach((peak, number) => {
      const level = Math.max(-60, 20 * Math.log10(peak + 1e-9));
      this.meters[number].meter.value = level;
      this.meters[number].text.textContent = `${level.toFixed(0)} dB`;
    });
    if (delay === null || this.engine === undefined) return;
    this.delay = delay;
    const card = (this.context.baseLatency + (this.context.outputLatency || 0)) * 1000;
    const microphone = (this.stream?.getAudioTracks()[0]?.getSettings().latency ?? 0) * 1000;
    const all = delay * 1000;
    const gaps = underruns ? ` ${underruns} gap${underruns > 1 ? "s" : ""} so far.` : "";
    this.say(
      `Measured delay ${all.toFixed(0)} ms: model ${(this.engine * 1000).toFixed(0)} ms, the way to the server and back ` +
      `${(all - this.engine * 1000).toFixed(0)} ms. The browser says that its sound devices add ` +
      `${(card + microphone).toFixed(0)} ms.${gaps}`
    );
  }

  say(text, wrong = false) {
    if (!this.status) return;
    // Told to a screen reader when it changes by something that matters, not ten times a second.
    this.status.setAttribute("aria-live", wrong ? "assertive" : "off");
    this.status.className = wrong ? "status wrong" : "status";
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  record(on) {
    this.recording = on;
    this.node?.port.postMessage({ record: on });
    this.recorder.textContent = on ? "Stop recording" : "Record";
    if (on) {
      this.kept = { spoken: [], heard: [], frames: 0 };
      this.links.replaceChildren();
    } else if (this.kept.frames) {
      const rate = this.context.sampleRate;
      for (const [label, kind] of [["Enhanced", "heard"], ["Microphone", "spoken"]]) {
        const href = URL.createObjectURL(wav(this.kept[kind], this.kept.frames, rate));
        add(this.links, "a", { href, download: `live-${label.toLowerCase()}.wav` }, `Download ${label}`);
      }
    }
  }

  keep(spoken, heard) {
    if (!this.recording) return;
    this.kept.spoken.push(spoken);
    this.kept.heard.push(heard);
    this.kept.frames += spoken.length;
    if (this.kept.frames > RECORD_SECONDS * this.context.sampleRate) this.record(false);
  }
}

// 16-bit mono.
function wav(pieces, frames, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * frames));
  const text = (at, word) => [...word].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * frames, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * frames, true);
  let at = 44;
  for (const piece of pieces)
    for (const sample of piece) {
      view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true);
      at += 2;
    }
  return new Blob([view], { type: "audio/wav" });
}

function add(parent, tag, attributes = {}, text) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

customElements.define("enh-live", Live);
