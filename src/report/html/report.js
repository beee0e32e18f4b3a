// Values on hover. Everything they show stands in the chart's table as well, so without a script
// nothing is missing.
const hover = () => { for (const chart of document.querySelectorAll("figure[data-across]")) {
  const plot = chart.querySelector(".plot");
  const svg = plot.querySelector("svg");
  const across = chart.dataset.across.split(" ").map(Number);
  const head = [...chart.querySelectorAll("thead th")].map((cell) => cell.textContent);
  const rows = [...chart.querySelectorAll("tbody tr")].map((row) =>
    [...row.children].map((cell) => cell.textContent));
  const cursor = document.createElement("div");
  const tip = document.createElement("div");
  cursor.className = "cursor";
  tip.className = "tip";
  const hide = () => { cursor.remove(); tip.remove(); };
  const show = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale;
    let nearest = 0;
    across.forEach((at, index) => {
      if (Math.abs(at - x) < Math.abs(across[nearest] - x)) nearest = index;
    });
    const row = rows[nearest];
    if (!row) return;
    const title = document.createElement("b");
    title.textContent = row[0];
    tip.replaceChildren(title);
    row.slice(1).forEach((value, index) => {
      const line = document.createElement("div");
      line.textContent = head[index + 1] + " " + value;
      tip.append(line);
    });
    plot.append(cursor, tip);
    const left = across[nearest] / scale;
    cursor.style.left = left + "px";
    const beside = left + 10 + tip.offsetWidth > box.width ? left - 10 - tip.offsetWidth : left + 10;
    tip.style.left = Math.max(0, beside) + "px";
  };
  plot.addEventListener("pointermove", show);
  plot.addEventListener("pointerdown", show);
  plot.addEventListener("pointerleave", hide);
} };
hover();
// The page of a run that goes on changes.
document.addEventListener("flowbench-page", hover);
