"use strict";
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const ink = () => (dark.matches ? "#e2e6ea" : "#1f2328");
  const drawn = [];

  // Scenes beside each other are looked at from one side: turning one turns all.
  function linkCameras(target) {
    const scenes = Object.keys(target.layout).filter((name) => /^scene\d*$/.test(name));
    let following = false;
    function follow(event) {
      const turned = scenes.filter((name) => event && event[name + ".camera"]);
      if (following || turned.length !== 1) {
        return;
      }
      const changes = {};
      for (const name of scenes) {
        changes[name + ".camera"] = JSON.parse(JSON.stringify(event[turned[0] + ".camera"]));
      }
      following = true;
      Plotly.relayout(target, changes).finally(function () {
        following = false;
      });
    }
    if (scenes.length > 1) {
      target.on("plotly_relayouting", follow);
      target.on("plotly_relayout", follow);
    }
  }

  function draw(data) {
    const figure = JSON.parse(data.textContent);
    const target = data.previousElementSibling;
    const layout = figure.layout || {};
    layout.font = Object.assign({}, layout.font, { color: ink() });
    const config = Object.assign({ displaylogo: false, responsive: true, scrollZoom: false }, figure.config);
    return Plotly.newPlot(target, figure.data, layout, config).then(function () {
      drawn.push(target);
      linkCameras(target);
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
