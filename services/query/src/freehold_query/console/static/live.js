// Live balances: what a page shows changes as the books do, row by row.
//
// A section with data-stream names the stream of the balances that it shows. Each is an element with
// data-balance, and each of its figures one with data-field. If the section must be asked for anew, it
// gets an event "outdated", which htmx answers.

const MARKED_MS = 1_500;
const OUTDATED_MS = 1_000;
const AGAIN_MS = 5_000;
const SAID_MS = 3_000;
const NONE = "–";

class Live {
  constructor(section) {
    this.section = section;
    this.rows = new Map();
    for (const row of section.querySelectorAll("[data-balance]")) this.rows.set(row.dataset.balance, row);
    this.waiting = new Map();
    this.changed = new Set();
    this.open();
  }

  open() {
    this.source = new EventSource(this.section.dataset.stream);
    this.source.addEventListener("open", () => this.state("live", "good"));
    this.source.addEventListener("balance", (event) => this.take(JSON.parse(event.data)));
    // The ledger was restored, or who looks may not do so any more: the whole page says what is so now.
    for (const end of ["restart", "problem"]) this.source.addEventListener(end, () => location.reload());
    this.source.addEventListener("error", () => this.lost());
  }

  close() {
    this.source.close();
    clearTimeout(this.outdating);
  }

  // A browser comes again by itself, unless the server refused: then the page looks what is so.
  lost() {
    this.state("reconnecting", "warn");
    if (this.source.readyState === EventSource.CLOSED) this.outdated(AGAIN_MS);
  }

  outdated(after_ms) {
    this.outdating ??= setTimeout(() => {
      this.outdating = undefined;
      this.section.dispatchEvent(new Event("outdated"));
      // Where the answer is a refusal the section stays.
      if (this.source.readyState === EventSource.CLOSED) this.outdated(AGAIN_MS);
    }, after_ms);
  }

  // However many changes come, a frame shows the latest of each balance.
  take(balance) {
    if (this.waiting.size === 0) requestAnimationFrame(() => this.show());
    this.waiting.set(`${balance.account_id} ${balance.currency}`, balance);
  }

  show() {
    for (const [name, balance] of this.waiting) {
      const row = this.rows.get(name);
      if (row) this.update(row, name, balance);
      else if ([balance.currency, ""].includes(this.section.dataset.currency)) this.outdated(OUTDATED_MS);
    }
    this.waiting.clear();
    if (this.changed.size > 0) this.saying ??= setTimeout(() => this.say(), SAID_MS);
  }

  update(row, name, balance) {
    if (Number(row.dataset.seq) >= balance.last_seq) return;
    row.dataset.seq = balance.last_seq;
    for (const cell of row.querySelectorAll("[data-field]")) {
      const text = written(cell.dataset.field, balance);
      if (cell.textContent === text) continue;
      cell.textContent = text;
      // Holds have columns where there are any.
      if (cell.dataset.field === "held_minor") cell.closest("table")?.classList.add("with-holds");
      if (cell.dataset.field.endsWith("_minor")) cell.classList.toggle("negative", text.startsWith("−"));
      mark(cell);
    }
    this.changed.add(name);
  }

  // Heard by screen readers: not each change, but how many there were.
  say() {
    this.saying = undefined;
    const many = this.changed.size === 1 ? "1 balance" : `${this.changed.size} balances`;
    this.section.querySelector("[data-changes]").textContent =
      `${many} changed by ${new Date().toISOString().slice(11, 19)} UTC`;
    this.changed.clear();
  }

  state(words, kind) {
    const badge = this.section.querySelector("[data-state]");
    badge.textContent = words;
    badge.className = `badge ${kind}`;
  }
}

function written(field, balance) {
  if (field === "event_count") return balance.event_count.toLocaleString("en-US");
  if (field === "last_updated_time") return `${balance.last_updated_time.slice(0, 19).replace("T", " ")} UTC`;
  if (field === "held_minor" && balance.held_minor === "0") return NONE;
  return amount(balance[field], balance.exponent);
}

// As the server writes amounts. They are texts: a number of JavaScript has 53 bits.
function amount(minor, exponent) {
  const digits = minor.replace("-", "").padStart(exponent + 1, "0");
  const whole = digits.slice(0, digits.length - exponent).replace(/\B(?=(\d{3})+$)/g, ",");
  const decimals = exponent > 0 ? `.${digits.slice(-exponent)}` : "";
  return `${minor.startsWith("-") ? "−" : ""}${whole}${decimals}`;
}

function mark(cell) {
  cell.classList.add("changed");
  clearTimeout(cell.marked);
  cell.marked = setTimeout(() => cell.classList.remove("changed"), MARKED_MS);
}

let live;

function follow() {
  const section = document.hidden ? null : document.querySelector("[data-stream]");
  if (live && live.section === section) return;
  live?.close();
  live = section ? new Live(section) : undefined;
}

// A browser has few connections to a server: a page that nobody sees needs none.
document.addEventListener("visibilitychange", follow);
document.addEventListener("htmx:afterSwap", follow);
addEventListener("pagehide", () => live?.close());
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
follow();
