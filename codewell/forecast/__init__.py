"""When programs run out of codes, and why."""

from codewell.forecast.reading import forecasts, possible_forecasts

__all__ = ["forecasts", "possible_forecasts"]
