// Says a result in the corner of the page, and to screen readers, for some seconds.
const SHOWN_MS = 4000;

export function say(words) {
  const place = document.getElementById("toasts");
  if (!place) return;
  const toast = document.createElement("div");
  toast.className = "banner toast";
  toast.textContent = words;
  place.replaceChildren(toast);
  setTimeout(() => toast.remove(), SHOWN_MS);
}
