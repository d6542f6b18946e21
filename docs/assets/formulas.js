// Pages with formulas load MathJax from beside this file; the others load nothing.
const here = document.currentScript.src.replace(/[^/]*$/, "");
if (document.querySelector(".arithmatex")) {
  window.MathJax = {
    loader: {
      load: ["core", "input/tex-base", "output/chtml", "a11y/assistive-mml"],
      paths: { mathjax: here + "mathjax" },
    },
    tex: { inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]], processEscapes: true },
    chtml: { fontURL: here + "mathjax/output/chtml/fonts/woff-v2", displayAlign: "left", displayIndent: "0.8em" },
    startup: { pageReady: () => MathJax.startup.defaultPageReady().then(() => dispatchEvent(new Event("load"))) },
    options: { ignoreHtmlClass: ".*", processHtmlClass: "arithmatex", enableMenu: false },
  };
  const script = document.createElement("script");
  script.src = here + "mathjax/startup.js";
  document.head.append(script);
}
