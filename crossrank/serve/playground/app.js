// The playground: one page, one request, no library. What it sends is what it shows to copy.
"use strict";

const $ = (id) => document.getElementById(id);
const base = location.href.replace(/[?#].*$/, "").replace(/[^/]*$/, "");
const route = base + "jina/v1/rerank"; // --dialect may have made another format the rule of the bare path

const EXAMPLES = {
  "Skin care": {
    query: "Organic skincare products for sensitive skin",
    documents: [
      "Eco-friendly kitchenware for modern homes",
      "Biodegradable cleaning supplies for eco-conscious consumers",
      "Organic cotton baby clothes for sensitive skin",
      "Natural organic skincare range for sensitive skin. Free of perfume and tested by dermatologists.",
      "Tech gadgets for smart homes: 2024 edition",
      "Sustainable gardening tools and compost solutions",
      "Sensitive skin-friendly facial cleansers and toners",
      "Organic food wraps and storage solutions",
      "Yoga mats made from recycled materials",
    ],
  },
  "A question": {
    query: "How do bees find their way back to the hive?",
    documents: [
      "Honey keeps for years because it holds so little water. Jars found in old tombs were still good to eat.",
      "Bees remember landmarks and the angle of the sun. On the way home they use both, and near the hive its smell.",
      "A hive has one queen. She may lay two thousand eggs on a day in spring.",
      "Pigeons find their way home from hundreds of miles away. They seem to sense the magnetic field of the earth.",
      "Wasps build their nests from chewed wood. They die in the first frost.",
    ],
  },
  "Tools": {
    query: "The customer wants their money back for order 4711",
    documents: [
      "get_weather(city): the weather in a city today",
      "refund_order(order_id, reason): pay back a customer's order",
      "track_parcel(order_id): where a parcel is now",
      "create_ticket(subject, text): open a support ticket for a person to read",
      "send_invoice(order_id): send the invoice of an order once more",
    ],
  },
};

const SHOWN_PASSAGES = 10; // documents whose sentences are ranked for the highlight
let turn = 0;
let keyed = false; // whether the server asks for a key
let waiting = false; // for the model to be loaded
let language = "curl";
let timer;

async function post(body) {
  const response = await fetch(route, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({ detail: `status ${response.status}` }));
  if (!response.ok) throw new Error(answer.detail || `status ${response.status}`);
  return { answer, server: Number(response.headers.get("x-total-time")) };
}

function documents() {
  const text = $("documents").value;
  const parts = $("split").value === "line" ? text.split("\n") : text.split(/\n\s*\n/);
  return parts.map((part) => part.trim()).filter(Boolean);
}

function request() {
  const body = { model: $("model").value, query: $("query").value, documents: documents() };
  if ($("top").value) body.top_n = Number($("top").value);
  body.return_documents = false;
  return body;
}

function snippets(body) {
  const json = JSON.stringify(body, null, 2);
  const quoted = json.replaceAll("'", "'\\''");
  return {
    curl: `curl ${route} \\\n` + (keyed ? `  -H "Authorization: Bearer $KEY" \\\n` : "") +
      `  -H 'Content-Type: application/json' \\\n  -d '${quoted}'`,
    python: `import json\nimport urllib.request\n\nbody = json.loads(r"""${json.replaceAll('"""', '\\u0022""')}""")\n` +
      `headers = {"Content-Type": "application/json"${keyed ? ', "Authorization": "Bearer KEY"' : ""}}\n` +
      `request = urllib.request.Request("${route}", json.dumps(body).encode(), headers)\n` +
      `with urllib.request.urlopen(request) as response:\n    for hit in json.load(response)["results"]:\n` +
      `        print(f"{hit['relevance_score']:.3f}", body["documents"][hit["index"]])`,
    js: `const body = ${json};\nconst response = await fetch("${route}", {\n  method: "POST",\n` +
      `  headers: { "Content-Type": "application/json"${keyed ? ', "Authorization": "Bearer KEY"' : ""} },\n  body: JSON.stringify(body),\n});\n` +
      `const { results } = await response.json();\nfor (const hit of results) {\n` +
      `  console.log(hit.relevance_score.toFixed(3), body.documents[hit.index]);\n}`,
  };
}

function showCode() {
  $("code").textContent = snippets(request())[language];
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Sentences, or whatever stands between line ends, as [start, end) in the text.
function passages(text) {
  const found = [];
  for (const match of text.matchAll(/[^.!?。！？\n]+[.!?。！？]*\s*/g)) {
    if (match[0].trim()) found.push([match.index, match.index + match[0].trimEnd().length]);
  }
  return found;
}

function row(place, hit, text) {
  const item = element("li");
  const head = element("div", "head");
  head.append(element("span", "", `${place}.`), element("span", "score", hit.relevance_score.toFixed(4)));
  head.append(element("span", "", `document ${hit.index + 1}`));
  const bar = element("div", "bar");
  bar.style.width = `${(100 * hit.relevance_score).toFixed(1)}%`;
  bar.setAttribute("aria-hidden", "true");
  item.append(head, element("p", "text", text), bar);
  return item;
}

function highlight(item, text, [start, end]) {
  const mark = element("mark", "", text.slice(start, end));
  item.querySelector(".text").replaceChildren(text.slice(0, start), mark, text.slice(end));
}

// One more request ranks the sentences of the best documents; the best one of each is marked.
async function highlightAll(mine, body, results, items) {
  const all = [];
  results.slice(0, SHOWN_PASSAGES).forEach((hit, place) => {
    const parts = passages(body.documents[hit.index]);
    if (parts.length > 1) parts.forEach((range) => all.push({ place, range, text: body.documents[hit.index] }));
  });
  if (!all.length) return;
  const { answer } = await post({
    model: body.model,
    query: body.query,
    documents: all.map(({ text, range }) => text.slice(...range)),
    return_documents: false,
  });
  if (mine !== turn) return;
  const seen = new Set();
  for (const { index } of answer.results) {
    const { place, text, range } = all[index];
    if (!seen.has(place)) highlight(items[place], text, range);
    seen.add(place);
  }
}

async function rank() {
  clearTimeout(timer);
  showCode();
  const mine = ++turn;
  const body = request();
  $("problem").hidden = true;
  $("nothing").hidden = Boolean(body.query && body.documents.length);
  if (!body.query || !body.documents.length) {
    $("results").replaceChildren();
    $("timing").textContent = "";
    return;
  }
  const start = performance.now();
  try {
    const { answer, server } = await post(body);
    if (mine !== turn) return;
    const whole = Math.round(performance.now() - start);
    const items = answer.results.map((hit, index) => row(index + 1, hit, body.documents[hit.index]));
    $("results").replaceChildren(...items);
    const cut = answer.meta.query_truncated ? " · the query was cut" : "";
    $("timing").textContent =
      `${body.documents.length} documents · ${answer.usage.total_tokens} tokens · ${whole} ms, ${server} in the server${cut}`;
    await highlightAll(mine, body, answer.results, items);
  } catch (error) {
    if (mine !== turn) return;
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

function soon() {
  showCode();
  clearTimeout(timer);
  if ($("live").checked) timer = setTimeout(rank, 250);
}

function read(text, name) {
  const jsonl = /\.jsonl$/i.test(name);
  if (!jsonl && !/\.json$/i.test(name)) return text;
  const values = jsonl ? text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line)) : JSON.parse(text);
  const list = Array.isArray(values) ? values : values.documents;
  return list.map((value) => (typeof value === "string" ? value : value.text)).map((one) => one.replace(/\s+/g, " ")).join("\n");
}

async function load(file) {
  try {
    $("documents").value = read(await file.text(), file.name);
    if (/\.jsonl?$/i.test(file.name)) $("split").value = "line";
    rank();
  } catch (error) {
    $("problem").textContent = `${file.name} cannot be read: ${error.message}`;
    $("problem").hidden = false;
  }
}

function example(name) {
  $("query").value = EXAMPLES[name].query;
  $("documents").value = EXAMPLES[name].documents.join("\n");
  $("split").value = "line";
  $("unit").textContent = "one a line";
  rank();
}

async function models() {
  keyed = (await (await fetch(base + "v1/cluster/auth")).json()).auth;
  const response = await fetch(base + "v1/models");
  const { data } = await response.json();
  $("model").replaceChildren(
    ...data.map((model) => {
      const option = element("option", "", `${model.id} · ${model.dtype || "dtype by device"}`);
      option.value = model.id;
      return option;
    }),
  );
  const first = data[0];
  $("state").textContent = first.loaded
    ? `${data.length === 1 ? first.id : `${data.length} models`} on ${first.device}, ${first.context_length} tokens a pair`
    : "the model is being loaded";
  if (waiting && first.loaded) rank();
  waiting = !first.loaded;
  if (waiting) setTimeout(models, 1000);
}

function choose(tab) {
  for (const other of document.querySelectorAll("[role=tab]")) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
  }
  language = tab.dataset.language;
  $("code").setAttribute("aria-labelledby", tab.id);
  showCode();
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("code").textContent);
    $("copy").textContent = "Copied";
  } catch {
    // Without a secure context there is no clipboard; a selection can still be copied by hand.
    getSelection().selectAllChildren($("code"));
    $("copy").textContent = "Selected";
  }
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}

$("ask").addEventListener("submit", (event) => { event.preventDefault(); rank(); });
for (const id of ["query", "documents"]) $(id).addEventListener("input", soon);
for (const id of ["model", "top", "split"]) $(id).addEventListener("change", rank);
$("split").addEventListener("change", () => {
  $("unit").textContent = $("split").value === "line" ? "one a line" : "parted by blank lines";
});
$("example").append(...Object.keys(EXAMPLES).map((name) => element("option", "", name)));
$("example").addEventListener("change", () => example($("example").value));
$("open").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => $("file").files[0] && load($("file").files[0]));
$("documents").addEventListener("dragover", (event) => { event.preventDefault(); $("documents").classList.add("over"); });
$("documents").addEventListener("dragleave", () => $("documents").classList.remove("over"));
$("documents").addEventListener("drop", (event) => {
  $("documents").classList.remove("over");
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  load(event.dataTransfer.files[0]);
});
for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = [...document.querySelectorAll("[role=tab]")];
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  });
}
$("copy").addEventListener("click", copy);
models().then(() => example(Object.keys(EXAMPLES)[0])).catch((error) => {
  $("state").textContent = "no answer from the server";
  $("problem").textContent = error.message;
  $("problem").hidden = false;
});
