-- Stands first in a plain export. A database of another encoding may lack characters that a ledger
-- has, and is refused while there is nothing in it yet.

DO $$
BEGIN
    IF getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION
            'nothing was restored: this database has the encoding %, and a ledger needs UTF8',
            getdatabaseencoding()
        USING HINT = 'Restore into a database that was made by: CREATE DATABASE mine'
            ' TEMPLATE template0 ENCODING ''UTF8'' LOCALE_PROVIDER libc LOCALE ''C''';
    END IF;
END
$$;
