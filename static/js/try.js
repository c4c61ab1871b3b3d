// Asks the APIs from the page. Without this script the form posts to the panel API by itself.
const form = document.getElementById("try");
const result = document.getElementById("try-result");
const part = (name) => result.querySelector(`[data-${name}]`);
const SHOWN = ["content-type", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"];

// Only the fields that the chosen action takes.
function arrange() {
  for (const fields of form.querySelectorAll("[data-for]")) {
    fields.hidden = !fields.dataset.for.split(" ").includes(form.elements.action.value);
  }
}

function panelRequest({ key, action, service, link, quantity, orders }) {
  const fields = { add: { service, link, quantity }, status: { orders }, cancel: { orders }, refill: { orders } };
  const body = new URLSearchParams({ key, action, ...fields[action] });
  return ["/api/v2", { method: "POST", body }];
}

function restRequest({ key, action, service, link, quantity, orders }) {
  const headers = { "X-API-Key": key, "Accept-Language": document.documentElement.lang };
  const order = `/api/v1/orders/${encodeURIComponent(orders.trim() || "0")}`;
  const number = (text) => (/^\d{1,15}$/.test(text.trim()) ? Number(text) : text);
  switch (action) {
    case "add":
      headers["Content-Type"] = "application/json";
      return ["/api/v1/orders", {
        method: "POST", headers, body: JSON.stringify({ service_id: number(service), link, quantity: number(quantity) }),
      }];
    case "status": return [order, { headers }];
    case "cancel":
    case "refill": return [`${order}/${action}`, { method: "POST", headers }];
    default: return [`/api/v1/${action}`, { headers }];
  }
}

// As it went out, with all but the beginning of the key left out.
function told(address, { method = "GET", headers = {}, body = "" }, key) {
  const lines = [`${method} ${address}`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)];
  if (String(body)) lines.push("", String(body));
  return lines.join("\n").replaceAll(key, `${key.slice(0, 12)}…`);
}

function refuse(words) {
  result.hidden = false;
  part("answered").hidden = true;
  part("problem").textContent = words;
}

async function send(event) {
  event.preventDefault();
  const given = Object.fromEntries(new FormData(form));
  given.key = given.key.trim();
  if (!given.key.startsWith("sk_test_")) return refuse(result.dataset.noSandbox);
  const [address, request] = given.dialect === "rest" ? restRequest(given) : panelRequest(given);
  const began = performance.now();
  let response;
  let text;
  try {
    response = await fetch(address, { ...request, credentials: "omit" });
    text = await response.text();
  } catch {
    return refuse(result.dataset.noAnswer);
  }
  // Amounts keep their digits: the text is laid out, never computed with.
  part("problem").textContent = "";
  part("answered").hidden = false;
  part("status").textContent = `HTTP ${response.status}`;
  part("time").textContent = `${Math.round(performance.now() - began)} ms`;
  part("request").textContent = told(address, request, given.key);
  part("headers").textContent = SHOWN.filter((name) => response.headers.has(name))
    .map((name) => `${name}: ${response.headers.get(name)}`).join("\n");
  part("body").textContent = laidOut(text);
  result.hidden = false;
  // The next question is often about the order that was just placed.
  const placed = text.match(/^\{"order":(\d+)\}/) ?? text.match(/"order":\{"id":(\d+)/);
  if (placed) form.elements.orders.value = placed[1];
}

// JSON with one entry a line; what stands inside of texts is left alone.
function laidOut(json) {
  let depth = 0;
  const limited = json.length > 20000 ? json.slice(0, 20000) : json;
  const lines = limited.replace(/"(?:[^"\\]|\\.)*"|[{}[\],:]/g, (token) => {
    if (token === ",") return `,\n${"  ".repeat(depth)}`;
    if (token === ":") return ": ";
    if (token === "{" || token === "[") { depth += 1; return `${token}\n${"  ".repeat(depth)}`; }
    if (token === "}" || token === "]") { depth = Math.max(0, depth - 1); return `\n${"  ".repeat(depth)}${token}`; }
    return token;
  });
  return limited === json ? lines : `${lines}\n…`;
}

for (const choice of form.querySelectorAll("[data-dialects]")) choice.hidden = false;
form.addEventListener("change", arrange);
form.addEventListener("submit", send);
arrange();
