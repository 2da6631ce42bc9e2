"""Settings of processes that import files."""

from typing import Final

from pydantic import Field

from codewell.files.limits import FileLimits
from codewell.infra.config.settings import StackSettings

_LIMITS: Final = FileLimits()


class ImportSettings(StackSettings):
    """Limits on the size of imported files."""

    import_bytes_max: int = Field(
        _LIMITS.bytes_max, ge=1, le=2**40, description="Maximum size of an imported file (bytes)."
    )
    import_rows_max: int = Field(_LIMITS.rows_max, ge=1, le=2**31, description="Maximum rows of an imported file.")
    import_unpacked_bytes_max: int = Field(
        _LIMITS.unpacked_bytes_max, ge=1, le=2**40, description="Maximum unpacked size of a workbook (bytes)."
    )
    import_columns_max: int = Field(
        _LIMITS.columns_max, ge=1, le=20_000, description="Maximum columns of an imported file."
    )
    import_cell_chars_max: int = Field(
        _LIMITS.cell_chars_max, ge=1, le=10**6, description="Maximum characters of one cell."
    )

    @property
    def import_limits(self) -> FileLimits:
        """All limits."""
        return FileLimits(
            self.import_bytes_max,
            self.import_rows_max,
            self.import_unpacked_bytes_max,
            self.import_columns_max,
            self.import_cell_chars_max,
        )
