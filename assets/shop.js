// What open pages do by themselves: follow stock and orders, spare clicks. All of it works without, too.

const lang = document.documentElement.lang;
const number = new Intl.NumberFormat(lang);
const clock = new Intl.DateTimeFormat(lang, { timeStyle: "medium", hourCycle: "h23" });
const announcer = document.getElementById("say");

// A number that falls many times a second would drown a screen reader: what is newest is said, every 5 s at most.
const SAY_EVERY_MS = 5000;
let saidAt = -SAY_EVERY_MS;
let sayTimer = 0;
function say(text) {
  clearTimeout(sayTimer);
  sayTimer = setTimeout(() => {
    saidAt = performance.now();
    announcer.textContent = text;
  }, Math.max(0, saidAt + SAY_EVERY_MS - performance.now()));
}

// A page that nobody looks at lets go of its stream, so that a forgotten tab costs the shop nothing; whoever comes
// back is told at once where things stand.
const COME_BACK_MS = 5000;
function follow(address, type, heard, connected) {
  let source = null;
  let timer = 0;
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
    connected?.(false);
  };
  const look = () => {
    if (document.hidden) return close();
    if (source && source.readyState !== EventSource.CLOSED) return;
    source = new EventSource(address);
    source.onopen = () => connected?.(true);
    source.onerror = () => {
      connected?.(false);
      // Browsers come back by themselves when a stream breaks, but not when they are refused one.
      clearTimeout(timer);
      timer = setTimeout(look, COME_BACK_MS * (1 + Math.random()));
    };
    source.addEventListener(type, heard);
  };
  const done = new AbortController();
  const { signal } = done;
  signal.onabort = close;
  document.addEventListener("visibilitychange", look, { signal });
  addEventListener("pageshow", look, { signal });
  // An open stream would keep the page out of the back/forward cache.
  addEventListener("pagehide", close, { signal });
  look();
  return () => done.abort();
}

// Product: what is left, as it falls

const offer = document.querySelector(".stub[data-live]");
if (offer) {
  const label = offer.querySelector(".left");
  const time = offer.querySelector(".when");
  const quantity = offer.querySelector("#quantity");
  const quantityMax = Number(quantity.max);
  let known = Number(offer.dataset.available);

  const show = ({ available, as_of }) => {
    const level = available <= 0 ? "none" : available <= Number(offer.dataset.fewMax) ? "few" : "many";
    const text = offer.dataset[available === 1 && level === "few" ? "one" : level];
    label.textContent = text.replace("{n}", number.format(available));
    label.dataset.level = level;
    time.textContent = clock.format(new Date(as_of));
    quantity.max = Math.max(1, Math.min(quantityMax, available));
    for (const button of offer.querySelectorAll(".actions button")) button.disabled = level === "none";
    offer.querySelector(".sold-out").hidden = level !== "none";
    if (available === known) return;
    label.dataset.moved = "";
    known = available;
    say(label.textContent);
  };
  label.addEventListener("animationend", () => delete label.dataset.moved);
  follow(
    offer.dataset.live,
    "stock",
    (event) => show(JSON.parse(event.data)),
    (live) => (offer.querySelector(".pulse").hidden = !live),
  );
}

// Order: the same page again, only the part that moves

const ASK_AGAIN_MS = 1000;
let order = document.querySelector("#order[data-live]:not([data-live=''])");
if (order) {
  const ask = async () => {
    // Kept, the part would be what the back button shows for the page.
    const answer = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html", "X-Part": "order" } });
    // Signed out meanwhile: the whole page says what to do.
    if (answer.redirected || answer.status === 401) location.reload();
    return answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("order");
  };
  let asking = false;
  let again = false;
  const refresh = async () => {
    // What is heard while an answer is on its way is asked for after it.
    again = true;
    if (asking) return;
    asking = true;
    while (again) {
      again = false;
      const next = await ask().catch(() => null);
      if (next) replace(next);
      else {
        // The stream never tells the same twice, so this is asked until it is answered.
        await new Promise((wake) => setTimeout(wake, ASK_AGAIN_MS));
        again = true;
      }
    }
    asking = false;
  };
  const stop = follow(order.dataset.live, "order", refresh);

  const replace = (next) => {
    const focused = order.contains(document.activeElement) && document.activeElement;
    const open = [...order.querySelectorAll("details[open]")].map((details) => details.id);
    const before = order.querySelector("h1").textContent;
    order.replaceWith(next);
    order = next;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    const heading = order.querySelector("h1");
    // Where what had the focus is gone, reading goes on at the heading.
    heading.tabIndex = -1;
    if (focused) (twin(focused) ?? heading).focus({ preventScroll: true });
    const step = order.querySelector("[aria-current] b")?.textContent ?? "";
    say(heading.textContent === before ? step : `${order.querySelector(".badge").textContent}. ${heading.textContent}`);
    if (!order.dataset.live) stop();
  };
  const twin = ({ id, attributes }) =>
    document.getElementById(id) ?? order.querySelector(`a[href="${CSS.escape(attributes.href?.value)}"]`);
}

// Forms

// The second click of a double click does nothing. Disabled buttons would not be sent, so they only say they are.
const mark = (form, sent) => {
  form.toggleAttribute("data-sent", sent);
  for (const button of form.querySelectorAll("[type=submit]")) button.ariaDisabled = sent || null;
};
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.hasAttribute("data-sent")) event.preventDefault();
  else mark(form, true);
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => mark(form, false)));

// Plus and minus.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-step]");
  if (!button) return;
  const input = button.parentElement.querySelector("input");
  const before = input.value;
  if (button.dataset.step > 0) input.stepUp();
  else input.stepDown();
  if (input.value !== before) input.dispatchEvent(new Event("change", { bubbles: true }));
});

// A changed quantity in the basket is sent by itself a moment after the last click, and the focus comes back with the
// page. Whoever goes to the checkout meanwhile sees the new sum first.
const SEND_AFTER_MS = 600;
const FOCUS = "holdfast-focus";
let unsent = null;
let sendTimer = 0;
const send = () => {
  if (!unsent?.reportValidity()) return;
  const at = [...unsent.elements].indexOf(document.activeElement);
  sessionStorage.setItem(FOCUS, `${unsent.elements.quantity.id} ${at}`);
  unsent.requestSubmit();
};
document.addEventListener("change", ({ target: { form } }) => {
  if (!form?.hasAttribute("data-send-on-change")) return;
  if (unsent && unsent !== form) send();
  unsent = form;
  clearTimeout(sendTimer);
  sendTimer = setTimeout(send, SEND_AFTER_MS);
});
document.querySelector("a[href='/checkout']")?.addEventListener("click", (event) => {
  if (!unsent) return;
  event.preventDefault();
  send();
});
const [fieldId, at] = (sessionStorage.getItem(FOCUS) ?? "").split(" ");
sessionStorage.removeItem(FOCUS);
document.getElementById(fieldId)?.form.elements[at]?.focus();

// Where the categories are wider than the screen, the chosen one is brought into sight.
const chosen = document.querySelector(".chips [aria-current]");
if (chosen) chosen.parentElement.scrollLeft = chosen.offsetLeft - (innerWidth - chosen.offsetWidth) / 2;

// The account's menu closes when another place is pressed.
const menu = document.querySelector("details.menu");
document.addEventListener("click", ({ target }) => menu?.contains(target) || menu?.removeAttribute("open"));

// A message that asks to come back in a moment

const retry = document.querySelector("[data-retry]");
if (retry) {
  let left = Number(retry.textContent);
  setInterval(() => {
    left -= 1;
    if (left > 0) retry.textContent = left;
    // Once, not again and again while the answer is on its way.
    else if (left === 0) location.reload();
  }, 1000);
}
