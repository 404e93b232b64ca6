// Keeps the part of a page up to date that says where to ask for it. Without this file the page loads itself anew.
(() => {
  "use strict";
  const part = document.querySelector("[data-live]");
  if (!part) return;
  const every = Number(part.dataset.every || "2") * 1000;
  let source = null, timer = 0, under = false, again = false;

  // What somebody has opened stays open, and what they type in is not touched: forms are outside of this part.
  const swap = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html").querySelector("[data-live]");
    if (!next) return location.reload();
    const open = new Set([...part.querySelectorAll("details[open][id]")].map((each) => each.id));
    const log = part.querySelector(".log"), down = log && log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    const held = document.activeElement && part.contains(document.activeElement) ? document.activeElement.id : "";
    next.querySelectorAll("details[id]").forEach((each) => { if (open.has(each.id)) each.open = true; });
    part.replaceChildren(...next.childNodes);
    if (held) document.getElementById(held)?.focus({ preventScroll: true });
    const logged = part.querySelector(".log");
    if (logged && down) logged.scrollTop = logged.scrollHeight;
    // The head and the forms are another page's once the run has ended or waits.
    if (next.dataset.state !== part.dataset.state) location.reload();
  };
  const look = async () => {
    if (under) { again = true; return; }
    under = true;
    try {
      const answer = await fetch(part.dataset.live, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.ok) swap(await answer.text());
      else if (answer.status === 401) location.reload();
    } catch { /* the next look may find it */ }
    under = false;
    if (again) { again = false; look(); }
  };
  const poll = () => { clearInterval(timer); timer = setInterval(() => { if (!document.hidden) look(); }, every); };
  const follow = () => {
    if (!part.dataset.events || !window.EventSource) return poll();
    source = new EventSource(part.dataset.events);
    for (const kind of ["message", "release"]) source.addEventListener(kind, look);
    source.addEventListener("end", () => { source.close(); look(); });
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) poll(); };
  };
  follow();
  addEventListener("pagehide", () => source?.close());
})();
