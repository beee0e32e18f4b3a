// Keeps the page of a run up to date: whenever the server says that there is more, its page takes the place of this one.
// What is folded out stays so, and where one has scrolled to.
const bar = document.querySelector(".live");
const state = bar.querySelector("b");
const link = bar.querySelector("a");
const words = bar.querySelector("span");
const query = location.search;
if (link) link.href += query;
let busy = false, again = false, over = false;
const refresh = async () => {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.pathname + query);
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = [...document.querySelectorAll("main details")].map((part) => part.open);
    for (const part of ["header", "main"]) {
      document.querySelector(part).replaceWith(document.adoptNode(page.querySelector(part)));
    }
    document.title = page.title;
    const told = page.querySelector(".live b");
    if (told) state.textContent = told.textContent;
    // The first of several results has a page of its own.
    if (!link && page.querySelector(".live a")) location.reload();
    document.querySelectorAll("main details").forEach((part, index) => { part.open = open[index] ?? part.open; });
    document.dispatchEvent(new Event("flowbench-page"));
    words.textContent = "";
  } catch (error) {
    words.textContent = "no answer from the run";
  }
  busy = false;
  if (again) { again = false; setTimeout(refresh, 500); }
};
const events = new EventSource("/events" + query);
events.addEventListener("changed", refresh);
events.addEventListener("over", async () => {
  events.close();
  over = true;
  await refresh();
  bar.remove();
});
events.onerror = () => { if (!over) words.textContent = "no answer from the run"; };
bar.querySelector("button").addEventListener("click", async (event) => {
  event.target.disabled = true;
  const answer = await fetch("/end" + query, { method: "POST" }).catch(() => null);
  words.textContent = answer && answer.ok ? "ending: nothing more is sent" : "it could not be ended";
});
