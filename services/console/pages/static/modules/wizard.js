// The form of a program: buttons that insert a token do so at the caret; htmx keeps the draft while one types.
const form = document.querySelector("form[data-draft]");

// Without this header a session that has ended leads no page away while one types: the form is kept over the sign-in
// when it is sent.
document.addEventListener("htmx:config:request", (event) => {
  if (form?.contains(event.target)) delete event.detail.ctx.request.headers["HX-Request"];
});

// What could not be saved says so, and is not left without a question: the session may have ended, or the connection.
document.addEventListener("htmx:finally:request", ({ target, detail: { ctx } }) => {
  if (!form?.contains(target) || String(ctx.status).includes("AbortError")) return;
  const answer = ctx.response?.raw;
  if (answer?.ok && !answer.redirected) return delete form.dataset.lost;
  form.dataset.lost = "";
  const saved = document.getElementById("saved");
  saved.textContent = saved.dataset.failed;
});

form?.addEventListener("click", (event) => {
  const button = event.target.closest("button[name='insert']");
  if (!button) return;
  event.preventDefault();
  insert(button.value === "own" ? ownToken() : button.value);
  button.closest("[popover]")?.hidePopover();
});

// Enter there means the token, and not the form's next step.
form?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("[name^='own_']")) return;
  event.preventDefault();
  insert(ownToken());
  event.target.closest("[popover]")?.hidePopover();
});

// A shared code usually has no limit of uses in all, any other is used once: so the limit that was not changed follows.
form?.elements.shared?.addEventListener("change", ({ target }) => {
  const limit = form.elements.uses_per_code;
  if (limit.value === (target.checked ? "1" : "")) limit.value = target.checked ? "" : "1";
});

function ownToken() {
  const characters = form.elements.own_characters.value.replace(/[\\{}\]]/g, "\\$&");
  return `{[${characters}] ${form.elements.own_count.value}}`;
}

function insert(token) {
  const field = form.elements.template;
  field.focus();
  field.setRangeText(token, field.selectionStart, field.selectionEnd, "end");
  field.dispatchEvent(new Event("input", { bubbles: true }));
}
