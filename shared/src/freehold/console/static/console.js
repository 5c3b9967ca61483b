// What every page of a console does by script. Each page works without it, but is not live.

// Requests that a page makes by itself keep no session alive.
document.addEventListener("htmx:configRequest", (event) => {
  const trigger = event.detail.elt.getAttribute("hx-trigger") ?? "";
  if (trigger.includes("every ")) event.detail.headers["Freehold-Automatic"] = "yes";
});

// A deadline or a limit may answer before a page could be rendered: with a problem in JSON.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  const type = xhr.getResponseHeader("Content-Type") ?? "";
  if (!type.startsWith("application/problem+json")) return;
  event.detail.shouldSwap = false;
  say(JSON.parse(xhr.responseText).detail);
});
for (const failure of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, () => say("The service does not answer. The page tries again."));
}
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) document.getElementById("problem").replaceChildren();
});

function say(words) {
  const box = document.createElement("div");
  box.className = "problem";
  box.append(Object.assign(document.createElement("p"), { textContent: words }));
  document.getElementById("problem").replaceChildren(box);
}
