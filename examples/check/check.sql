-- Whether a code was typed right, by its check character alone. The mask is a code with ? for all but its literals.
-- For codes of {safe n} and {check}; for those of {number n} and {check}, the alphabet is 0123456789. PostgreSQL.
CREATE FUNCTION code_is_right(code text, mask text, alphabet text DEFAULT '23456789BCDFGHJKMNPQRSTVWXYZ')
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    damm text := '0317598642709215486342068713591750983426612304597836742095815869720134894536201794386172052581436790';
    state integer := 0;
    digit integer;
BEGIN
    FOR place IN 1 .. greatest(length(code), length(mask)) LOOP
        CONTINUE WHEN substr(mask, place, 1) <> '?' AND substr(mask, place, 1) = substr(code, place, 1);
        digit := strpos(alphabet, substr(code, place, 1)) - 1;
        IF substr(mask, place, 1) <> '?' OR substr(code, place, 1) = '' OR digit < 0 THEN
            RETURN false;
        END IF;
        state := CASE length(alphabet)
            WHEN 10 THEN substr(damm, 10 * state + digit + 1, 1)::integer
            ELSE ('{0,2,3,1}'::integer[])[state % 4 + 1] # (digit % 4) + 4 * ((3 * (state / 4) + digit / 4) % 7) END;
    END LOOP;
    RETURN state = 0;
END
$$;
