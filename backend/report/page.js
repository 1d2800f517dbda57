(() => {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const printedWidth = 680;
  const figures = [...document.querySelectorAll("script[data-figure]")].map((element) => ({
    place: document.getElementById(element.dataset.figure),
    spec: JSON.parse(element.textContent),
  }));

  const dressed = (layout, isDark, width) => {
    const [text, grid, line, back] = isDark ? ["#d4d5e0", "#30323c", "#565966", "#1e2027"] : ["#33343c", "#e7e7ee", "#b4b5c2", "#ffffff"];
    const axis = (of) => ({ ...of, automargin: true, gridcolor: grid, zerolinecolor: line, linecolor: line, tickcolor: line });
    return {
      ...layout, width, autosize: width === undefined, font: { family: "system-ui, sans-serif", size: 12, color: text },
      hoverlabel: { bgcolor: back, font: { color: text } }, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
    };
  };
  const draw = (isDark, width) => figures.forEach(({ place, spec }) =>
    Plotly.react(place, spec.data, dressed(spec.layout, isDark, width), { displaylogo: false, responsive: true }));

  draw(dark.matches);
  dark.addEventListener("change", () => draw(dark.matches));
  addEventListener("beforeprint", () => draw(false, printedWidth));
  addEventListener("afterprint", () => draw(dark.matches));

  document.querySelectorAll(".copy").forEach((button) => button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Marked: copy it with the keyboard";
    }
  }));
})();
