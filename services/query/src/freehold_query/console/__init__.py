"""The tenants' console: pages for people, at /console. Each section is a module of its name."""
