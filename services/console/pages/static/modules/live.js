// The badge of a live page says whether figures still come: live, paused (the tab is hidden) or lost.
export function followLive() {
  const badge = document.querySelector("[data-live]");
  if (!badge) return;
  const become = (state) => {
    badge.dataset.live = state;
    for (const one of badge.children) one.hidden = one.dataset.state !== state;
  };
  const lost = () => become(document.hidden ? "paused" : "lost");
  document.addEventListener("htmx:sse:after:connection", () => become("live"));
  document.addEventListener("htmx:sse:after:message", () => become("live"));
  document.addEventListener("htmx:sse:error", lost);
  document.addEventListener("htmx:sse:close", lost);
  // The session has ended: the page, asked for again, leads to the sign-in and back.
  document.addEventListener("signed-out", () => location.reload());
  document.addEventListener("visibilitychange", () => document.hidden && become("paused"));
  window.addEventListener("offline", lost);
}
