// htmx under this console's policy: Trusted Types for the answers that it puts into the page, and no code in attributes.
(() => {
  const asItIs = { createHTML: (text) => text, createScript: () => "" };
  const refuse = function refuse() {
    throw new Error("Code in an attribute is not run.");
  };
  htmx.registerExtension("codewell", {
    init: (api) => api.initSecurity(globalThis.trustedTypes?.createPolicy("htmx", asItIs) ?? asItIs, refuse, refuse),
  });
})();
