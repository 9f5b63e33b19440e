// The console works without this script. With it, what is live is swapped as the server sends it: the server renders the
// same fragments that are in the page, each with an id.
const root = document.documentElement;
const interval = 1000; // ms between two messages of a healthy stream
let heard = Date.now();
let boot = null;
let said = null;

// swap replaces each element that changed, except one that somebody is working in.
function swap(html) {
  const next = document.createElement("template");
  next.innerHTML = html;
  for (const element of [...next.content.children]) {
    const old = document.getElementById(element.id);
    if (!old || old.isEqualNode(element)) continue;
    if (old.contains(document.activeElement) && document.activeElement !== document.body) {
      if (!swapInside(old, element)) continue;
    } else {
      fade(old, element);
      old.replaceWith(element);
    }
  }
  announce();
}

// swapInside keeps the focused link or button and renews the rest, if the element's shape is the same.
function swapInside(old, next) {
  const a = [...old.children], b = [...next.children];
  if (a.length !== b.length) return false;
  for (const at of next.getAttributeNames()) old.setAttribute(at, next.getAttribute(at));
  a.forEach((child, i) => {
    if (!child.isEqualNode(b[i]) && !child.contains(document.activeElement)) child.replaceWith(b[i]);
  });
  return true;
}

// fade marks an element whose state changed; the stylesheet lets it fade in once.
function fade(old, next) {
  const kind = (e) => [...e.querySelectorAll("[data-state]")].map((x) => x.dataset.state).join();
  if (kind(old) !== kind(next)) next.classList.add("changed");
}

// announce says a new sentence to a screen reader once, not with each tick.
function announce() {
  const sentence = document.querySelector("[data-announce]");
  if (!sentence) return;
  const text = sentence.textContent.trim();
  if (said !== null && said !== text) document.getElementById("said").textContent = text;
  said = text;
}

// watch turns everything grey when nothing came for three intervals.
function watch() {
  const quiet = Date.now() - heard;
  root.toggleAttribute("data-stale", quiet > 3 * interval);
  if (quiet > 3 * interval) {
    const age = document.getElementById("age");
    if (age) age.textContent = `no data for ${Math.round(quiet / 1000)} s`;
  }
}

function follow(address) {
  const source = new EventSource(address);
  source.addEventListener("hello", (e) => {
    if (boot !== null && boot !== e.data) location.reload(); // another node or a new program answers
    boot = e.data;
  });
  source.addEventListener("fragments", (e) => {
    heard = Date.now();
    root.removeAttribute("data-stale");
    swap(e.data);
  });
  source.addEventListener("ended", () => location.reload());
  addEventListener("pagehide", () => source.close());
  setInterval(watch, interval);
}

document.querySelector("[data-focus]")?.focus();
announce();
const address = document.body.dataset.live;
if (address) follow(address);
