// Computes an event's hash anew, of the bytes that the page shows.

const section = document.querySelector("[data-proof]");

function bytes(hex) {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function say(kind, words) {
  const result = section.querySelector("[data-result]");
  result.className = kind;
  result.textContent = words;
}

// Browsers have WebCrypto over HTTPS, and on their own machine.
if (globalThis.crypto?.subtle) {
  const { previous, content, hash } = section.dataset;
  const computed = hex(await crypto.subtle.digest("SHA-256", bytes(previous + content)));
  if (computed === hash) say("success", "Verified by your browser: it computed the same hash.");
  else say("problem", `Not verified: your browser computed ${computed}, and the ledger has another hash.`);
} else {
  say("notice", "Your browser computes hashes over HTTPS only. Open this page over HTTPS, or compute it by hand.");
}
