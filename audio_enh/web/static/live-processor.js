// On the browser's audio thread: takes the microphone in blocks, plays what comes back, and knows exactly how much later.
//
// The server gives as many samples as it gets, in order, so that counting tells which sample is which. What comes back
// is kept for a moment, as it comes unevenly; each time that it was too short a moment, that becomes longer.

const FADE = 240;

class Live extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.block = processorOptions.block;
    this.spare = 0.005 * sampleRate; // samples that are to be left at the worst moment
    this.pending = new Float32Array(this.block);
    this.filled = 0;
    this.ring = new Float32Array(1 << 18);
    this.captured = this.received = this.played = 0; // samples so far
    this.playing = false;
    this.fade = 0; // of a beginning
    this.underruns = 0;
    this.least = Infinity; // samples that were left, at the worst moment of late
    this.quiet = 0; // samples since the last underrun
    this.peaks = [0, 0];
    this.told = 0;
    this.recording = false;
    this.port.onmessage = ({ data }) => {
      if (data.link) {
        this.link = data.link;
        this.link.onmessage = ({ data: block }) => {
          for (let n = 0; n < block.length; n++) this.ring[(this.received + n) % this.ring.length] = block[n];
          this.received += block.length;
        };
      }
      if (data.latency !== undefined) this.latency = data.latency;
      if (data.record !== undefined) this.recording = data.record;
    };
  }

  process([input], [output]) {
    const heard = output[0];
    const spoken = input.length ? input[0] : new Float32Array(heard.length);
    this.send(spoken);
    this.play(heard);
    for (let channel = 1; channel < output.length; channel++) output[channel].set(heard);
    for (let n = 0; n < heard.length; n++) {
      this.peaks[0] = Math.max(this.peaks[0], Math.abs(spoken[n]));
      this.peaks[1] = Math.max(this.peaks[1], Math.abs(heard[n]));
    }
    if (this.recording) this.port.postMessage({ spoken: spoken.slice(), heard: heard.slice() });
    this.captured += heard.length;
    this.tell();
    return true;
  }

  // Before the server is ready nothing is sent, and nothing counts.
  send(spoken) {
    if (this.latency === undefined) {
      this.captured = -spoken.length;
      return;
    }
    for (const sample of spoken) {
      this.pending[this.filled++] = sample;
      if (this.filled === this.block) {
        this.link.postMessage(this.pending, [this.pending.buffer]);
        this.pending = new Float32Array(this.block);
        this.filled = 0;
      }
    }
  }

  play(heard) {
    let left = this.received - this.played;
    if (!this.playing) {
      const wanted = Math.ceil(this.block + this.spare);
      if (left < wanted) return;
      // After a gap the latest is played, not all that came meanwhile.
      this.played = this.received - wanted;
      left = wanted;
      this.playing = true;
      this.fade = 0;
      this.least = Infinity;
    }
    if (left < heard.length) {
      this.playing = false;
      this.underruns++;
      this.quiet = 0;
      this.spare = Math.min(this.spare + 0.01 * sampleRate, 0.3 * sampleRate);
      for (let n = 0; n < left; n++) heard[n] = this.at(n) * (1 - n / left);
      this.played += left;
      return;
    }
    for (let n = 0; n < heard.length; n++) {
      heard[n] = this.at(n);
      if (this.fade < FADE) heard[n] *= this.fade++ / FADE;
    }
    this.played += heard.length;
    left -= heard.length;
    this.least = Math.min(this.least, left);
    this.quiet += heard.length;
    if (this.quiet % (2 * sampleRate) < heard.length) this.shorten(heard);
  }

  // Every two seconds: what was never needed is left out, behind a cross-fade.
  shorten(heard) {
    const excess = Math.floor(this.least - this.spare);
    if (excess > 0.01 * sampleRate) {
      for (let n = 0; n < heard.length; n++) {
        const weight = (n + 1) / heard.length;
        heard[n] = (1 - weight) * heard[n] + weight * this.at(n + excess - heard.length);
      }
      this.played += excess;
    }
    this.least = Infinity;
    if (this.quiet > 30 * sampleRate) this.spare = Math.max(0.005 * sampleRate, this.spare - 0.001 * sampleRate);
  }

  at(n) {
    const place = this.played + n;
    return place < 0 ? 0 : this.ring[place % this.ring.length];
  }

  tell() {
    this.told += 128;
    if (this.told < 0.1 * sampleRate) return;
    this.told = 0;
    // The sample that was played last is that which was captured `latency` before the place it came back at.
    const delay = this.playing ? (this.captured - this.played + this.latency) / sampleRate : null;
    this.port.postMessage({ delay, peaks: this.peaks, underruns: this.underruns });
    this.peaks = [0, 0];
  }
}

registerProcessor("enh-live", Live);
