// The order form's service search (ARIA combobox) and what depends on the chosen service.
const search = document.getElementById("service-search");
const list = document.getElementById("service-options");
const picker = document.getElementById("picker");

const options = () => [...list.querySelectorAll("[role=option]:not([aria-disabled])")];
let active = null;

function activate(option) {
  active?.setAttribute("aria-selected", "false");
  active = option ?? null;
  if (active) {
    active.setAttribute("aria-selected", "true");
    active.scrollIntoView({ block: "nearest" });
    search.setAttribute("aria-activedescendant", active.id);
  } else {
    search.removeAttribute("aria-activedescendant");
  }
}

function open() {
  if (!list.childElementCount) return;
  list.hidden = false;
  search.setAttribute("aria-expanded", "true");
}

function close() {
  list.hidden = true;
  search.setAttribute("aria-expanded", "false");
  activate(null);
}

const ask = () => htmx.trigger(search, "search-open");

// What was typed into the form stays when the service changes; lists are too long for an address.
async function choose(option) {
  const form = document.getElementById("order");
  const values = Object.fromEntries(new FormData(form));
  const lists = [...form.querySelectorAll("textarea")].filter((list) => list.value.trim());
  for (const name of ["csrfmiddlewaretoken", "idempotency_key", "agreed", ...lists.map((list) => list.name)]) delete values[name];
  values.service = option.dataset.service;
  close();
  search.value = "";
  list.replaceChildren();
  await htmx.ajax("GET", picker.dataset.orderUrl, { source: "#picker", target: "#order", swap: "outerHTML", values });
  const address = new URLSearchParams({ service: values.service, currency: values.currency });
  history.replaceState(null, "", `${picker.dataset.orderUrl}?${address}`);
  for (const { name, value } of lists) {
    const same = document.querySelector(`#order textarea[name=${name}]`);
    if (!same) continue;
    same.value = value;
    same.dispatchEvent(new Event("input", { bubbles: true }));
  }
  const first = document.querySelector("#field-link, #order input[type=text], #order textarea");
  (first ?? document.getElementById("order")).focus();
}

search.addEventListener("focus", () => (list.childElementCount ? open() : undefined));
search.addEventListener("click", () => (list.childElementCount ? open() : ask()));
search.addEventListener("keydown", (event) => {
  const all = options();
  const at = all.indexOf(active);
  switch (event.key) {
    case "ArrowDown":
      event.preventDefault();
      if (list.hidden) { if (all.length) open(); else { ask(); break; } }
      activate(all[at + 1] ?? all[0]);
      break;
    case "ArrowUp":
      event.preventDefault();
      if (!list.hidden) activate(all.at(at > 0 ? at - 1 : -1));
      break;
    case "Home":
      if (active) { event.preventDefault(); activate(all[0]); }
      break;
    case "End":
      if (active) { event.preventDefault(); activate(all.at(-1)); }
      break;
    case "Enter":
      if (!list.hidden && (active ?? all[0])) { event.preventDefault(); choose(active ?? all[0]); }
      break;
    case "Escape":
      if (!list.hidden) { event.preventDefault(); close(); } else { search.value = ""; }
      break;
    case "Tab":
      close();
      break;
  }
});
list.addEventListener("mousedown", (event) => event.preventDefault());
list.addEventListener("click", (event) => {
  const option = event.target.closest("[role=option]:not([aria-disabled])");
  if (option) choose(option);
});
document.addEventListener("click", (event) => {
  if (!event.target.closest(".picker__box")) close();
});
list.addEventListener("htmx:afterSwap", () => {
  active = null;
  search.removeAttribute("aria-activedescendant");
  if (document.activeElement === search) open();
});
// Settling writes the server's attributes once more, perhaps after the first arrow key.
list.addEventListener("htmx:afterSettle", () => active?.setAttribute("aria-selected", "true"));

// Prices in the list are in the wallet's currency: another wallet, another list.
document.addEventListener("change", (event) => {
  if (event.target.matches("#order [name=currency]")) list.replaceChildren();
});

// Problems are tied to their fields for those who cannot see them side by side.
document.addEventListener("htmx:afterSettle", () => {
  for (const problem of document.querySelectorAll("#order .problem[data-for]")) {
    const field = document.getElementById(problem.dataset.for);
    if (problem.textContent.trim()) field?.setAttribute("aria-invalid", "true");
    else field?.removeAttribute("aria-invalid");
  }
});
