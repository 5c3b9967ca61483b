"""Generates the modules of `freehold_client.generated` from the OpenAPI document.

Models come from datamodel-code-generator. Calls are a few lines for each operation: its signature,
and where it goes.
"""
