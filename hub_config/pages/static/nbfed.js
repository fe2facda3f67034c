// Comfort on our pages; every page works without it.
"use strict";

const language = document.documentElement.lang;

// Moments in the reader's own zone, with the zone named.
for (const time of document.querySelectorAll("time[datetime]")) {
  const short = { hour: "numeric", minute: "2-digit", timeZoneName: "short" };
  const date = { year: "numeric", month: "short", day: "numeric", ...short };
  const options = time.dataset.only === "time" ? short : "seconds" in time.dataset ? { ...date, second: "2-digit" } : date;
  time.textContent = new Intl.DateTimeFormat(language, options).format(new Date(time.dateTime));
}

// A text with {time} in it, and the moment, in the reader's zone.
function withMoment(text, time) {
  const options = { dateStyle: "medium", timeStyle: "short" };
  return time ? text.replace("{time}", new Intl.DateTimeFormat(language, options).format(new Date(time))) : text;
}

// Elapsed time and cost of running sessions.
function seconds(element) {
  return Math.max(0, (Date.now() - new Date(element.dataset.since)) / 1000);
}
function tick() {
  for (const element of document.querySelectorAll(".nb-elapsed")) {
    const s = Math.floor(seconds(element));
    const two = (n) => String(n).padStart(2, "0");
    element.textContent = `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  }
  for (const element of document.querySelectorAll(".nb-cost")) {
    const cost = (Math.ceil(seconds(element)) * Number(element.dataset.weight)) / 3600;
    element.textContent = cost.toLocaleString(language, { maximumFractionDigits: 4 });
  }
}
if (document.querySelector(".nb-elapsed")) {
  setInterval(tick, 1000);
}

// A button that was pressed says so, and is not pressed twice.
for (const form of document.querySelectorAll("form[data-busy]")) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    button.textContent = form.dataset.busy;
    setTimeout(() => { button.disabled = true; }, 0);
  });
}
// A page that comes back from the browser's memory would show them busy still.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// Changing the language keeps the page.
for (const link of document.querySelectorAll("a[data-keep-page]")) {
  const address = new URL(link.href);
  address.searchParams.set("next", location.pathname + location.search);
  link.href = address.href;
}

// The page that waits asks how far the start has come. An answer that fails only means: ask again.
const pending = document.getElementById("pending");
if (pending) {
  const stage = document.getElementById("stage");
  const detail = document.getElementById("detail");
  const bar = pending.querySelector(".progress-bar");
  const address = `${pending.dataset.status}?server=${encodeURIComponent(pending.dataset.server)}`;
  const ask = async () => {
    try {
      const answer = await fetch(address, { headers: { Accept: "application/json" }, cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const status = await answer.json();
      if (status.state === "starting") {
        stage.textContent = status.text;
        if (detail) detail.textContent = withMoment(status.detail || "", status.time);
        bar.style.width = `${status.percent}%`;
        bar.parentElement.setAttribute("aria-valuenow", status.percent);
      } else {
        location.reload(); // ready: the hub sends us there; failed or stopped: the page says why
        return;
      }
    } catch (error) {
      stage.textContent = pending.dataset.away;
    }
    setTimeout(ask, 1000);
  };
  setTimeout(ask, 500);
}
