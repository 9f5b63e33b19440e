// The console works without this script. With it, what is live is swapped as the server sends it: the server renders the
// same fragments that are in the page, each with an id.
const root = document.documentElement;
const interval = 1000; // ms between two messages of a healthy stream
const again = 5000; // ms until a stream that was refused is asked for again
let heard = Date.now();
let boot = null;
let said = null;

// swap renews each element that changed. Where somebody is working in one, the focused part stays and the rest is renewed around it:
// what is live must never stand still because somebody clicked into it.
function swap(html) {
  const next = document.createElement("template");
  next.innerHTML = html;
  for (const element of [...next.content.children]) {
    const old = document.getElementById(element.id);
    if (!old || old.isEqualNode(element)) continue;
    const focus = document.activeElement;
    if (old.contains(focus) && sameWay(old, element, focus)) {
      swapAround(old, element, focus);
      continue;
    }
    const twin = old.contains(focus) && [element, ...element.querySelectorAll("*")].find((e) => nameOf(e) === nameOf(focus));
    fade(old, element);
    old.replaceWith(element);
    if (twin) twin.focus({ preventScroll: true });
  }
  announce(document.querySelector("[data-announce]")?.textContent);
}

// nameOf tells a link, button or table from others: with another name it is another thing, and must not take the focus.
function nameOf(element) {
  return [element.tagName, ...["id", "href", "aria-label"].map((a) => element.getAttribute(a))].join(" ");
}

// sameWay says whether the way from an element down to the focused one is the same in what shall replace it.
function sameWay(old, next, focus) {
  if (old.nodeName !== next.nodeName) return false;
  if (old === focus) return nameOf(old) === nameOf(next);
  const a = [...old.childNodes], b = [...next.childNodes];
  const i = a.findIndex((child) => child.contains(focus));
  return a.length === b.length && sameWay(a[i], b[i], focus);
}

// swapAround renews everything but the elements on the way to the focused one, and that one's content.
function swapAround(old, next, focus) {
  for (const at of old.getAttributeNames()) if (!next.hasAttribute(at)) old.removeAttribute(at);
  for (const at of next.getAttributeNames()) old.setAttribute(at, next.getAttribute(at));
  if (old === focus) {
    old.replaceChildren(...next.childNodes);
    return;
  }
  const b = [...next.childNodes];
  [...old.childNodes].forEach((child, i) => {
    if (child.contains(focus)) swapAround(child, b[i], focus);
    else if (!child.isEqualNode(b[i])) child.replaceWith(b[i]);
  });
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
