// Shows each <time> in the viewer's zone, or as time ago; the server's text, in UTC, becomes its tip.
const language = document.documentElement.lang;
const moment = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const day = new Intl.DateTimeFormat(language, { dateStyle: "medium" });
const ago = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const DAY_S = 86400;
const UNITS = [["day", DAY_S], ["hour", 3600], ["minute", 60], ["second", 1]];
const AGO_MAX_S = 7 * DAY_S;

// "yesterday" is the day before, and no number of hours ago.
function days(at) {
  const midnight = (moment) => new Date(moment).setHours(0, 0, 0, 0);
  return Math.round((midnight(at) - midnight(Date.now())) / (DAY_S * 1000));
}

function words(element, at) {
  const seconds = (at - Date.now()) / 1000;
  if ("day" in element.dataset) return day.format(at);
  if (!("ago" in element.dataset) || Math.abs(seconds) > AGO_MAX_S) return moment.format(at);
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  return ago.format(unit === "day" ? days(at) : Math.trunc(seconds / size), unit);
}

export function showMoments(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    element.title ||= element.textContent;
    element.textContent = words(element, at);
  }
}
