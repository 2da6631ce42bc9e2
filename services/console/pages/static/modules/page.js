// What every page has: all of it makes a page better that works without it.
import { copyOnClick } from "./copy.js";
import { drawCharts } from "./charts.js";
import { dropFiles } from "./drop.js";
import { guardForms, jumpByKey } from "./forms.js";
import { followLive } from "./live.js";
import { showMoments } from "./moments.js";

document.documentElement.dataset.js = "";
copyOnClick();
dropFiles();
guardForms();
jumpByKey();
followLive();

const refresh = (root) => {
  showMoments(root);
  drawCharts(root);
};
refresh(document);
for (const swapped of ["htmx:after:swap", "content-replaced"]) document.addEventListener(swapped, () => refresh(document));
document.getElementById("errors")?.focus();
