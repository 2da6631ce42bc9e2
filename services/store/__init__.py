"""All SQL of the product: claims, blocks, programs, codes, the audit. One statement a method."""
