"use strict";
for (const answer of document.querySelectorAll(".answered")) {
  const shades = JSON.parse(answer.querySelector('script[type="application/json"]').textContent);
  const words = answer.querySelectorAll(".word");
  answer.addEventListener("change", (event) => {
    const part = event.target.value;
    for (const told of answer.querySelectorAll(".told")) told.hidden = told.dataset.part !== part;
    shades[part].forEach(([share, said], place) => {
      words[place].style.setProperty("--share", `${Math.abs(share)}%`);
      words[place].classList.toggle("against", share < 0);
      words[place].title = said;
    });
  });
}
