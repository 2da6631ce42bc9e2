"""The codes that stand ready: which a program lacks, and how they are made, ordered and numbered."""
