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

  const layUnder = (over, photo) => { // the file holds each photo once
    if (over.parentElement.querySelector(".below")) return;
    over.after(Object.assign(photo.cloneNode(), { alt: "", className: "below" }));
  };
  for (const slider of document.querySelectorAll("article .slider input")) {
    const card = slider.closest(".card");
    const shown = card.querySelector("output");
    const layers = card.querySelectorAll(".over");
    const show = () => {
      if (slider.value < 100) for (const over of layers) layUnder(over, card.querySelector(".photo"));
      for (const over of layers) over.style.opacity = slider.value / 100;
      shown.textContent = `${slider.value} %`;
    };
    slider.addEventListener("input", show);
    show(); // a browser may remember where the slider was
  }

  for (const wide of document.querySelectorAll(".wide .stack img")) { // where there is no room: begin where most is used
    const stack = wide.parentElement;
    stack.scrollLeft = wide.dataset.start * wide.offsetWidth - stack.clientWidth / 2;
  }

  const large = document.getElementById("large");
  const fade = large.querySelector("input");
  let figure = null;
  const showLarge = (one) => {
    figure = one;
    const card = one.closest(".card");
    const title = card.querySelector("h2").textContent;
    large.querySelector("h2").textContent = [one.querySelector("figcaption").textContent, title].join(" · ");
    const parts = [...one.querySelectorAll(".stack, .scale, .found")].map((part) => part.cloneNode(true));
    large.querySelector(".shown").replaceChildren(...parts);
    large.querySelector(".enlarge").remove();
    const over = large.querySelector(".over");
    const photo = card.querySelector(".photo");
    if (over && photo) layUnder(over, photo);
    large.querySelector(".slider").hidden = !over || !photo;
    fade.dispatchEvent(new Event("input"));
    for (const button of large.querySelectorAll(".step")) button.disabled = !beside(Number(button.dataset.by));
  };
  const beside = (by) => {
    const all = [...figure.closest(".card").querySelectorAll("figure")].filter((one) => one.querySelector(".enlarge"));
    return all[all.indexOf(figure) + by];
  };
  fade.addEventListener("input", () => {
    const over = large.querySelector(".over");
    if (over) over.style.opacity = fade.value / 100;
  });
  for (const button of document.querySelectorAll("button.enlarge")) {
    const open = () => {
      showLarge(button.closest("figure"));
      large.showModal(); // the browser keeps the focus within, closes at Escape, and gives the focus back
    };
    button.addEventListener("click", open);
    button.parentElement.querySelector("img").addEventListener("click", open);
  }
  large.querySelector(".close").addEventListener("click", () => large.close());
  for (const button of large.querySelectorAll(".step"))
    button.addEventListener("click", () => showLarge(beside(Number(button.dataset.by))));
  large.addEventListener("click", (event) => {
    if (event.target === large) large.close(); // beside the content
  });
  large.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && event.target !== fade && beside(by)) showLarge(beside(by));
  });

  const filters = [document.getElementById("filter-class"), document.getElementById("filter-answer")];
  const filter = () => {
    const [named, answer] = filters.map((select) => select?.value);
    let shown = 0;
    const cards = document.querySelectorAll("article.card");
    for (const card of cards) {
      const isOf = !named || (card.dataset.classes ?? "").split(" ").includes(named);
      card.hidden = !isOf || Boolean(answer && card.dataset.answer !== answer);
      shown += !card.hidden;
      const row = document.querySelector(`tbody a[href="#${card.id}"]`)?.closest("tr");
      if (row) row.hidden = card.hidden;
    }
    document.getElementById("filter-said").textContent = named || answer ? `${shown} of ${cards.length} shown` : "";
  };
  for (const select of filters) select?.addEventListener("change", filter);
  if (filters.some((select) => select?.value)) filter(); // a browser may remember what was chosen

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

  for (const input of document.querySelectorAll(".slices input")) {
    const pile = input.closest(".slices");
    input.addEventListener("input", () => {
      pile.querySelector("img").style.setProperty("--slice", input.value);
      pile.querySelector("output").textContent = input.dataset.numbers.split(" ")[input.value];
    });
  }

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
