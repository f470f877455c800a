(() => {
  "use strict";
  const root = document.documentElement;
  const boxes = [...document.querySelectorAll(".plot")];
  const hidden = new Set();
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  /* Colours and type of the page for a plotly layout, as "path.to.setting": value. */
  function themed(layout) {
    const settings = {
      "font.color": color("--ink"),
      "font.family": color("--sans"),
      "hoverlabel.font.family": color("--sans"),
      "hoverlabel.font.color": color("--ink"),
      "hoverlabel.bgcolor": color("--raised"),
      "hoverlabel.bordercolor": color("--soft"),
      "modebar.bgcolor": "rgba(0,0,0,0)",
      "modebar.color": color("--soft"),
      "modebar.activecolor": color("--accent"),
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) {
        settings[`${key}.gridcolor`] = color("--grid");
        settings[`${key}.linecolor`] = color("--rule");
        settings[`${key}.tickfont.color`] = color("--soft");
        settings[`${key}.title.font.color`] = color("--soft");
      }
    }
    return settings;
  }

  function assign(target, path, value) {
    const keys = path.split(".");
    const last = keys.pop();
    let place = target;
    for (const key of keys) {
      place[key] = place[key] || {};
      place = place[key];
    }
    place[last] = value;
  }

  function exported(format) {
    return (plot) => {
      const layout = structuredClone(plot.layout);
      const title = plot.dataset.title.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
      const rows = plot.data.filter((trace) => trace.showlegend !== false && trace.legendgroup).length;
      layout.title = { text: title, font: { size: 15 }, x: 0, xanchor: "left", xref: "container", pad: { l: 12 } };
      layout.margin = { ...layout.margin, t: 56 };
      layout.showlegend = rows > 1;
      layout.legend = { orientation: "h", yref: "container", y: 0, yanchor: "bottom" };
      layout.paper_bgcolor = color("--page");
      const height = plot.clientHeight + 44 + (rows > 1 ? 40 : 0);
      layout.height = height;
      Plotly.downloadImage(
        { data: plot.data, layout },
        { format, filename: plot.dataset.name, width: plot.clientWidth, height, scale: format === "png" ? 2 : 1 },
      );
    };
  }

  const icon = (text) => () => Object.assign(document.createElement("span"), { textContent: text });
  const configuration = {
    responsive: true,
    displaylogo: false,
    displayModeBar: "hover",
    scrollZoom: false,
    modeBarButtons: [[
      { name: "png", title: "Save as PNG", icon: icon("PNG"), click: exported("png") },
      { name: "svg", title: "Save as SVG", icon: icon("SVG"), click: exported("svg") },
    ]],
  };

  function markDone() {
    const states = boxes.map((box) => box.dataset.state);
    if (states.every((state) => state === "drawn" || state === "failed")) {
      root.dataset.drawn = states.includes("failed") ? "failed" : "true";
    }
  }

  async function draw(box) {
    if (box.dataset.state) { return; }
    box.dataset.state = "drawing";
    try {
      const figure = JSON.parse(box.nextElementSibling.textContent);
      for (const [path, value] of Object.entries(themed(figure.layout))) { assign(figure.layout, path, value); }
      if (matchMedia("(pointer: coarse)").matches) { figure.layout.dragmode = false; }
      for (const trace of figure.data) { trace.visible = !hidden.has(trace.legendgroup); }
      await Plotly.newPlot(box, figure.data, figure.layout, configuration);
      box.dataset.state = "drawn";
    } catch (error) {
      box.dataset.state = "failed";
      box.classList.add("failed");
      box.textContent = `This figure could not be drawn: ${error.message}`;
      console.error(error);
    }
    markDone();
  }

  function drawAll() { return Promise.all(boxes.map(draw)); }

  function drawWhenIdle() {
    const next = boxes.find((box) => !box.dataset.state);
    if (!next) { return; }
    const later = window.requestIdleCallback || ((run) => setTimeout(run, 50));
    later(() => { draw(next).then(drawWhenIdle); }, { timeout: 3000 });
  }

  function drawNear() {
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    }, { rootMargin: "600px 0px" });
    boxes.forEach((box) => watcher.observe(box));
  }

  /* Light and dark. */
  const drawn = () => boxes.filter((box) => box.dataset.state === "drawn");
  const button = document.getElementById("theme");

  function setTheme(theme) {
    root.dataset.theme = theme;
    button.querySelector("span").textContent = theme === "dark" ? "Light" : "Dark";
    return Promise.all(drawn().map((box) => Plotly.relayout(box, themed(box.layout))));
  }

  function remember(theme) {
    try { localStorage.setItem("hem-study-theme", theme); } catch (error) { root.dataset.forgetful = "true"; }
  }

  button.addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    remember(theme);
    setTheme(theme);
  });

  /* Hide or show a loss in every figure. */
  function toggleLoss(name) {
    if (!hidden.delete(name)) { hidden.add(name); }
    for (const chip of document.querySelectorAll(".chip")) {
      chip.setAttribute("aria-pressed", String(!hidden.has(chip.dataset.loss)));
    }
    for (const box of drawn()) {
      const own = box.data.map((trace, index) => (trace.legendgroup === name ? index : -1)).filter((index) => index >= 0);
      if (own.length) { Plotly.restyle(box, { visible: !hidden.has(name) }, own); }
    }
  }

  document.querySelectorAll(".chip").forEach((chip) => {
    chip.addEventListener("click", () => toggleLoss(chip.dataset.loss));
  });

  /* Tables: sort by a column, what is missing last; save as CSV. */
  function compare(first, second, numeric) {
    if (numeric) { return Number(first) - Number(second); }
    return first.localeCompare(second, "en", { numeric: true });
  }

  function sortTable(heading) {
    const table = heading.closest("table");
    const body = table.tBodies[0];
    const column = [...heading.parentElement.children].indexOf(heading);
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const rows = [...body.rows].map((row) => ({ row, key: row.cells[column].dataset.sort }));
    const numeric = rows.every(({ key }) => key === undefined || Number.isFinite(Number(key)));
    rows.sort((one, two) => {
      if (one.key === undefined || two.key === undefined) { return (one.key === undefined) - (two.key === undefined); }
      return direction * compare(one.key, two.key, numeric);
    });
    body.append(...rows.map(({ row }) => row));
    for (const other of heading.parentElement.children) { other.setAttribute("aria-sort", "none"); }
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  }

  document.querySelectorAll("th button").forEach((sorter) => {
    sorter.addEventListener("click", () => sortTable(sorter.closest("th")));
  });

  function save(text, type, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  document.querySelectorAll(".csv").forEach((saver) => {
    saver.addEventListener("click", () => {
      const text = JSON.parse(document.getElementById(`csv-${saver.dataset.key}`).textContent);
      save(text, "text/csv", `${saver.dataset.key}.csv`);
    });
  });

  /* A table as LaTeX (booktabs), in the order in which it is sorted; all in ASCII but for names of the user's. */
  const LATEX = {
    "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{",
    "}": "\\}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "−": "$-$", "±": "$\\pm$",
    "×": "$\\times$", "≈": "$\\approx$", "≥": "$\\geq$", "≤": "$\\leq$", "<": "$<$", ">": "$>$",
    "ε": "$\\varepsilon$", "μ": "$\\mu$", "τ": "$\\tau$", "·": "$\\cdot$", "✓": "$\\checkmark$", "…": "\\dots{}",
    "–": "--", "—": "---",
  };
  const escaped = (text) => [...text.replace(/\s+/g, " ").trim()].map((one) => LATEX[one] ?? one).join("");

  function latex(table, caption) {
    const lines = (rows) => rows.map((row) => `${[...row.cells].map((cell) => escaped(cell.textContent)).join(" & ")} \\\\`);
    const columns = [...table.tHead.rows[0].cells].map((cell) => (cell.classList.contains("number") ? "r" : "l")).join("");
    return [
      "% needs \\usepackage{booktabs,amssymb}",
      "\\begin{table}", "\\centering", `\\caption{${escaped(caption)}}`, `\\begin{tabular}{${columns}}`, "\\toprule",
      ...lines([...table.tHead.rows]), "\\midrule", ...lines([...table.tBodies[0].rows]), "\\bottomrule",
      "\\end{tabular}", "\\end{table}", "",
    ].join("\n");
  }

  document.querySelectorAll(".latex").forEach((saver) => {
    saver.addEventListener("click", () => {
      const key = saver.dataset.key;
      const caption = document.getElementById(`${key}-caption`).textContent;
      save(latex(document.getElementById(key), caption), "application/x-tex", `${key}.tex`);
    });
  });

  /* Contents: open beside the text on wide screens, folded above it on narrow ones; the current section is marked. */
  const contents = document.getElementById("contents");
  const wide = matchMedia("(min-width: 1080px)");
  const fit = () => { contents.open = wide.matches; };
  wide.addEventListener("change", fit);
  fit();
  contents.addEventListener("click", (event) => {
    if (event.target.closest("a") && !wide.matches) { contents.open = false; }
  });
  const links = new Map([...contents.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
  const sections = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -75% 0px" });
  document.querySelectorAll("main > section").forEach((section) => sections.observe(section));

  /* Print: everything drawn, light, and no wider than paper. */
  let before = null;
  window.addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    setTheme("light");
    drawAll();
    for (const box of drawn()) {
      Plotly.relayout(box, { autosize: false, width: Math.min(box.clientWidth, 660) });
    }
  });
  window.addEventListener("afterprint", () => {
    for (const box of drawn()) { Plotly.relayout(box, { autosize: true, width: null }); }
    setTheme(before || root.dataset.theme);
  });

  setTheme(root.dataset.theme);
  if (location.hash === "#all") { drawAll(); } else { drawNear(); drawWhenIdle(); }
  markDone();
})();
