-- Roles on PostgreSQL: one that owns the tables, one that serves, one that seals.
--
--   segmentation_owner    migrates and prunes the audit trail; nothing runs under it from day to day
--   segmentation_app      serves, works, imports and trains; of the audit trail it reads and inserts
--   segmentation_sealer   for `manage.py seal_audit --every 60` as an own user of the machine
--
-- Run it as a superuser within the product's database, after the first migration and after each
-- later one; again and again does no harm:
--
--   psql -d segmentation -f config/postgresql_roles.sql
--   psql -d segmentation -c '\password segmentation_app'        (and the others)
--
-- Then DATABASE_URL names segmentation_app, except in the commands of the owner:
--
--   DATABASE_URL=postgresql://segmentation_owner:...@host/segmentation manage.py migrate
--
-- A superuser, and the owner, can still drop triggers; verify_audit finds what they then change.

DO $$
DECLARE
    name text;
    thing record;
BEGIN
    FOREACH name IN ARRAY ARRAY['segmentation_owner', 'segmentation_app', 'segmentation_sealer']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
        EXECUTE format('ALTER ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS',
                       name);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name);
    END LOOP;
    -- A temporary table could pass for one of ours.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('REVOKE TEMPORARY, CREATE ON DATABASE %I FROM segmentation_app, segmentation_sealer',
                   current_database());

    -- What an earlier role made belongs to the owner; the sequences of columns go with their tables.
    FOR thing IN
        SELECT c.oid::regclass AS name, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'S')
            AND c.relowner <> 'segmentation_owner'::regrole
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i', 'e'))
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO segmentation_owner', thing.kind, thing.name);
    END LOOP;
    FOR thing IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace
            AND p.proowner <> 'segmentation_owner'::regrole
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO segmentation_owner', thing.name);
    END LOOP;
END $$;

ALTER SCHEMA public OWNER TO segmentation_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC, segmentation_app, segmentation_sealer;
GRANT USAGE ON SCHEMA public TO segmentation_app, segmentation_sealer;

-- The role that serves: rows of every table, and of the audit trail no change of what is there.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, segmentation_app, segmentation_sealer;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, segmentation_app, segmentation_sealer;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO segmentation_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO segmentation_app;
DO $$
DECLARE
    name text;
    columns text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_auditentry', 'audit_auditleaf', 'audit_auditseal']
    LOOP
        IF to_regclass('public.' || name) IS NULL THEN
            RAISE WARNING '% is not there yet: run this again after the migration', name;
            CONTINUE;
        END IF;
        EXECUTE format('REVOKE UPDATE, DELETE ON public.%I FROM segmentation_app', name);
        EXECUTE format('GRANT SELECT, INSERT ON public.%I TO segmentation_sealer', name);
    END LOOP;
    -- Of an entry every column but its id, which the database gives.
    IF to_regclass('public.audit_auditentry') IS NOT NULL THEN
        SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
        WHERE attrelid = 'public.audit_auditentry'::regclass AND attnum > 0
            AND NOT attisdropped AND attname <> 'id';
        REVOKE INSERT ON public.audit_auditentry FROM segmentation_app, segmentation_sealer;
        EXECUTE format('GRANT INSERT (%s) ON public.audit_auditentry '
                       'TO segmentation_app, segmentation_sealer', columns);
    END IF;
    IF to_regclass('public.django_migrations') IS NOT NULL THEN
        REVOKE INSERT, UPDATE, DELETE ON public.django_migrations FROM segmentation_app;
    END IF;
    IF to_regclass('public.audit_auditentry_id_seq') IS NOT NULL THEN
        GRANT USAGE, SELECT ON SEQUENCE public.audit_auditentry_id_seq TO segmentation_sealer;
    END IF;
END $$;

-- Tables of later migrations, which the owner makes.
ALTER DEFAULT PRIVILEGES FOR ROLE segmentation_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO segmentation_app;
ALTER DEFAULT PRIVILEGES FOR ROLE segmentation_owner IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO segmentation_app;

-- Where another user seals (AUDIT_SEAL_SECONDS=0), the role that serves need not:
-- REVOKE INSERT ON audit_auditleaf, audit_auditseal FROM segmentation_app;
