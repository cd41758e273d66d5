#!/bin/bash
# Databases and least-privilege users, on each shard's server. MySQL's image runs this once,
# when the data folder is new; by hand: MYSQL="mysql -u root -p" ADMIN_PASSWORD=... ./users.sh
set -euo pipefail
: "${ADMIN_PASSWORD:?}" "${WRITER_PASSWORD:?}" "${INDEXER_PASSWORD:?}" "${READER_PASSWORD:?}"

quote() { printf "'%s'" "$(printf %s "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g")"; }

${MYSQL:-mysql -u root -p"$MYSQL_ROOT_PASSWORD"} <<SQL
CREATE DATABASE IF NOT EXISTS mynamo_catalog;
CREATE DATABASE IF NOT EXISTS mynamo;

-- Creates and drops tables and indexes (\`mynamo table\`, \`mynamo index\`).
CREATE USER IF NOT EXISTS mynamo_admin@'%' IDENTIFIED BY $(quote "$ADMIN_PASSWORD");
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON mynamo_catalog.* TO mynamo_admin@'%';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON mynamo.* TO mynamo_admin@'%';

-- Producers and \`mynamo writer\`; the latter finishes changes that stopped half-way.
CREATE USER IF NOT EXISTS mynamo_writer@'%' IDENTIFIED BY $(quote "$WRITER_PASSWORD");
GRANT SELECT, INSERT, UPDATE, DELETE ON mynamo_catalog.* TO mynamo_writer@'%';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON mynamo.* TO mynamo_writer@'%';

-- \`mynamo indexer\`: reads the catalog, writes GSI rows and checkpoints.
CREATE USER IF NOT EXISTS mynamo_indexer@'%' IDENTIFIED BY $(quote "$INDEXER_PASSWORD");
GRANT SELECT ON mynamo_catalog.* TO mynamo_indexer@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON mynamo.* TO mynamo_indexer@'%';

-- Readers.
CREATE USER IF NOT EXISTS mynamo_reader@'%' IDENTIFIED BY $(quote "$READER_PASSWORD");
GRANT SELECT ON mynamo_catalog.* TO mynamo_reader@'%';
GRANT SELECT ON mynamo.* TO mynamo_reader@'%';
SQL
