"""Error of the `tensorlib` package."""


class AnalysisError(ValueError):
    """An operator, matrix or size that the analysis does not accept; says what it accepts."""
