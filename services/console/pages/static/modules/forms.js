// Forms with `data-unsaved` warn before what was typed is lost; no form is sent twice; "/" goes to the jump box.
export function guardForms() {
  // What was typed into a form that was refused is not saved either.
  const changed = new Set(document.getElementById("errors") ? document.querySelectorAll("[data-unsaved]") : []);
  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (form?.matches("[data-unsaved]")) changed.add(form);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "1";
    changed.delete(form);
  });
  const release = () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  };
  // A page that comes back from the browser's cache may be sent again.
  window.addEventListener("pageshow", release);
  // So may a form whose sending was stopped, by Escape for example: its key keeps that from doing a thing twice.
  globalThis.navigation?.addEventListener("navigateerror", release);
  window.addEventListener("beforeunload", (event) => {
    const isLost = document.querySelector("form[data-lost]:not([data-sent])");
    if (!isLost && ![...changed].some((form) => form.isConnected)) return;
    event.preventDefault();
    // Runs for a person who stays, and may send the form that would have led away another time.
    setTimeout(release);
  });
}

export function jumpByKey() {
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
    const box = document.querySelector("[data-key='/']");
    if (!box) return;
    event.preventDefault();
    box.focus();
    box.select();
  });
}
