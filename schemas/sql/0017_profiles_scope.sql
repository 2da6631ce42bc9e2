-- A token with access groups needs the scope `profiles` to see the fields of customers, who belong to no group.

ALTER TABLE token
    DROP CONSTRAINT token_scopes_check,
    ADD CONSTRAINT token_scopes_check
        CHECK (cardinality(scopes) > 0 AND scopes <@ '{read,write,redeem,admin,profiles}');
