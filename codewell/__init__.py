"""The library: what a promo-code service knows and does. Imported by the processes in `services`, never started."""
