// The console works without this script. With it, what is live is swapped as the server sends it: the server renders the
// same fragments that are in the page, each with an id.
const root = document.documentElement;
const interval = 1000; // ms between two messages of a healthy stream
const again = 5000; // ms until a stream that was refused is asked for again
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
  announce(document.querySelector("[data-announce]")?.textContent);
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
function announce(sentence) {
  const text = sentence?.trim();
  if (!text) return;
  if (said !== null && said !== text) document.getElementById("said").textContent = text;
  said = text;
}

// show turns one of the two sentences about a page that has lost its node on or off.
function show(name, on) {
  root.toggleAttribute(name, on);
  document.querySelectorAll("#old p").forEach((p) => (p.hidden = root.hasAttribute("data-ended") !== p.hasAttribute("data-ended")));
}

// watch turns everything grey when nothing came for three intervals.
function watch() {
  const quiet = Date.now() - heard;
  if (quiet <= 3 * interval) return;
  show("data-stale", true);
  const age = document.getElementById("age");
  if (age) age.textContent = `no data for ${Math.round(quiet / 1000)} s`;
}

// renew gets the page anew, never posting again what led to it. Where somebody may have typed, or where an answer stands that is
// given only once, it stays: nothing is lost.
function renew() {
  if (document.querySelector("#settings, #confirm, [data-error]")) return false;
  location.replace(location.pathname + location.search);
  return true;
}

function follow(address) {
  const source = new EventSource(address);
  source.addEventListener("hello", (e) => {
    if (boot !== null && boot !== e.data) renew(); // another node or a new program answers
    boot = e.data;
    show("data-ended", false);
  });
  const alive = () => {
    heard = Date.now();
    show("data-stale", false);
  };
  source.addEventListener("alive", alive);
  source.addEventListener("fragments", (e) => {
    alive();
    swap(e.data);
  });
  source.addEventListener("ended", () => {
    if (!renew()) show("data-ended", true);
  });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    setTimeout(follow, again, address);
  });
  addEventListener("pagehide", () => source.close());
}

document.querySelector("[data-focus]")?.focus();
announce(document.querySelector("[data-announce]")?.textContent);
const address = document.body.dataset.live;
if (address) {
  follow(address);
  addEventListener("pageshow", (e) => e.persisted && follow(address)); // back from the browser's own cache
  setInterval(watch, interval);
}
