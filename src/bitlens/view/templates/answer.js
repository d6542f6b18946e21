"use strict";
document.addEventListener("change", ({ target }) => {
  const answer = target.closest?.(".answered");
  if (!answer || target.type !== "radio") return;
  const shades = JSON.parse(answer.dataset.shades);
  const words = answer.querySelectorAll(".word");
  for (const told of answer.querySelectorAll(".told")) told.hidden = told.dataset.part !== target.value;
  shades[target.value].forEach(([share, said], place) => {
    words[place].style.setProperty("--share", `${Math.abs(share)}%`);
    words[place].classList.toggle("against", share < 0);
    words[place].title = said;
  });
});
