"use strict";
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const ink = () => (dark.matches ? "#e2e6ea" : "#1f2328");
  const drawn = [];

  function draw(data) {
    const figure = JSON.parse(data.textContent);
    const target = data.previousElementSibling;
    const layout = figure.layout || {};
    layout.font = Object.assign({}, layout.font, { color: ink() });
    const config = Object.assign({ displaylogo: false, responsive: true, scrollZoom: false }, figure.config);
    return Plotly.newPlot(target, figure.data, layout, config).then(function () {
      drawn.push(target);
      if (figure.frames && figure.frames.length) {
        return Plotly.addFrames(target, figure.frames);
      }
    });
  }

  async function drawAll() {
    for (const data of document.querySelectorAll("script.plotly-data")) {
      try {
        await draw(data);
      } catch (error) {
        data.previousElementSibling.textContent = "This figure could not be drawn: " + error;
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    document.documentElement.dataset.figures = String(drawn.length);
  }

  dark.addEventListener("change", function () {
    for (const target of drawn) {
      Plotly.relayout(target, { "font.color": ink() });
    }
  });
  drawAll();
})();
