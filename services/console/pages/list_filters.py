"""What a page that lists shows, as its URL says it."""

from dataclasses import asdict, dataclass
from typing import ClassVar
from urllib.parse import urlencode


@dataclass(frozen=True)
class ListFilters:
    """Filters of a list, with `cursor` as the last field; "" is no filter. A page declares its own."""

    path: ClassVar[str]
    rows: ClassVar[int]

    @property
    def query(self) -> dict[str, str | int | None]:
        """The API's query."""
        return {"limit": self.rows, **{name: value or None for name, value in asdict(self).items()}}

    def url(self, cursor: str = "") -> str:
        """The page of the same filters at another cursor."""
        words = urlencode({name: value for name, value in {**asdict(self), "cursor": cursor}.items() if value})
        return f"{self.path}?{words}" if words else self.path
