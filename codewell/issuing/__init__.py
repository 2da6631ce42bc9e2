"""Which request gets which code: decided purely, claimed in one transaction, answered in the same bytes for ever."""
