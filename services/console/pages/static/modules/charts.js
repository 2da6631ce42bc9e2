// Draws a figure with `data-chart` from the numbers of its table. uPlot comes with the pages that have a chart.
const HEIGHT = 220;
const DASHES = [[], [6, 4], [2, 3]];
const drawn = new WeakMap();
const time = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
const figure = new Intl.NumberFormat(document.documentElement.lang);
const clock = new Intl.DateTimeFormat(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const short = new Intl.NumberFormat(document.documentElement.lang, { notation: "compact" });

// A token may be a light-dark(); the colour of an element says which of the two it is now.
function colour(place, name) {
  place.style.color = `var(${name})`;
  const found = getComputedStyle(place).color;
  place.style.color = "";
  return found;
}

// An empty cell is a gap in the drawing.
function number(cell) {
  return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
}

function numbers(table) {
  const rows = [...table.tBodies[0].rows];
  const series = [...rows[0].cells].slice(1).map((_, at) => rows.map((row) => number(row.cells[at + 1])));
  return [rows.map((row) => Number(row.dataset.at)), ...series];
}

function draw(chart, anew) {
  const place = chart.querySelector(".chart");
  const note = chart.querySelector("[data-note]");
  const table = chart.querySelector("table");
  if (table.tBodies[0].rows.length < 2) return (place.hidden = true);
  const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.trim());
  const data = numbers(table);
  const known = drawn.get(chart);
  if (known && !anew) {
    // Figures that came by themselves: the same drawing, and not even that where they are the same.
    if (JSON.stringify(known.data) !== JSON.stringify(data)) known.setData(data);
    return;
  }
  const colours = ["--link", "--amber", "--green"].map((name) => colour(place, name));
  const axis = { stroke: colour(place, "--muted"), font: "12px system-ui", grid: { stroke: colour(place, "--line"), width: 1 }, ticks: { show: false } };
  const tell = (plot) => {
    const shown = plot.data;
    const at = plot.cursor.idx ?? shown[1].findLastIndex((one) => one !== null);
    note.textContent = [time.format(shown[0][at] * 1000), ...names.map((name, one) => [name, shown[one + 1][at]]).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${figure.format(value)}`)].join(" · ");
  };
  const band = chart.dataset.band?.split(" ").map(Number);
  known?.destroy();
  const plot = new uPlot({
    width: place.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false } },
    scales: { y: { range: (_, low, high) => [0, Math.max(high, 1) * 1.05] } },
    axes: [{ ...axis, grid: { show: false }, values: (_, ticks) => ticks.map((one) => clock.format(one * 1000)) }, { ...axis, size: 56, values: (_, ticks) => ticks.map((one) => short.format(one)) }],
    bands: band ? [{ series: band, fill: colour(place, "--line") }] : [],
    series: [{}, ...names.map((label, at) => ({ label, stroke: colours[at % 3], width: 1.5, dash: DASHES[at % 3], points: { show: false } }))],
    hooks: { setCursor: [tell], setData: [tell], ready: [tell] },
  }, data, place);
  drawn.set(chart, plot);
}

export function drawCharts(root, anew = false) {
  if (typeof uPlot === "undefined") return;
  for (const chart of root.querySelectorAll("[data-chart]")) {
    if (!drawn.has(chart)) new ResizeObserver(() => drawn.get(chart)?.setSize({ width: chart.clientWidth, height: HEIGHT })).observe(chart);
    draw(chart, anew);
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCharts(document, true));
