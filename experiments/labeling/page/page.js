// The page on which images are labeled. Commands (keys, clicks) run one at a time: an answer is sent, the server stores
// it, and its reply, the State, has the next image. Commands given meanwhile wait in order.

const TIMEOUT = 15_000; // milliseconds after which a request without a reply counts as a lost connection
const POLL = { reading: 500, ready: 1500 }; // milliseconds between two questions for the State
const LIMIT = 20; // commands that may wait
const KEPT = 40; // pictures kept in memory
const BLOCKED = "Not taken: see the message above the image.";
const PIXELS = 64; // images below this many pixels are scaled up without smoothing

const token = new URLSearchParams(location.search).get("token") ?? "";
const app = {
  browser: "", // random id of this tab
  state: null, // the server's last State
  shown: null, // {item, entry, since, failed}: the image on screen; entry is the answer that it already has
  busy: false, // a command is under way
  waiting: [], // commands to run after it
  problem: null, // {refuses, retry}: why commands are refused, and how to try again
  replies: 0, // States taken; a poll that one overtook is out of date
};
window.alJaxTimings = []; // {action, ms, queued}: from the key or click to the painted image, the last 1,000

// ---- Small helpers

const $ = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}%`;
// crypto.randomUUID is missing where the page is not read over loopback or https.
const random = () => [...crypto.getRandomValues(new Uint32Array(4))].map((n) => n.toString(36)).join("-");

/** An element with attributes and children. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "rect", "circle", "text"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Resolves after the next frame is painted: the first task after its animation callbacks. */
function painted() {
  return new Promise((done) =>
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = done;
      channel.port2.postMessage(null);
    }),
  );
}

let repeated = false;
/** Shows a sentence and has screen readers read it, also if it is the one before again. */
function say(sentence, refused = false) {
  const same = $("status").textContent.trimEnd() === sentence;
  repeated = same && !repeated;
  $("status").textContent = sentence + (repeated ? "\u00a0" : "");
  $("status").classList.toggle("refused", refused);
}

let sound = null;
/** Says that a key does nothing: in words, by a red frame and by a low tone. */
function refuse(sentence) {
  say(sentence, true);
  $("stage").classList.remove("refused");
  void $("stage").offsetWidth; // restarts the animation
  $("stage").classList.add("refused");
  clearTimeout(refuse.timer);
  refuse.timer = setTimeout(() => $("stage").classList.remove("refused"), 600);
  sound ??= new AudioContext();
  const tone = sound.createOscillator();
  const volume = sound.createGain();
  tone.frequency.value = 180;
  volume.gain.setValueAtTime(0.08, sound.currentTime);
  volume.gain.linearRampToValueAtTime(0, sound.currentTime + 0.15);
  tone.connect(volume).connect(sound.destination);
  tone.start();
  tone.stop(sound.currentTime + 0.15);
}

// ---- The server

class Problem extends Error {
  /** kind: "connection", "forbidden" or "server", with the HTTP status of the last. */
  constructor(kind, sentence, status = 0) {
    super(sentence);
    Object.assign(this, { kind, status });
  }
}

/** The server's reply to one request; raises a Problem. */
async function request(path, body) {
  const options = { headers: { "X-Token": token }, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body), priority: "high" });
  if (body) options.headers["Content-Type"] = "application/json";
  let response, text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch {
    throw new Problem("connection", "There is no connection to the server.");
  }
  let content = null;
  try {
    content = JSON.parse(text);
  } catch {
    content = { error: `The server's reply (status ${response.status}) cannot be read.` };
  }
  if (response.status === 403) throw new Problem("forbidden", content.error ?? "");
  if (content.error && (!response.ok || !content.phase)) throw new Problem("server", content.error, response.status);
  if (!response.ok) throw new Problem("server", `The server replied with status ${response.status}.`, response.status);
  return content;
}

/** Sends until the server has stored it, always with the same body, so that it is stored once.
 *
 * The reply is a State, or null if the person leaves out what the server refuses.
 */
async function send(path, body, what) {
  if (body.request) sessionStorage.setItem("al_jax.unsent", JSON.stringify({ token, path, body, what }));
  for (let tries = 0; ; tries++) {
    try {
      const state = await request(path, body);
      settle();
      return state;
    } catch (problem) {
      if (problem.kind === "connection") {
        await outage(what, Math.min(500 * 2 ** tries, 5000));
      } else if (problem.kind === "forbidden") {
        await moved(what);
      } else if (body.image === undefined && problem.status < 500) {
        settle();
        throw problem; // nothing to undo, a class name twice: no answer is at stake
      } else if (!(await decide(problem, what))) {
        settle();
        return null;
      }
    }
  }
}

function settle() {
  sessionStorage.removeItem("al_jax.unsent");
  clearProblem();
}

function showProblem(sentence, { refuses = true, retry = null, drop = null } = {}) {
  app.problem = { refuses, retry };
  $("problem").hidden = false; // before the text, or screen readers miss it
  if ($("problem-text").textContent !== sentence) $("problem-text").textContent = sentence;
  $("retry").hidden = !retry;
  $("drop").hidden = !drop;
  $("retry").onclick = retry;
  $("drop").onclick = drop;
}

function clearProblem() {
  if (!app.problem) return;
  if (app.problem.refuses) say("The server replies again.");
  app.problem = null;
  $("problem").hidden = true;
  $("problem-text").textContent = "";
}

/** Waits until it is time for the next try, or the person asks for it. */
function outage(what, ms) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    const retry = () => (clearTimeout(timer), done());
    window.addEventListener("online", retry, { once: true });
    const rest = `${what} is kept and sent again by itself; no key is taken until then.`;
    showProblem(`There is no connection to the server. ${rest}`, { retry });
  });
}

/** A server with another token cannot be reached from this page. */
function moved(what) {
  const loss = what ? ` ${what} may not have been stored.` : "";
  showProblem(`The server was started again: open the new address that it printed.${loss}`);
  return new Promise(() => {});
}

/** Waits for the person's decision; true for another try. */
function decide(problem, what) {
  return new Promise((done) => {
    const drop = problem.status < 500 ? () => done(false) : null; // another try may never succeed
    const rest = `${what} is not stored yet; no key is taken until it is.`;
    showProblem(`${problem.message} ${rest}`, { retry: () => done(true), drop });
  });
}

/** Asks for the State now and then; the image on screen stays. */
async function poll() {
  if (!app.busy && !document.hidden) {
    const replies = app.replies;
    try {
      const state = await request(`/state?browser=${app.browser}`);
      if (!app.busy) clearProblem();
      if (!app.busy && replies === app.replies) await take(state);
    } catch (problem) {
      if (!app.busy && problem.kind === "forbidden") return moved("");
      if (!app.busy) showProblem(`${problem.message} It is asked again by itself.`, { refuses: false });
    }
  }
  setTimeout(poll, app.state?.phase === "reading" ? POLL.reading : POLL.ready);
}

/** Takes a State that no command asked for. */
async function take(state) {
  if (state.phase === "ready" && state.error) showProblem(`${state.error}.`, { refuses: false });
  app.state = state;
  app.replies++;
  if (!app.shown || app.shown.failed) await exclusively(showCurrent);
  renderAll();
}

// ---- Pictures

const pictures = new Map(); // by number, the one used last at the end: {img, ready}
const stageSize = { width: 0, height: 0 };

const imageUrl = (image, small) => `/image/${image}?token=${encodeURIComponent(token)}${small ? "&size=small" : ""}`;

/** The picture of an image, loaded and decoded in advance; `ready` resolves to whether it can be shown. */
function picture(image) {
  let entry = pictures.get(image);
  if (!entry) {
    const img = new Image();
    img.decoding = "sync"; // painted in the frame in which it is put on the page
    img.src = imageUrl(image);
    entry = { img, done: false };
    entry.ready = img.decode().then(() => true, () => false);
    entry.ready.then((good) => (good ? (entry.done = true) : pictures.delete(image)));
  }
  pictures.delete(image);
  pictures.set(image, entry);
  for (const old of [...pictures.keys()].slice(0, -KEPT)) pictures.delete(old);
  return entry;
}

/** Scales the picture to the stage; a small one by a whole number, so that its pixels stay equal. */
function fit(img) {
  const small = Math.max(img.naturalWidth, img.naturalHeight) < PIXELS;
  let scale = Math.min(stageSize.width / img.naturalWidth, stageSize.height / img.naturalHeight);
  if (small && scale > 1) scale = Math.floor(scale);
  img.classList.toggle("pixels", small);
  img.style.width = `${Math.max(1, Math.round(scale * img.naturalWidth))}px`;
  img.style.height = `${Math.max(1, Math.round(scale * img.naturalHeight))}px`;
}

function measureStage() {
  Object.assign(stageSize, { width: $("stage").clientWidth - 16, height: $("stage").clientHeight - 16 });
  const img = $("stage").querySelector("img");
  if (img) fit(img);
}

// ---- What is on screen

const altText = (item) => `Image ${item.name}, number ${item.image}`;
const answerText = (entry) => ({ label: entry.label, skip: "skipped", unusable: "cannot be used" })[entry.action];

/** Puts an image on the stage, once it is decoded. */
async function show(item, entry = null) {
  const { img, ready, done } = picture(item.image);
  let good = done;
  if (!done) {
    const slow = setTimeout(() => $("stage").classList.add("waiting"), 150);
    good = await Promise.race([ready, sleep(TIMEOUT).then(() => false)]);
    clearTimeout(slow);
    $("stage").classList.remove("waiting");
  }
  if (good) {
    img.alt = altText(item);
    fit(img);
    $("stage").replaceChildren(img);
    $("stage").dataset.image = item.image;
  } else {
    notice("This image cannot be loaded", "It is tried again. S skips it, X marks it as one that cannot be used.");
  }
  $("stage").classList.toggle("earlier", entry !== null);
  app.shown = { item, entry, since: performance.now(), failed: !good };
  renderShown();
}

function notice(title, text, progress = null) {
  delete $("stage").dataset.image;
  const content = make("div", { class: "notice" }, make("strong", {}, title), make("p", {}, text));
  if (progress) content.append(progressBar(progress));
  $("stage").replaceChildren(content);
}

function progressBar({ text, done, total }) {
  const label = total ? `${text}: ${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : text;
  const bar = make("progress", { max: Math.max(total, 1), value: done, "aria-label": text });
  return make("div", {}, bar, make("p", { class: "small" }, label));
}

/** Shows the server's current image, or why there is none. */
async function showCurrent() {
  const { current, phase, error, finished, progress, classes } = app.state;
  if (phase === "ready" && current) return show(current);
  app.shown = null;
  $("stage").classList.remove("earlier");
  if (phase === "failed") notice("The images cannot be labeled", error);
  else if (phase === "reading") notice("One moment", progress ? "" : "The images are read.", progress);
  else if (finished) notice("Done", finished);
  else notice("One moment", classes.length ? "The next images are prepared." : "Add a class to begin.");
  renderShown();
}

/** The image's name, the guess and its answer; what changes in the same frame as the image. */
function renderShown() {
  const { item = null, entry = null } = app.shown ?? {};
  $("name").textContent = item ? item.name : "";
  $("name").title = item ? item.name : "";
  $("earlier").hidden = !entry;
  $("earlier").textContent = entry ? `Your answer: ${answerText(entry)}` : "";
  const guess = item?.guess ?? null;
  $("accept").setAttribute("aria-disabled", String(!guess));
  $("guess").textContent = guess ? `Guess: ${guess.label}, ${percent(guess.probability)}` : "No guess";
  for (const button of $("classes").children) {
    button.classList.toggle("guess", guess?.label === button.dataset.label);
    mark(button, entry?.action === "label" && entry.label === button.dataset.label);
  }
  for (const action of ["skip", "unusable"]) {
    mark(document.querySelector(`[data-command="${action}"]`), entry?.action === action);
  }
}

function mark(button, chosen) {
  button.classList.toggle("chosen", chosen);
  if (chosen) button.setAttribute("aria-pressed", "true");
  else button.removeAttribute("aria-pressed");
}

// ---- Commands

/** Runs a command now, or after those before it. */
function command(action, details = {}, time = performance.now()) {
  if (app.problem?.refuses) return refuse(BLOCKED);
  if (app.busy && app.waiting.length >= LIMIT) return refuse(`Not taken: ${LIMIT} keys wait for the server.`);
  app.waiting.push({ action, time, queued: app.busy, ...details });
  if (!app.busy) exclusively(runWaiting);
}

/** Runs a function during which commands wait, then those that waited. */
async function exclusively(work) {
  app.busy = true;
  try {
    await work();
    if (work !== runWaiting) await runWaiting();
  } finally {
    app.busy = false;
  }
}

async function runWaiting() {
  while (app.waiting.length) await run(app.waiting.shift());
}

async function run(next) {
  const before = app.shown;
  try {
    await COMMANDS[next.action](next);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return refuse(problem.message);
  }
  if (app.shown === before) return;
  await painted(); // a waiting key applies to an image that was on screen
  window.alJaxTimings.push({ action: next.action, ms: performance.now() - next.time, queued: next.queued });
  if (window.alJaxTimings.length > 1000) window.alJaxTimings.shift();
  renderAll();
}

/** Sends, shows the reply's current image and says what happened. */
async function exchange(path, body, what, words) {
  let state = await send(path, body, what);
  const left = state ? null : leaveOut(what);
  state ??= await request(`/state?browser=${app.browser}`);
  app.state = state;
  app.replies++;
  await showCurrent();
  if (left) refuse(left);
  else if (state.notice) refuse(state.notice);
  else say(words(state));
}

/** Gives up what the server refuses, with the keys that came after it. */
function leaveOut(what) {
  const keys = app.waiting.length;
  app.waiting = [];
  app.shown = null; // so that the next State that arrives is shown
  return `${what} was left out${keys ? `, and ${plural(keys, "key")} that came after it` : ""}.`;
}

async function answer({ action, label = null, time }) {
  if (!app.shown) return refuse("Not taken: there is no image to answer.");
  const { item, entry, since } = app.shown;
  const seconds = Math.max(0, time - since) / 1000;
  const words = answerText({ action, label });
  const what = `The answer “${words}” to ${item.name}`;
  const body = { browser: app.browser, request: random(), image: item.image, action, label, seconds };
  const replaced = entry ? ", in place of the answer before" : "";
  await exchange("/answer", body, what, (state) => {
    return `${words}: ${item.name}${replaced}.${state.current ? "" : " No image is left."}`;
  });
}

const COMMANDS = {
  label: answer,
  skip: answer,
  unusable: answer,

  async accept(given) {
    const guess = app.shown?.item.guess;
    if (!guess) return say("No guess is shown for this image: choose a class.");
    return answer({ ...given, action: "label", label: guess.label });
  },

  async undo() {
    if (!app.state.history.length) return say("There is no answer to undo.");
    const body = { browser: app.browser, request: random() };
    const words = ({ current }) => `Taken back: the answer to ${current?.name ?? "an image"}.`;
    await exchange("/undo", body, "The undo", words);
  },

  async back() {
    const entry = app.state.history[position() - 1];
    if (!entry) return say("There is no image before this one.");
    await showEntry(entry);
  },

  async forward() {
    if (!app.shown?.entry) return say("This is the image to answer: there is none after it yet.");
    const entry = app.state.history[position() + 1];
    if (entry) return showEntry(entry);
    await showCurrent();
    say("Back at the image to answer.");
  },

  async earlier({ image }) {
    const entry = app.state.history.find((old) => old.image === image);
    if (entry) await showEntry(entry);
  },

  async add({ name }) {
    app.state = await send("/class", { browser: app.browser, request: random(), name }, `The class “${name}”`);
    app.replies++;
    if (!app.shown) await showCurrent();
    $("add-name").value = "";
    renderAll();
    say(`Class added: ${name}.`);
  },
};

/** Where in the history the image on screen is; after the end if it is the one to answer. */
function position() {
  const { history } = app.state;
  const index = app.shown?.entry ? history.findIndex((entry) => entry.image === app.shown.item.image) : -1;
  return index < 0 ? history.length : index;
}

async function showEntry(entry) {
  await show({ image: entry.image, name: entry.name, guess: null, why: null }, entry);
  say(`${entry.name}: your answer is “${answerText(entry)}”. A key replaces it.`);
}

// ---- Keys and clicks

const KEYS = {
  u: "undo", s: "skip", x: "unusable", enter: "accept", arrowleft: "back", arrowright: "forward",
  a: "name", "/": "type", "?": "keys",
};

/** The class of a digit key, 0 being the tenth; null for other keys. By position where digits need Shift (AZERTY). */
function digit(event) {
  const typed = /^\d$/.test(event.key) ? event.key : event.shiftKey ? null : /^Digit(\d)$/.exec(event.code)?.[1];
  return typed ? (Number(typed) + 9) % 10 : null;
}

function labelWith(index, time) {
  const label = app.state?.classes[index];
  if (label === undefined) return refuse(`Not taken: there is no class ${index + 1}.`);
  command("label", { label }, time);
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.defaultPrevented) return;
  if (!app.state || document.querySelector("dialog[open]")) return;
  if (event.target.closest("button, summary") && ["Enter", " "].includes(event.key)) {
    return event.repeat && event.preventDefault(); // the control's own
  }
  const typing = event.target.matches("input");
  if (typing && event.key === "Escape") return event.target.blur();
  const inField = event.target === $("typed-name") && event.target.value === "";
  if (typing && !inField) return;
  const name = KEYS[event.key.toLowerCase()];
  const index = digit(event);
  if (inField && index === null && !["accept", "back", "forward"].includes(name)) return;
  if (index === null && !name) return hint(event);
  event.preventDefault();
  if (event.repeat) return;
  if (app.problem?.retry && name === "accept") return app.problem.retry();
  if (index !== null) labelWith(index, event.timeStamp);
  else dispatch(name, event.timeStamp);
}

/** A letter without a meaning: says how names are typed, if they are. */
function hint({ key }) {
  if (!$("typed").hidden && /^\S$/u.test(key)) say("Press / to type the name of a class.");
}

function dispatch(name, time) {
  if (name === "keys") $("keys").showModal();
  else if (name === "name") $("add-name").focus();
  else if (name === "type" && $("typed").hidden) say("Names are typed with more than ten classes.");
  else if (name === "type") $("typed-name").focus();
  else command(name, {}, time);
}

function onClick(event) {
  const button = event.target.closest("button");
  if (!button || !app.state) return;
  const { label, image, command: name } = button.dataset;
  if (label !== undefined) command("label", { label }, event.timeStamp);
  else if (image !== undefined) command("earlier", { image: Number(image) }, event.timeStamp);
  else if (name) dispatch(name, event.timeStamp);
}

// ---- The field for the names of more than ten classes

let chosen = 0;

function matching(text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const found = app.state.classes.filter((name) => name.toLowerCase().includes(wanted));
  const rank = (name) => [name.toLowerCase() === wanted, name.toLowerCase().startsWith(wanted)].indexOf(true);
  return found.sort((a, b) => (rank(a) + 3) % 3 - (rank(b) + 3) % 3).slice(0, 8);
}

function renderMatches() {
  const names = matching($("typed-name").value);
  chosen = Math.max(0, Math.min(chosen, names.length - 1));
  $("matches").replaceChildren(
    ...names.map((name, i) => make("li", { role: "option", id: `match-${i}`, "aria-selected": i === chosen }, name)),
  );
  $("matches").hidden = !names.length;
  $("typed-name").setAttribute("aria-expanded", String(names.length > 0));
  if (names.length) $("typed-name").setAttribute("aria-activedescendant", `match-${chosen}`);
  else $("typed-name").removeAttribute("aria-activedescendant");
}

function chooseTyped(name, time) {
  if (name === undefined) return refuse(`Not taken: no class matches “${$("typed-name").value.trim()}”.`);
  $("typed-name").value = "";
  renderMatches();
  command("label", { label: name }, time);
}

function onTypedKey(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    chosen += step;
    renderMatches();
  } else if (event.key === "Enter" && $("typed-name").value !== "" && !event.isComposing) {
    event.preventDefault();
    if (app.problem?.retry) return app.problem.retry();
    if (app.problem?.refuses) return refuse(BLOCKED);
    if (!event.repeat) chooseTyped(matching($("typed-name").value)[chosen], event.timeStamp);
  } else if (event.key === "Escape") {
    $("typed-name").value = "";
    renderMatches();
  }
}

// ---- Around the image, after it is painted

/** Everything but the image: it may take a few milliseconds, and nobody waits for it. */
function renderAll() {
  const { state } = app;
  renderHeader(state);
  renderClasses(state.classes);
  renderStrip(state);
  renderPanel(state.stats);
  if (state.phase !== "reading") preload(state);
}

function preload({ current, upcoming, history }) {
  for (const entry of history.slice(-2)) picture(entry.image);
  for (const item of [...upcoming].reverse()) picture(item.image);
  if (current) picture(current.image);
}

function renderHeader({ folder, annotator, stats }) {
  $("folder").textContent = folder;
  $("folder").title = folder;
  $("annotator").textContent = annotator ?? "";
  $("answered").hidden = !stats?.images;
  if (!stats?.images) return;
  const answered = stats.images - stats.left;
  $("total").textContent = `${answered.toLocaleString("en")} of ${plural(stats.images, "image")}`;
  Object.assign($("answered"), { max: stats.images, value: answered });
  document.title = `${folder}: ${answered} of ${stats.images}`;
}

let classesShown = null;

function renderClasses(classes) {
  if (classesShown === classes.length) return; // classes are added, never changed
  classesShown = classes.length;
  const buttons = classes.map((name, i) => {
    const button = make("button", { type: "button", title: name }, make("span", {}, name));
    if (i < 10) button.prepend(make("kbd", {}, String((i + 1) % 10)));
    button.dataset.label = name;
    return button;
  });
  $("classes").replaceChildren(...buttons);
  $("typed").hidden = classes.length <= 10;
  renderShown();
}

/** The last answers, the image to answer and those to come, small; cells that stay are kept. */
function renderStrip({ history, upcoming, current }) {
  const before = history.slice(-4);
  const cells = before.map((entry) => [`before ${entry.image} ${answerText(entry)}`, () => beforeCell(entry)]);
  if (current) cells.push([`now ${current.image}`, () => thumbnail(current.image)]);
  for (const { image } of upcoming) cells.push([`after ${image}`, () => thumbnail(image)]);
  const old = new Map([...$("strip").children].map((li) => [li.dataset.key, li]));
  const list = cells.map(([key, content]) => {
    const [place, image] = key.split(" ");
    const li = old.get(key) ?? make("li", { class: place }, content());
    li.dataset.key = key;
    li.classList.toggle("on", Number(image) === app.shown?.item.image);
    if (place !== "before") li.setAttribute("aria-hidden", "true"); // nothing can be done with them yet
    return li;
  });
  $("strip").replaceChildren(...list);
}

function thumbnail(image) {
  const img = make("img", { fetchpriority: "low", src: imageUrl(image, true), alt: "", width: 48, height: 48 });
  img.onload = () => img.classList.toggle("pixels", Math.max(img.naturalWidth, img.naturalHeight) < PIXELS);
  return img;
}

function beforeCell(entry) {
  const label = `${entry.name}, your answer: ${answerText(entry)}`;
  const content = [thumbnail(entry.image), make("span", {}, answerText(entry))];
  const button = make("button", { type: "button", "aria-label": label, title: label }, ...content);
  button.dataset.image = entry.image;
  return button;
}

// ---- The side panel

function renderPanel(stats) {
  for (const section of document.querySelectorAll("aside section")) section.hidden = true;
  if (!stats?.images) return;
  renderAdvice(stats.advice);
  renderLabels(stats);
  renderAccuracy(stats.accuracy, stats.target);
  renderCurve(stats.curve ?? [], stats.target);
  renderWhy();
  renderModel(stats.model);
  renderAgreement(stats.agreement);
  renderUnreadable(stats.unreadable);
}

function renderAdvice(advice) {
  if (!advice) return;
  $("advice").hidden = false;
  $("advice").classList.toggle("stop", advice.stop);
  if (advice.stop && $("advice-title").textContent !== advice.title) $("advice-why").open = true;
  $("advice-title").textContent = advice.title;
  $("advice-lines").replaceChildren(...advice.lines.map((line) => make("li", {}, line)));
}

function renderLabels({ labels, per_class, skipped, unusable, per_minute, left }) {
  $("labels").hidden = false;
  const counts = [
    ["labels", labels],
    ["per minute", per_minute === null ? "–" : per_minute.toFixed(per_minute < 10 ? 1 : 0)],
    ["skipped", skipped],
    ["cannot be used", unusable],
    ["images left", left],
  ];
  $("counts").replaceChildren(
    ...counts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value.toLocaleString("en")))),
  );
  const most = Math.max(1, ...Object.values(per_class));
  $("per-class").replaceChildren(
    ...app.state.classes.map((name) => {
      const count = per_class[name] ?? 0;
      const fill = make("i");
      fill.style.width = percent(count / most);
      const bar = make("div", { class: "bar", "aria-hidden": "true" }, fill);
      return make("li", {}, make("span", { title: name }, name), bar, make("span", {}, String(count)));
    }),
  );
}

/** Enough digits that the ends of an interval differ. */
const digitsOf = ({ low, high }) => (high - low < 0.05 ? 1 : 0);

function renderAccuracy(accuracy, target) {
  if (!accuracy) return;
  $("accuracy").hidden = false;
  const { estimate, low, high, answers, skipped, unusable, text } = accuracy;
  const digits = digitsOf(accuracy);
  const known = estimate !== null;
  $("estimate").replaceChildren(
    known ? percent(estimate, digits) : "–",
    make("small", {}, ` ${known ? `between ${percent(low, digits)} and ${percent(high, digits)}` : "not known yet"}`),
  );
  $("interval").replaceChildren(...(known ? [intervalPlot(accuracy, target)] : []));
  const beside = [skipped && `${skipped} skipped`, unusable && `${unusable} that cannot be used`].filter(Boolean);
  const counted = `From ${plural(answers, "answer")}${beside.length ? ` (and ${beside.join(", ")})` : ""}`;
  $("accuracy-text").textContent = `${counted}: ${text}.`;
}

function intervalPlot({ estimate, low, high }, target) {
  const x = (share) => 4 + 312 * share;
  const svg = make("svg", { viewBox: "0 0 320 38", "aria-hidden": "true" });
  svg.append(make("rect", { class: "track", x: x(0), y: 8, width: 312, height: 8, rx: 4 }));
  svg.append(make("rect", { class: "range", x: x(low), y: 8, width: Math.max(2, x(high) - x(low)), height: 8, rx: 4 }));
  svg.append(make("circle", { class: "point", cx: x(estimate), cy: 12, r: 6 }));
  if (target) {
    svg.append(make("line", { class: "target", x1: x(target), x2: x(target), y1: 2, y2: 22 }));
    const place = { class: "target-name", x: x(target), y: 35, "text-anchor": target > 0.2 ? "end" : "start" };
    svg.append(make("text", place, `target ${percent(target)}`));
  }
  return svg;
}

function renderCurve(points, target) {
  if (!points.length) return;
  $("curve").hidden = false;
  $("curve-plot").replaceChildren(curvePlot(points, target));
}

/** A step for an axis: 1, 2 or 5 times a power of ten, with at most `most` steps in the range. */
function niceStep(range, most) {
  const power = 10 ** Math.floor(Math.log10(range / most));
  return power * [1, 2, 5, 10].find((factor) => range / (power * factor) <= most);
}

function curvePlot(points, target) {
  const [left, right, top, bottom] = [38, 306, 26, 160];
  const last = points.at(-1).labels;
  const step = Math.max(1, niceStep(Math.max(last, 2), 4));
  const end = Math.max(last, step);
  const lowest = Math.min(...points.map((point) => point.low), target ?? 1);
  const floor = Math.max(0, Math.floor(lowest * 10 - 1e-9) / 10);
  const x = (labels) => left + ((right - left) * labels) / end;
  const y = (share) => bottom - ((bottom - top) * (share - floor)) / (1 - floor);
  const words = points.map((point) => `${percent(point.accuracy)} at ${point.labels}`).join(", ");
  const spoken = `Accuracy by number of labels: ${words}`;
  const svg = make("svg", { viewBox: "0 0 320 195", role: "img", "aria-label": spoken });
  const rise = 1 - floor > 0.5 ? 0.2 : 1 - floor > 0.25 ? 0.1 : 0.05;
  for (let share = 1; share >= floor - 1e-9; share -= rise) {
    svg.append(make("line", { class: "axis", x1: left, x2: right, y1: y(share), y2: y(share) }));
    svg.append(make("text", { x: left - 5, y: y(share) + 4, "text-anchor": "end" }, percent(share)));
  }
  for (let labels = 0; labels <= end; labels += step) {
    svg.append(make("line", { class: "axis", x1: x(labels), x2: x(labels), y1: bottom, y2: bottom + 4 }));
    svg.append(make("text", { x: x(labels), y: bottom + 16, "text-anchor": "middle" }, labels.toLocaleString("en")));
  }
  svg.append(make("text", { x: (left + right) / 2, y: bottom + 31, "text-anchor": "middle" }, "labels"));
  svg.append(make("text", { x: 0, y: 10 }, "accuracy"));
  const path = (list) => list.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
  const upper = points.map((point) => [point.labels, point.high]);
  const lower = points.map((point) => [point.labels, point.low]).reverse();
  svg.append(make("path", { class: "band", d: `${path([...upper, ...lower])}Z` }));
  if (target) {
    svg.append(make("line", { class: "target", x1: left, x2: right, y1: y(target), y2: y(target) }));
    svg.append(make("text", { class: "target-name", x: left + 4, y: y(target) - 4 }, `target ${percent(target)}`));
  }
  svg.append(make("path", { class: "line", d: path(points.map((point) => [point.labels, point.accuracy])) }));
  for (const { labels, accuracy, low, high } of points.length <= 25 ? points : points.slice(-1)) {
    svg.append(make("line", { class: "whisker", x1: x(labels), x2: x(labels), y1: y(low), y2: y(high) }));
    svg.append(make("circle", { class: "point", cx: x(labels), cy: y(accuracy), r: 3.5 }));
  }
  return svg;
}

function renderWhy() {
  const { item, entry } = app.shown ?? {};
  if (!item || entry) return;
  $("why").hidden = false;
  const { acquisition, score } = item.why ?? {};
  const value = typeof score === "number" ? `, score ${Number(score.toPrecision(3))}` : "";
  $("why-text").textContent = item.why ? `Chosen by ${acquisition}${value}.` : "Shown without a guess or a score.";
}

function renderModel(model) {
  $("model").hidden = false;
  const past = model?.labels > 0 && `${model.description}; round ${model.round}, trained on ${plural(model.labels, "label")}.`;
  $("model-text").textContent = past || "The first model is trained once there are enough labels.";
  if (past && model.busy) $("model-text").append(" The next round is under way.");
  $("model-text").classList.toggle("busy", Boolean(model?.busy));
  $("model-progress").replaceChildren(...(model?.progress ? [progressBar(model.progress)] : []));
}

function renderAgreement(agreement) {
  if (!agreement) return;
  $("agreement").hidden = false;
  const kappa = typeof agreement.kappa === "number" ? `, Cohen's kappa ${agreement.kappa.toFixed(2)}` : "";
  const { equal, images } = agreement;
  $("agreement-text").textContent = `${equal} of ${plural(images, "image")} labeled twice have equal labels${kappa}.`;
}

function renderUnreadable(unreadable) {
  if (!unreadable?.count) return;
  $("unreadable").hidden = false;
  $("unreadable-count").textContent = `${plural(unreadable.count, "file")}, left out`;
  $("unreadable-examples").replaceChildren(...unreadable.examples.map((example) => make("li", {}, example)));
}

// ---- Start

/** A tab's id. A duplicated tab copies it: the tab that has it replies, and this one takes another. */
async function tabId() {
  const channel = new BroadcastChannel("al_jax");
  let id = sessionStorage.getItem("al_jax.browser");
  let taken = false;
  channel.onmessage = ({ data }) => (taken ||= data.taken === id);
  if (id) {
    channel.postMessage({ asked: id });
    await sleep(80);
  }
  if (!id || taken) {
    id = random();
    sessionStorage.setItem("al_jax.browser", id);
    sessionStorage.removeItem("al_jax.unsent");
  }
  channel.onmessage = ({ data }) => data.asked === id && channel.postMessage({ taken: id });
  return id;
}

/** Asks for the annotator's name until the server has taken it. */
function join() {
  $("join-name").value = localStorage.getItem("al_jax.annotator") ?? "";
  $("join").showModal();
  $("join-name").select();
  return new Promise((done) => {
    $("join").addEventListener("cancel", (event) => event.preventDefault()); // no answer without a name
    $("join-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const annotator = $("join-name").value.trim() || "me";
      try {
        const state = await request("/join", { browser: app.browser, annotator });
        localStorage.setItem("al_jax.annotator", annotator);
        $("join").close();
        done(state);
      } catch (problem) {
        const forbidden = problem.kind === "forbidden";
        $("join-error").textContent = forbidden ? "Open the new address that the server printed." : problem.message;
      }
    });
  });
}

/** An answer that a reload of the page cut off, to the same server: stored now, once, by its id. */
async function sendUnsent(state) {
  const unsent = JSON.parse(sessionStorage.getItem("al_jax.unsent") ?? "null");
  if (unsent?.token !== token) return state;
  return (await send(unsent.path, unsent.body, unsent.what)) ?? state;
}

/** Shows the progress until the images are read, or never will be. */
async function read(state) {
  app.state = state;
  while (!state.stats && state.phase === "reading") {
    renderHeader(state);
    await showCurrent();
    await sleep(POLL.reading);
    state = app.state = await request(`/state?browser=${app.browser}`).catch(() => state);
  }
  return state;
}

async function start() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", onClick);
  // A click leaves the focus where it was, so that Enter after it accepts a guess and does not press the button again.
  document.addEventListener("mousedown", (event) => event.target.closest("button, #matches") && event.preventDefault());
  $("typed-name").addEventListener("keydown", onTypedKey);
  $("typed-name").addEventListener("input", () => ((chosen = 0), renderMatches()));
  $("matches").addEventListener("click", (event) => chooseTyped(event.target.textContent, event.timeStamp));
  $("typed").addEventListener("submit", (event) => event.preventDefault());
  $("add").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("add-name").value.trim();
    if (name) command("add", { name });
    else refuse("Not taken: the new class has no name.");
  });
  window.addEventListener("beforeunload", (event) => app.busy && app.problem?.refuses && event.preventDefault());
  new ResizeObserver(measureStage).observe($("stage"));
  measureStage();
  app.browser = await tabId();
  let state = null;
  while (!state) {
    try {
      state = await request(`/state?browser=${app.browser}`);
    } catch (problem) {
      if (problem.kind === "forbidden") await moved("");
      showProblem(`${problem.message} It is asked again by itself.`, { refuses: false });
      await sleep(1000);
    }
  }
  clearProblem();
  state = await read(state);
  renderHeader(state);
  if (!state.annotator) state = await join();
  app.busy = true;
  try {
    state = await sendUnsent(state);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    refuse(problem.message);
  } finally {
    app.busy = false;
  }
  await take(state);
  poll();
}

start();
