CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
            name TEXT PRIMARY KEY,
            descriptor BLOB NOT NULL,     -- JSON, as in an index
            digest TEXT NOT NULL,
            updated REAL NOT NULL         -- seconds since 1970, UTC, here and below
        ) WITHOUT ROWID;
CREATE TABLE layers (
            digest TEXT PRIMARY KEY,      -- of the blob as it is stored
            diff_id TEXT NOT NULL,        -- of its uncompressed content
            compression TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            uncompressed_bytes INTEGER NOT NULL
        ) WITHOUT ROWID;
CREATE INDEX layers_by_diff_id ON layers (diff_id);
CREATE TABLE snapshots (
            chain_id TEXT PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,      -- the directory's name
            parent TEXT,                  -- chain id of the snapshot below
            diff_id TEXT NOT NULL,
            size_bytes INTEGER,           -- NULL until somebody needed to know
            created REAL NOT NULL,
            used REAL NOT NULL,
            durable INTEGER NOT NULL,     -- 0: lost if the machine goes down in this boot
            boot TEXT NOT NULL
        ) WITHOUT ROWID;
CREATE INDEX snapshots_by_parent ON snapshots (parent);
CREATE INDEX snapshots_pending ON snapshots (durable) WHERE durable = 0;
CREATE TABLE cache_records (
            key TEXT PRIMARY KEY,
            operation TEXT NOT NULL,
            step TEXT NOT NULL,
            inputs BLOB NOT NULL,         -- JSON
            chain_id TEXT,
            diff_id TEXT,
            created REAL NOT NULL,
            used REAL NOT NULL,
            hits INTEGER NOT NULL,
            bill BLOB NOT NULL            -- JSON
        ) WITHOUT ROWID;
CREATE INDEX cache_records_by_operation ON cache_records (operation);
CREATE INDEX cache_records_by_step ON cache_records (step, created);
CREATE INDEX cache_records_by_chain_id ON cache_records (chain_id);
CREATE TABLE stat_cache (
            context TEXT PRIMARY KEY,
            entries BLOB NOT NULL,        -- MessagePack
            used REAL NOT NULL
        );
CREATE TABLE containers (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            image TEXT NOT NULL,
            chain_id TEXT,
            created REAL NOT NULL,
            state TEXT NOT NULL           -- JSON of the containers room
        ) WITHOUT ROWID;
CREATE TABLE leases (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            reason TEXT NOT NULL,
            created REAL NOT NULL
        ) WITHOUT ROWID;
CREATE TABLE lease_items (
            lease TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
            kind TEXT NOT NULL CHECK (kind IN ('blob', 'chain', 'snapshot')),
            value TEXT NOT NULL,
            PRIMARY KEY (lease, kind, value)
        ) WITHOUT ROWID;
