// Sorts a table by the column whose heading is pressed: text from A, numbers from the highest,
// and the other way at the next press. Empty cells come last either way.

"use strict";

const collator = new Intl.Collator("en", { numeric: true });

function compare(a, b, isText) {
  return isText ? collator.compare(a, b) : Number(a) - Number(b);
}

function sort(table, heading) {
  const isText = heading.dataset.kind === "text";
  const first = isText ? "ascending" : "descending";
  const second = isText ? "descending" : "ascending";
  const order = heading.getAttribute("aria-sort") === first ? second : first;
  const sign = order === "ascending" ? 1 : -1;
  const valueOf = (row) => row.cells[heading.cellIndex].dataset.value;

  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => {
    const a = valueOf(one);
    const b = valueOf(other);
    if (a === undefined || b === undefined) {
      return (a === undefined) - (b === undefined);
    }
    return sign * compare(a, b, isText);
  });
  table.tBodies[0].append(...rows);

  for (const each of table.tHead.rows[0].cells) {
    each.removeAttribute("aria-sort");
  }
  heading.setAttribute("aria-sort", order);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.tHead.rows[0].cells) {
    heading.querySelector("button").addEventListener("click", () => sort(table, heading));
  }
}
