-- Programs whose codes are found however they are typed.
ALTER TABLE program
    ADD COLUMN match text NOT NULL DEFAULT 'exact' CHECK (match IN ('exact', 'fold')),
    -- Of a folding program: how many texts from outside have been folded, and up to which template version no two codes
    -- are alike. What brings texts in or adds a template without folding them, as releases before this one do, fails.
    ADD COLUMN texts_folded bigint NOT NULL DEFAULT 0,
    ADD COLUMN version_folded integer,
    ADD CONSTRAINT program_texts_folded CHECK (CASE WHEN match = 'exact' THEN true ELSE
        version_folded IS NOT NULL AND version_folded = version
        AND texts_folded = imported + CASE source ->> 'kind' WHEN 'remote' THEN made ELSE 0 END END);

-- What the texts from outside of folding programs fold to. It has its own table, so that other programs' texts cost no more.
CREATE TABLE folded_text (
    program_id bigint NOT NULL,
    folded     text COLLATE "C" NOT NULL CHECK (folded <> ''),
    text       text COLLATE "C" NOT NULL,
    -- Two texts that fold alike can't be told apart.
    CONSTRAINT folded_text_once PRIMARY KEY (program_id, folded)
);
