-- Settings in numbered revisions: every save writes a whole revision, so that history, comparison and the peer's copy have
-- one unit. A number can stand twice, if both nodes saved apart from each other: then one of the two is superseded.
--
--   revisions 1--1 general, heartbeat, replication
--             1--n reference_points, beat_devices, volumes, virtual_addresses (1--n virtual_aliases), services
CREATE TABLE revisions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    revision   INTEGER NOT NULL CHECK (revision > 0),
    saved_at   INTEGER NOT NULL,                -- unix nanoseconds
    saved_by   TEXT    NOT NULL,
    superseded INTEGER NOT NULL DEFAULT 0 CHECK (superseded IN (0, 1))
) STRICT;

CREATE UNIQUE INDEX revisions_in_force ON revisions (revision) WHERE superseded = 0;

CREATE TABLE general (
    revision_id    INTEGER PRIMARY KEY REFERENCES revisions (id) ON DELETE CASCADE,
    active         INTEGER NOT NULL CHECK (active IN (0, 1)),
    master_node    TEXT    NOT NULL,
    slave_node     TEXT    NOT NULL,
    master_address TEXT    NOT NULL,
    slave_address  TEXT    NOT NULL,
    mode           TEXT    NOT NULL CHECK (mode IN ('evidence', 'availability')),
    CHECK (master_node = '' OR master_node <> slave_node),
    CHECK (master_address = '' OR master_address <> slave_address)
) STRICT;

CREATE TABLE reference_points (
    revision_id INTEGER NOT NULL REFERENCES revisions (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    address     TEXT    NOT NULL CHECK (address <> ''),
    PRIMARY KEY (revision_id, position),
    UNIQUE (revision_id, address)
) STRICT;

CREATE TABLE heartbeat (
    revision_id   INTEGER PRIMARY KEY REFERENCES revisions (id) ON DELETE CASCADE,
    cluster_id    INTEGER NOT NULL CHECK (cluster_id BETWEEN 0 AND 63),
    profile       TEXT    NOT NULL CHECK (profile IN ('standard', 'fast', 'cautious', 'custom')),
    interval      INTEGER NOT NULL CHECK (interval > 0),      -- nanoseconds, as are the next two
    dead_time     INTEGER NOT NULL CHECK (dead_time >= 5 * interval),
    boot_wait     INTEGER NOT NULL CHECK (boot_wait > 0),
    serial        INTEGER NOT NULL CHECK (serial IN (0, 1)),
    master_serial TEXT    NOT NULL,
    slave_serial  TEXT    NOT NULL,
    baud          INTEGER NOT NULL CHECK (baud >= 0),
    sync_device   TEXT    NOT NULL,
    port          INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    CHECK (serial = 0 OR (master_serial <> '' AND slave_serial <> '' AND baud > 0))
) STRICT;

CREATE TABLE beat_devices (
    revision_id INTEGER NOT NULL REFERENCES revisions (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    device      TEXT    NOT NULL CHECK (device <> ''),
    send        INTEGER NOT NULL CHECK (send IN (0, 1)),
    PRIMARY KEY (revision_id, position),
    UNIQUE (revision_id, device)
) STRICT;

CREATE TABLE replication (
    revision_id    INTEGER PRIMARY KEY REFERENCES revisions (id) ON DELETE CASCADE,
    rate           INTEGER NOT NULL CHECK (rate >= 0),        -- bytes per second; 0 = adaptive
    via_lan        INTEGER NOT NULL CHECK (via_lan IN (0, 1)),
    master_address TEXT    NOT NULL,
    slave_address  TEXT    NOT NULL,
    CHECK (master_address = '' OR master_address <> slave_address)
) STRICT;

CREATE TABLE volumes (
    revision_id    INTEGER NOT NULL REFERENCES revisions (id) ON DELETE CASCADE,
    position       INTEGER NOT NULL,
    name           TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 16 AND name NOT GLOB '*[^a-z0-9-]*'),
    number         INTEGER NOT NULL CHECK (number BETWEEN 0 AND 15),
    master_backing TEXT    NOT NULL CHECK (master_backing <> ''),
    slave_backing  TEXT    NOT NULL CHECK (slave_backing <> ''),
    filesystem     TEXT    NOT NULL,
    mount_point    TEXT    NOT NULL,
    PRIMARY KEY (revision_id, position),
    UNIQUE (revision_id, name),
    UNIQUE (revision_id, number),
    UNIQUE (revision_id, master_backing),
    UNIQUE (revision_id, slave_backing)
) STRICT;

CREATE UNIQUE INDEX volumes_mount_point ON volumes (revision_id, mount_point) WHERE mount_point <> '';

CREATE TABLE virtual_addresses (
    revision_id    INTEGER NOT NULL REFERENCES revisions (id) ON DELETE CASCADE,
    position       INTEGER NOT NULL,
    enabled        INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    device         TEXT    NOT NULL CHECK (device <> ''),
    address        TEXT    NOT NULL CHECK (address <> ''),
    master_address TEXT    NOT NULL,
    slave_address  TEXT    NOT NULL,
    PRIMARY KEY (revision_id, position),
    UNIQUE (revision_id, address)
) STRICT;

CREATE TABLE virtual_aliases (
    revision_id INTEGER NOT NULL,
    owner       INTEGER NOT NULL,               -- position of the virtual address
    position    INTEGER NOT NULL,
    address     TEXT    NOT NULL CHECK (address <> ''),
    PRIMARY KEY (revision_id, owner, position),
    UNIQUE (revision_id, address),
    FOREIGN KEY (revision_id, owner) REFERENCES virtual_addresses (revision_id, position) ON DELETE CASCADE
) STRICT;

CREATE TABLE services (
    revision_id INTEGER NOT NULL REFERENCES revisions (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    name        TEXT    NOT NULL CHECK (name <> ''),
    placement   TEXT    NOT NULL CHECK (placement IN ('master', 'slave', 'both')),
    PRIMARY KEY (revision_id, position),
    UNIQUE (revision_id, name)
) STRICT;

-- People. The hash is a PHC string of argon2id.
CREATE TABLE users (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE COLLATE NOCASE CHECK (name <> ''),
    hash       TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Only the SHA-256 of a session's token is kept: who reads the database cannot sign in with it.
CREATE TABLE sessions (
    token_hash BLOB    PRIMARY KEY CHECK (length(token_hash) = 32),
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    address    TEXT    NOT NULL,
    agent      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    user      TEXT    NOT NULL,
    address   TEXT    NOT NULL,
    action    TEXT    NOT NULL CHECK (action <> ''),
    old_value TEXT    NOT NULL,
    new_value TEXT    NOT NULL
) STRICT;
