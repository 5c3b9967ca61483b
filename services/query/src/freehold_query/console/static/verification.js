// Runs a verification, and shows its progress and its verdict: lines of JSON, as they come.

const form = document.querySelector("[data-verification]");
const button = form?.querySelector("button");
const number = new Intl.NumberFormat("en-US");
let running;
let next = 1;

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort();
  else verify();
});

async function verify() {
  running = new AbortController();
  button.textContent = "Stop";
  verdict("", next === 1 ? "Verifying." : `Going on from event ${number.format(next)}.`);
  try {
    await follow(await fetch(`${form.action}?from_seq=${next}`, { signal: running.signal }));
  } catch (error) {
    if (running.signal.aborted) broken("You stopped the verification.");
    else broken(error instanceof Refused ? error.message : "The connection broke.");
  }
  running = undefined;
  if (button.textContent === "Stop") button.textContent = "Verify the whole ledger";
}

class Refused extends Error {}

async function follow(answer) {
  // Who is not signed in any more is led to the page for it.
  if (answer.redirected) return location.reload();
  if (!answer.ok) throw new Refused("The service refused: it may be busy, or your key may have ended. Try again.");
  const lines = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let isOver = false;
  for (;;) {
    const { value, done } = await lines.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) isOver = show(JSON.parse(part)) || isOver;
  }
  if (!isOver) throw new Error("no verdict");
}

// Says whether the line was the last one.
function show(line) {
  if (line.done === undefined) {
    next = line.verified_through_seq + 1;
    progress(line.verified_through_seq, line.to_seq);
    return false;
  }
  if (!line.done) {
    next = line.verified_through_seq + 1;
    broken(line.error.detail);
    return true;
  }
  next = 1;
  if (line.ok) {
    progress(line.to_seq, line.to_seq);
    verdict(
      "success",
      `The ledger is whole: all ${number.format(line.to_seq)} events are as they were recorded. It ends with the hash ${line.head_hash}.`,
    );
  } else {
    verdict(
      "problem",
      `Something was changed. At event ${number.format(line.first_bad_seq)}: ${line.reason}. Tell who runs Freehold for you: a backup may have the event as it was.`,
    );
  }
  return true;
}

function progress(through, to) {
  const shown = form.querySelector("[data-progress]");
  shown.hidden = false;
  shown.querySelector("progress").value = to ? through / to : 1;
  shown.querySelector("[data-count]").textContent = `${number.format(through)} of ${number.format(to)} events`;
}

function broken(why) {
  if (next > 1) button.textContent = "Go on";
  verdict("notice", `${why} ${next > 1 ? `Everything through event ${number.format(next - 1)} is as it was recorded.` : ""}`);
}

function verdict(kind, words) {
  const box = form.querySelector("[data-verdict]");
  box.className = kind;
  box.textContent = words;
}
