// A button with `data-copy` puts that text into the clipboard; `data-copied` is what it says then.
import { say } from "./toasts.js";

export function copyOnClick() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      say(button.dataset.copied);
    } catch {
      say(button.dataset.failed);
    }
  });
}
