-- Makes the tenant's owner role own everything in the new database, and continues as that role. The
-- schema is first: the new owner of a function must have the right to create in its schema. The
-- owner then makes the partitions for the year ahead, which an older template lacks. Reads the
-- settings freehold.role_prefix and freehold.template_owner.

DO $$
DECLARE
    owner_name CONSTANT text := current_setting('freehold.role_prefix') || '_owner';
    template_owner CONSTANT text := current_setting('freehold.template_owner');
BEGIN
    EXECUTE format('ALTER SCHEMA %I OWNER TO %I', current_schema(), owner_name);
    EXECUTE format('REASSIGN OWNED BY %I TO %I', template_owner, owner_name);
    EXECUTE format('SET LOCAL ROLE %I', owner_name);
    PERFORM make_partitions();
END
$$;
