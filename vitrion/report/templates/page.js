"use strict";
// Tables are drawn from their data when they are opened: sorting and CSV have all digits.
function drawTable(box) {
  const { columns, rows } = JSON.parse(box.querySelector("script").textContent);
  const table = box.querySelector("table"), body = table.createTBody(), filter = box.querySelector("input");
  const show = value => value === null ? "–" : typeof value === "number" && !Number.isInteger(value)
    ? (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(3) : String(Number(value.toPrecision(4))))
    : value === true ? "yes" : value === false ? "no" : value;
  const lines = rows.map(row => {
    const line = document.createElement("tr");
    for (const value of row) line.insertCell().textContent = show(value);
    return { row, line, text: row.map(show).join(" ").toLowerCase() };
  });
  const draw = () => {
    const wanted = filter.value.toLowerCase();
    body.replaceChildren(...lines.filter(l => l.text.includes(wanted)).map(l => l.line));
  };
  const head = table.createTHead().insertRow();
  columns.forEach((column, index) => {
    const cell = document.createElement("th"), button = document.createElement("button");
    const unit = document.createElement("small");
    cell.scope = "col";
    cell.title = column.meaning;
    button.textContent = column.name;
    unit.textContent = column.unit;
    button.append(unit);
    cell.append(button);
    head.append(cell);
    button.addEventListener("click", () => {
      const up = cell.getAttribute("aria-sort") !== "ascending";
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      lines.sort((a, b) => {
        const x = a.row[index], y = b.row[index];
        if (x === null || y === null) return (x === null) - (y === null);
        const order = typeof x === "string" ? x.localeCompare(y) : x - y;
        return up ? order : -order;
      });
      draw();
    });
  });
  filter.addEventListener("input", draw);
  box.querySelector(".csv").addEventListener("click", () => {
    const quote = v => v === null ? "" : /[",\n]/.test(v) ? `"${String(v).replaceAll('"', '""')}"` : v;
    const text = [columns.map(c => c.name), ...rows].map(row => row.map(quote).join(",")).join("\n") + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = `${box.id.replace("table-", "")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  draw();
}
for (const box of document.querySelectorAll("details.data")) {
  box.addEventListener("toggle", () => { if (box.open && !box.querySelector("thead")) drawTable(box); });
}
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();

// The viewer: atoms by element, or the fragments by their number of central cations.
const glasses = JSON.parse(document.getElementById("glasses-data").textContent);
const place = document.getElementById("viewer");
function showViewer() {
  const choose = document.getElementById("glass"), mode = document.getElementById("mode");
  const alone = document.getElementById("alone"), note = document.getElementById("viewer-note");
  const legend = document.getElementById("legend");
  let viewer;
  try {
    viewer = $3Dmol.createViewer(place, { backgroundColor: "white", antialias: true });
  } catch (error) { viewer = null; }
  if (!viewer) { note.textContent = "This browser has no WebGL, which the 3D view needs."; return; }
  const elements = { Li: "#cc80ff", Na: "#ab5cf2", K: "#8f40d4", Al: "#8f9aa8", Ga: "#b98a6a", In: "#7f8a6d",
    Cl: "#2fae5b", Br: "#a64b2a", I: "#7d3fa0", O: "#e0201b" };
  const shadeOf = e => elements[e] || "#" + ($3Dmol.elementColors.Jmol[e] || 0x999999).toString(16).padStart(6, "0");
  const radii = { Li: .45, Na: .6, K: .75, Al: .5, Ga: .5, In: .6, O: .4, Cl: .45, Br: .5, I: .55 };
  const shades = ["#56B4E9", "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7"];
  const limits = [1, 2, 4, 8, 16];
  const shade = n => shades[limits.filter(limit => n > limit).length];
  const draw = keep => {
    const glass = glasses[choose.value], fragments = mode.value === "fragments";
    const view = viewer.getView();
    const bonds = glass.elements.map(() => []);
    for (const [i, j] of glass.bonds) { bonds[i].push(j); bonds[j].push(i); }
    const kept = glass.size.map(size => size > 0 || !alone.checked);
    const number = [];
    let count = 0;
    kept.forEach((yes, i) => { number[i] = yes ? count++ : -1; });
    viewer.removeAllModels();
    viewer.removeAllShapes();
    const model = viewer.addModel();
    model.addAtoms(glass.elements.flatMap((elem, i) => kept[i] ? [{
      elem, x: glass.xyz[3 * i], y: glass.xyz[3 * i + 1], z: glass.xyz[3 * i + 2], serial: number[i],
      bonds: bonds[i].map(j => number[j]).filter(j => j >= 0), bondOrder: bonds[i].map(() => 1),
      properties: { size: glass.size[i] },
    }] : []));
    const paint = atom => fragments && atom.properties.size > 0 ? shade(atom.properties.size) : shadeOf(atom.elem);
    viewer.setStyle({}, { sphere: { radius: .5, colorfunc: paint }, stick: { radius: .12, colorfunc: paint } });
    for (const elem of new Set(glass.elements))
      viewer.setStyle({ elem }, { sphere: { radius: radii[elem] || .5, colorfunc: paint }, stick: { radius: .12, colorfunc: paint } });
    const [a, b, c] = [0, 3, 6].map(k => glass.cell.slice(k, k + 3));
    const sum = (...v) => ["x", "y", "z"].reduce((o, k, n) => ({ ...o, [k]: v.reduce((s, u) => s + u[n], 0) }), {});
    const zero = [0, 0, 0];
    for (const [edge, others] of [[a, [b, c]], [b, [a, c]], [c, [a, b]]])
      for (const u of [zero, others[0]]) for (const w of [zero, others[1]])
        viewer.addLine({ start: sum(u, w), end: sum(u, w, edge), color: "#8a93a0" });
    if (keep) viewer.setView(view);
    else { viewer.zoomTo(); viewer.rotate(25, "y"); viewer.rotate(15, "x"); viewer.zoom(1.6); }
    viewer.render();
    const sizes = {};
    const centers = glass.elements.map((e, i) => i).filter(i => glass.centers.includes(glass.elements[i]));
    for (const i of centers) sizes[glass.size[i]] = (sizes[glass.size[i]] || 0) + 1 / glass.size[i];
    const listed = Object.entries(sizes).map(([size, n]) => `${Math.round(n)} of ${size}`).join(", ");
    note.textContent = `${glass.name}, ${glass.replica}: ${glass.elements.length} atoms. Fragments joined by ${glass.bridges.join(", ")}, by their number of central cations: ${listed}.`;
    legend.replaceChildren();
    const entries = fragments
      ? [...new Set(centers.map(i => shade(glass.size[i])))].map(colour => {
          const n = shades.indexOf(colour), low = n ? limits[n - 1] + 1 : 1;
          return [n === limits.length ? `over ${limits[n - 1]} cations` : low === limits[n] ? `${low} cation${low > 1 ? "s" : ""}` : `${low} to ${limits[n]} cations`, colour];
        })
      : [...new Set(glass.elements)].map(e => [e, shadeOf(e)]);
    for (const [label, colour] of entries) {
      const entry = document.createElement("span"), dot = document.createElement("i");
      dot.style.background = colour;
      entry.append(dot, label);
      legend.append(entry);
    }
    place.dataset.atoms = String(count);
  };
  glasses.forEach((glass, i) => choose.add(new Option(glass.name, i)));
  choose.addEventListener("change", () => draw(false));
  for (const control of [mode, alone]) control.addEventListener("change", () => draw(true));
  draw(false);
}
if (glasses.length) showViewer();
