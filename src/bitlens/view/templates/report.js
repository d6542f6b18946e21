"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  const said = document.getElementById("said");

  for (const slider of document.querySelectorAll(".tradeoff input")) {
    const curve = slider.closest(".tradeoff");
    const show = () => {
      curve.dataset.at = slider.value;
      slider.setAttribute("aria-valuetext", curve.querySelector(`.tradeoff-said [data-step="${slider.value}"]`).textContent);
    };
    slider.addEventListener("input", show);
    show(); // a browser may remember where the slider was
  }

  for (const slider of document.querySelectorAll(".slider input")) {
    const card = slider.closest(".card");
    const shown = card.querySelector("output");
    const layers = card.querySelectorAll(".over");
    const layPhotosUnder = () => { // the file holds each photo once
      for (const over of layers) {
        if (over.nextElementSibling) return;
        const photo = card.querySelector(".photo").cloneNode();
        photo.alt = "";
        photo.className = "below";
        over.after(photo);
      }
    };
    const show = () => {
      if (slider.value < 100) layPhotosUnder();
      for (const over of layers) over.style.opacity = slider.value / 100;
      shown.textContent = `${slider.value} %`;
    };
    slider.addEventListener("input", show);
    show(); // a browser may remember where the slider was
  }

  const keyOf = (row, column) => row.cells[column].dataset.key;
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  for (const button of document.querySelectorAll("button.sort")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const body = head.closest("table").tBodies[0];
      const first = button.dataset.first;
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const one of head.parentElement.cells) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows].sort((one, two) => {
        const [a, b] = [keyOf(one, head.cellIndex), keyOf(two, head.cellIndex)];
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // nothing measured: last
        return sign * compare(a, b);
      });
      body.append(...rows);
      said.textContent = `sorted, ${order}`;
    });
  }

  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        said.textContent = button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code); // not allowed here: the reader presses Ctrl+C
        said.textContent = button.textContent = "Press Ctrl+C";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  }

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
