// Loaded in <head> before anything is painted: the chosen theme applies without a flash.
(() => {
  const root = document.documentElement;
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  let stored = null;
  try { stored = localStorage.getItem("theme"); } catch { /* storage is forbidden: follow the system */ }
  apply(stored);

  const mark = () => {
    const current = root.dataset.theme ?? "system";
    for (const button of document.querySelectorAll("[data-set-theme]")) {
      button.setAttribute("aria-pressed", String(button.dataset.setTheme === current));
    }
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-set-theme]");
    if (!button) return;
    apply(button.dataset.setTheme);
    try { localStorage.setItem("theme", button.dataset.setTheme); } catch { /* lasts for this page */ }
    mark();
  });
  document.addEventListener("DOMContentLoaded", mark);
})();
