"""When programs run out of codes, and why."""

from codewell.forecast.reading import forecasts

__all__ = ["forecasts"]
