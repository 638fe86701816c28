-- What Postfix's and Dovecot's own users need in PostgreSQL; to be run once by the owner of the database, after
-- postlua has made its tables. Postfix sees no password hashes.
GRANT USAGE ON SCHEMA postlua TO postfix, dovecot;
GRANT SELECT ON postlua.mailboxes, postlua.aliases, postlua.domains TO postfix;
GRANT SELECT ON postlua.logins TO dovecot;
