"use strict";
// An answer belongs to the settings that it was asked with: after any other change it is marked as out of date, and asked
// again when no further change comes for a moment.
window.bitlens = (() => {
  const pause = 700; // milliseconds
  const asked = new Map();
  const waiting = new Map();
  const key = values => JSON.stringify(values.map(value => value?.path ?? value));
  const place = name => document.getElementById(`${name}-result`);

  const ask = (name, values) => {
    asked.set(name, key(values));
    clearTimeout(waiting.get(name));
    place(name).removeAttribute("data-stale");
    place(name).querySelector(".bitlens-shown")?.classList.add("old");
    if (place(name).getBoundingClientRect().top > innerHeight / 2) place(name).scrollIntoView();
    return values;
  };
  const mark = (name, values, again = true) => {
    const stale = asked.has(name) && asked.get(name) !== key(values);
    clearTimeout(waiting.get(name));
    place(name).toggleAttribute("data-stale", stale);
    if (stale && again) waiting.set(name, setTimeout(() => document.getElementById(`${name}-explain`).click(), pause));
  };

  addEventListener("input", ({ target }) => {
    if (target.closest?.(".tradeoff")) target.closest(".tradeoff").dataset.at = target.value;
    if (target.closest?.(".bitlens-over")) target.closest(".bitlens-shown").style.setProperty("--over", target.value / 100);
  });
  document.addEventListener("load", ({ target }) => { // where there is no room for a picture: begin where most is used
    const stack = target.closest?.(".wide .stack");
    if (stack) stack.scrollLeft = target.dataset.start * target.offsetWidth - stack.clientWidth / 2;
  }, true);
  addEventListener("error", ({ target }) => { // what no browser can draw may still be explained
    if (target.closest?.("#photo")) target.style.visibility = "hidden";
  }, true);
  return { ask, mark };
})();
