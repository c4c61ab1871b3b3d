// Small behaviour that every page may use; each works on what it finds in the page.

// Menus (<details class="menu">) close on Escape and when something else is clicked.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// Messages can be put away.
document.addEventListener("click", (event) => {
  event.target.closest("[data-dismiss]")?.closest(".note").remove();
});

// Copy buttons: shown only where copying works; the button says that it did.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  const label = button.querySelector("[data-copy-label]");
  const before = label.textContent;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    label.textContent = button.dataset.copied;
    setTimeout(() => { label.textContent = before; }, 2500);
  });
}

// Selects with data-submit send their form when changed.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

// "20 seconds ago" keeps telling the truth while the page stays open.
const ages = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });
const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
function tellAges() {
  for (const element of document.querySelectorAll("time[data-age]")) {
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(element.dateTime)) / 1000));
    const [unit, size] = units.find(([, length]) => seconds >= length) ?? units.at(-1);
    element.textContent = ages.format(-Math.floor(seconds / size), unit);
  }
}
tellAges();
setInterval(tellAges, 5000);
document.addEventListener("htmx:afterSettle", tellAges);

// A fragment that cannot be loaded is told, until one can be again.
const unreachable = document.querySelector("#unreachable > .note");
for (const failure of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.addEventListener(failure, (event) => {
    if ((event.detail.xhr?.status ?? 0) < 400 || event.detail.xhr.status >= 500) unreachable.hidden = false;
    // A poll that failed would be the last one: it is asked again later.
    const poll = event.detail.elt;
    if (poll.matches("[data-poll]")) setTimeout(() => window.htmx.trigger(poll, "seen"), 15000);
  });
}
document.addEventListener("htmx:afterOnLoad", (event) => {
  if (event.detail.successful) unreachable.hidden = true;
});

// Nobody looks: nothing is asked. Coming back asks at once.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.matches("[data-poll]")) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !window.htmx) return;
  for (const element of document.querySelectorAll("[data-poll]")) window.htmx.trigger(element, "seen");
});
