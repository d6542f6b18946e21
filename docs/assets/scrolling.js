// What scrolls sideways in itself (wide tables, long formulas) can be reached and scrolled by the keyboard.
const REGIONS = ".md-typeset__scrollwrap, div.arithmatex";
function reachable() {
  for (const region of document.querySelectorAll(REGIONS)) {
    if (region.scrollWidth > region.clientWidth) {
      region.tabIndex = 0;
      region.setAttribute("role", "region");
      region.setAttribute("aria-label", region.matches(".arithmatex") ? "Formula, scrolls sideways" : "Table, scrolls sideways");
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) region.removeAttribute(name);
    }
  }
}
new ResizeObserver(reachable).observe(document.body);
addEventListener("load", () => setTimeout(reachable));
document.fonts.addEventListener("loadingdone", reachable); // formulas change their width, the page does not
