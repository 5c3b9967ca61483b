"""The command ``freehold``. A folder holds each group of commands; everything goes over HTTP."""
