"""Pages for people: what the tenants' console and the operators' console have in common.

Pages are rendered by the server (Jinja2), and made live by htmx and small modules of our own.
Nothing is built or loaded from elsewhere: the Content-Security-Policy of each page proves it.
"""
