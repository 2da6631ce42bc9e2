-- Holds the number until the migration of this name is merged; that file replaces this one.
SELECT 1;
