// Numbers that go on while one looks, selecting rows, and keys. Without it every page works as well.
"use strict";

const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

function followNumbers() {
  const numbers = new EventSource("/numbers");
  numbers.onmessage = (event) => {
    const told = JSON.parse(event.data);
    each("[data-live]", (place) => {
      const text = told[place.dataset.live];
      if (text === undefined || place.textContent === text) return;
      place.textContent = text;
      if ("alarm" in place.dataset) place.classList.toggle("some", /[1-9]/.test(text));
    });
  };
  addEventListener("pagehide", () => numbers.close());
  setInterval(async () => {
    const answer = await fetch("/parts").catch(() => null);
    if (!answer?.ok) return;
    const parts = new DOMParser().parseFromString(await answer.text(), "text/html");
    parts.querySelectorAll("[data-part]").forEach((part) => {
      const shown = document.querySelector(`main [data-part="${part.dataset.part}"]`);
      if (shown && shown.innerHTML !== part.innerHTML) shown.replaceWith(part);
    });
  }, 10_000);
}

function followProgress(part) {
  const progress = new EventSource(part.dataset.progress);
  progress.onmessage = (event) => {
    const told = JSON.parse(event.data);
    part.querySelector("progress").value = told.done;
    part.querySelector("[data-done]").textContent = told.done.toLocaleString("en");
    if (told.over) {
      progress.close();
      location.reload();
    }
  };
  addEventListener("pagehide", () => progress.close());
}

function countSelected(form) {
  const all = form.querySelector("[data-all]");
  const boxes = [...form.querySelectorAll('input[name="id"]')];
  const count = form.querySelector("[data-count]");
  if (!all || !count) return;
  const tell = () => {
    const chosen = boxes.filter((box) => box.checked).length;
    count.textContent = chosen;
    all.checked = chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
  };
  all.addEventListener("change", () => {
    boxes.forEach((box) => (box.checked = all.checked));
    tell();
  });
  boxes.forEach((box) => box.addEventListener("change", tell));
  tell();
}

let at = -1;

function moveTo(next) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  at = Math.min(Math.max(next, 0), rows.length - 1);
  rows.forEach((row, number) => row.classList.toggle("at", number === at));
  rows[at].querySelector("a")?.focus();
  rows[at].scrollIntoView({ block: "nearest" });
}

const keys = {
  j: () => moveTo(at + 1),
  k: () => moveTo(at - 1),
  x: () => document.querySelector("[data-row].at input[type=checkbox]")?.click(),
  o: () => location.assign("/"),
  "/": () => document.querySelector("[data-filter] select, [data-filter] input")?.focus(),
  "?": () => document.getElementById("keys").showModal(),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

if (document.querySelector("[data-live]")) followNumbers();
each("[data-progress]", followProgress);
each("[data-selection]", countSelected);
