"""The screens, a module for each group of them. Each has a `router`, which `services.console.pages.app` lists."""
