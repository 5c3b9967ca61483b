// The slider of an account's page: it moves the field "as of" between the first event and now.

const form = document.getElementById("moment");
const asOf = form.elements.namedItem("as_of");
const slider = form.querySelector("input[type=range]");
const first = Number(slider.dataset.first);
const last = Number(slider.dataset.last);
const end = Number(slider.max);

function timeOf(value) {
  return first + Math.round(((last - first) * value) / end);
}

// At its end stands now, which is no time to be remembered: tomorrow it is another one.
function toField() {
  asOf.value = Number(slider.value) === end ? "" : new Date(timeOf(Number(slider.value))).toISOString().slice(0, 23);
  say();
}

function fromField() {
  const at = asOf.value === "" ? last : Date.parse(`${asOf.value}Z`);
  slider.value = Math.round(((at - first) / (last - first)) * end);
  say();
}

function say() {
  slider.setAttribute("aria-valuetext", asOf.value === "" ? "now" : `${asOf.value.slice(0, 19).replace("T", " ")} UTC`);
}

// Before the form hears of it and asks for the page of that time.
slider.addEventListener("input", toField);
asOf.addEventListener("input", fromField);
if (first < last) slider.parentElement.hidden = false;
fromField();

// What has changed live is offered, and not put in the place of what somebody reads.
new MutationObserver(() => {
  const anew = document.querySelector("[data-anew]");
  if (anew && document.querySelector("[data-changes]").textContent !== "") anew.hidden = false;
}).observe(document.getElementById("account"), { childList: true, subtree: true });
