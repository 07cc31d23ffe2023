// The chat page. One conversation, kept in memory: reloading the page forgets it.
//
// What the base writes is only ever set as text, never as HTML. Everything here works without
// https, where browsers offer no clipboard, no service worker and no crypto.randomUUID.
"use strict";

const $ = (id) => document.getElementById(id);
const scroll = $("scroll"), log = $("log"), welcome = $("welcome"), question = $("question");
const send = $("send"), stop = $("stop"), latest = $("latest"), status = $("status");

/** The conversation as the server reads it: {role, content}. */
let turns = [];
/** The request under way, to abort it. */
let underWay = null;

const SAMPLES = [
  "Who are you?",
  "What is the capital of France?",
  "What is 27 plus 45?",
  "Turn on the kitchen light",
];

/** Makes an element with a class and text. */
function element(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

// ---- Scrolling: follow the answer, unless the reader has scrolled up.

const NEAR = 80; // pixels from the end that still count as "at the end"
let following = true;

function follow() {
  if (following) scroll.scrollTop = scroll.scrollHeight;
  latest.hidden = following;
}
scroll.addEventListener("scroll", () => {
  following = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR;
  latest.hidden = following;
}, { passive: true });
latest.addEventListener("click", () => { following = true; follow(); question.focus(); });
addEventListener("resize", follow);

// ---- The composer.

function composed() {
  send.disabled = question.value.trim() === "";
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}
question.addEventListener("input", composed);
question.addEventListener("keydown", (event) => {
  // 229: some input methods confirm a word with Enter and do not say that they are composing.
  const composing = event.isComposing || event.keyCode === 229;
  // On a touch keyboard there is no Shift+Enter: Enter makes lines, the button sends.
  const touch = matchMedia("(pointer: coarse)").matches;
  if (event.key === "Enter" && !event.shiftKey && !composing && !touch) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && underWay) underWay.abort();
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (text === "" || underWay) return;
  question.value = "";
  composed();
  ask(text);
});
stop.addEventListener("click", () => underWay && underWay.abort());
$("new").addEventListener("click", () => {
  if (underWay) underWay.abort();
  turns = [];
  log.replaceChildren();
  welcome.hidden = false;
  following = true;
  follow();
  question.focus();
});

// ---- Asking.

/** Shows a question and its answer. */
function ask(text) {
  welcome.hidden = true;
  // A question that got no answer is not asked again along with this one.
  if (turns.at(-1)?.role === "user") turns.pop();
  turns.push({ role: "user", content: text });
  const mine = element("p", "message mine", text);
  mine.dir = "auto";
  log.append(mine);
  following = true;
  return answer();
}

/** Asks the server to answer the conversation as it stands. */
async function answer() {
  const conversation = turns;
  const box = element("div", "message theirs writing");
  const text = element("div", "text");
  text.dir = "auto";
  box.append(text);
  log.append(box);
  log.setAttribute("aria-busy", "true");
  status.textContent = "Answering…";
  const abort = underWay = new AbortController();
  send.hidden = true;
  stop.hidden = false;
  follow();

  let said = "", figures = null, cut = false, problem = null;
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages: conversation, stream: true, truncation: "auto" }),
      signal: abort.signal,
    });
    if (!response.ok) throw await refusal(response);
    for await (const message of events(response.body)) {
      if (message.error) throw new Error(message.error.message);
      if (message.truncated_messages) {
        log.insertBefore(element("p", "note", "The beginning of this conversation no longer fits and was left out."), box);
      }
      for (const choice of message.choices) {
        said += choice.delta.content ?? "";
        cut ||= choice.finish_reason === "length";
      }
      figures = message.timings ?? figures;
      text.textContent = said;
      follow();
    }
  } catch (error) {
    if (error.name !== "AbortError") problem = error;
  }

  // "New chat" was pressed meanwhile: nothing of this is shown any more.
  const current = turns === conversation;
  if (underWay === abort) {
    underWay = null;
    stop.hidden = true;
    send.hidden = false;
    status.textContent = "";
    log.setAttribute("aria-busy", "false");
  }
  if (!current) return;
  box.classList.remove("writing");
  if (problem) {
    if (said === "") box.remove();
    log.append(apology(problem, box));
  } else {
    if (said !== "") turns.push({ role: "assistant", content: said });
    else text.textContent = abort.signal.aborted ? "" : "(no answer)";
    if (abort.signal.aborted) box.append(element("p", "figures", "Stopped."));
    else if (figures) box.append(element("p", "figures", describe(figures) + (cut ? " · cut off: no more room" : "")));
  }
  follow();
}

/** An error box with a button that asks again. */
function apology(problem, box) {
  const apology = element("div", "error");
  apology.setAttribute("role", "alert");
  // A TypeError is fetch's way to say that the server was not reached.
  const lost = problem instanceof TypeError;
  apology.append(element("span", "", lost ? "The server does not answer. Is it still running?" : problem.message));
  const again = element("button", "", "Try again");
  again.type = "button";
  again.addEventListener("click", () => {
    if (underWay) return;
    apology.remove();
    box.remove();
    answer();
    question.focus();
  });
  apology.append(again);
  return apology;
}

/** What to tell people about an answer that is none. */
async function refusal(response) {
  if (response.status === 429) {
    const seconds = response.headers.get("retry-after") ?? "a few";
    return new Error(`Many people are asking right now. Please try again in ${seconds} seconds.`);
  }
  if (response.status === 503) return new Error("The server is shutting down or starting. Please try again soon.");
  const body = await response.json().catch(() => null);
  if (body?.error?.code === "context_length_exceeded") {
    return new Error("This is too long for the base. Please shorten it, or start a new chat.");
  }
  return new Error(body?.error?.message ?? `The server answered ${response.status}.`);
}

/** The messages of a stream of server-sent events. Ends with [DONE], or throws. */
async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The answer broke off.");
    rest += decoder.decode(value, { stream: true });
    const whole = rest.split("\n\n");
    rest = whole.pop();
    for (const event of whole) {
      const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
      if (data === "[DONE]") return;
      if (data !== "") yield JSON.parse(data);
    }
  }
}

/** Figures of an answer in words. */
function describe(t) {
  const number = (value, digits) => value.toLocaleString(undefined, { maximumFractionDigits: digits });
  const parts = [`${number(t.predicted_n, 0)} tokens`];
  if (t.predicted_per_second > 0) parts.push(`${number(t.predicted_per_second, t.predicted_per_second < 100 ? 1 : 0)} tok/s`);
  parts.push(`first after ${number(t.ttft_ms / 1000, 2)} s`);
  return parts.join(" · ");
}

// ---- The beginning.

async function start() {
  try {
    const response = await fetch("/v1/models");
    const model = (await response.json()).data[0];
    $("model").textContent = model.id + (model.meta.ternary ? " · 1.58-bit" : "");
    if (!model.meta.chat) {
      $("about").textContent = "This base continues texts but does not converse. Use it through /v1/completions.";
    } else if (model.meta.demo) {
      const millions = (model.meta.n_params / 1e6).toFixed(1);
      $("about").textContent = `LocoLLM demo base, ${millions} million parameters, trained on generated exercises. `
        + "For real use install BitNet-2B-4T or Falcon-E. Everything stays on this machine.";
      for (const sample of SAMPLES) {
        const item = element("li", "");
        const button = element("button", "", sample);
        button.type = "button";
        button.addEventListener("click", () => { if (!underWay) { ask(sample); question.focus(); } });
        item.append(button);
        $("samples").append(item);
      }
    }
  } catch {
    $("about").textContent = "The server does not answer. Is it still running?";
  }
}
composed();
start();
