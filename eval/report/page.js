"use strict";
(() => {
  // One sound at a time, so that two versions can be compared by clicking from one to the other.
  const players = [...document.querySelectorAll("audio")];
  for (const player of players) {
    const box = player.previousElementSibling;
    const head = box.querySelector(".playhead");
    const seconds = Number(box.dataset.seconds);
    const follow = () => {
      head.style.left = `${Math.min(100, (100 * player.currentTime) / seconds)}%`;
      if (!player.paused) requestAnimationFrame(follow);
    };
    player.addEventListener("play", () => {
      for (const other of players) if (other !== player) other.pause();
      head.classList.add("on");
      follow();
    });
    player.addEventListener("seeked", follow);
    box.addEventListener("click", (event) => {
      const place = box.getBoundingClientRect();
      player.currentTime = (seconds * (event.clientX - place.left)) / place.width;
      player.play();
    });
  }

  // The table of all files: sorted by a click on a head, filtered by words that must all occur.
  const { heads, scores, rows } = JSON.parse(document.getElementById("rows-data").textContent);
  const table = document.getElementById("rows");
  const status = heads.indexOf("status");
  let column = 0;
  let descending = false;
  const text = rows.map((row) => row.join(" ").toLowerCase() + (row[status] === "ok" ? "" : " failed"));
  const headRow = table.createTHead().insertRow();
  heads.forEach((name, index) => {
    const cell = document.createElement("th");
    cell.textContent = name;
    cell.tabIndex = 0;
    const sort = () => {
      descending = index === column ? !descending : false;
      column = index;
      draw();
    };
    cell.addEventListener("click", sort);
    cell.addEventListener("keydown", (event) => {
      if (event.key === "Enter") sort();
    });
    headRow.append(cell);
  });
  const body = table.createTBody();
  const compare = (a, b) => {
    const x = rows[a][column];
    const y = rows[b][column];
    // Missing scores last, whichever way it is sorted.
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    const order = typeof x === "number" && typeof y === "number"
      ? x - y
      : String(x).localeCompare(String(y), undefined, { numeric: true });
    return (descending ? -order : order) || a - b;
  };
  const draw = () => {
    const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = rows.map((_, index) => index).filter((index) => words.every((word) => text[index].includes(word)));
    kept.sort(compare);
    [...headRow.cells].forEach((cell, index) => {
      cell.removeAttribute("aria-sort");
      if (index === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    });
    body.replaceChildren(...kept.map((index) => {
      const line = document.createElement("tr");
      rows[index].forEach((value, place) => {
        const cell = line.insertCell();
        const score = typeof value === "number";
        const digits = place >= scores[0] && place < scores[1];
        cell.textContent = value === null ? "\u2013" : score && digits ? value.toFixed(3) : value;
        if (score || value === null) cell.className = "n";
        if (place === status && value !== "ok") cell.className = "failed";
      });
      return line;
    }));
    document.getElementById("shown").textContent = `${kept.length} of ${rows.length} rows`;
  };
  document.getElementById("filter").addEventListener("input", draw);
  draw();
})();
