"""The MAESTRO design space: dataflows as directives, MAESTRO's own cost model, files and codes."""
