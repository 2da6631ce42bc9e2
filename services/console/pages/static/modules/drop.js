// A file can be dropped onto `data-drop`. A form with `data-upload` sends it with a bar that shows the progress; its
// answer is the page that the browser would have shown.
import { say } from "./toasts.js";

export function dropFiles() {
  const place = (event) => event.target.closest?.("[data-drop]");
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const zone = place(event);
      if (!zone) return;
      event.preventDefault();
      zone.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind !== "drop" || !event.dataTransfer.files.length) return;
      const input = zone.querySelector("input[type=file]");
      input.files = event.dataTransfer.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    });
  }
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-upload]");
    if (form && !event.defaultPrevented && form.querySelector("input[type=file]")?.files.length) {
      event.preventDefault();
      send(form, event.submitter);
    }
  });
}

function send(form, submitter) {
  const bar = form.querySelector("[data-drop] progress");
  const request = new XMLHttpRequest();
  const settle = () => {
    bar.hidden = true;
    delete form.dataset.sent;
    if (submitter) submitter.disabled = false;
  };
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) bar.value = (100 * event.loaded) / event.total;
  });
  request.addEventListener("load", () => {
    if (request.status < 400) return location.assign(request.responseURL);
    settle();
    const refused = request.response?.getElementById("content");
    if (!refused) return say(form.dataset.failed ?? request.statusText);
    document.getElementById("content").replaceWith(document.adoptNode(refused));
    document.dispatchEvent(new Event("content-replaced"));
    document.getElementById("errors")?.focus();
  });
  request.addEventListener("error", () => {
    settle();
    say(form.dataset.failed);
  });
  // The browser reads the answer itself, so that no text is turned into markup here.
  request.responseType = "document";
  request.open("POST", form.action);
  const data = new FormData(form, submitter);
  if (submitter) submitter.disabled = true;
  bar.hidden = false;
  request.send(data);
}
