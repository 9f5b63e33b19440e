-- The log: what the engine saw and decided. Only the engine writes it; the console reads it.
CREATE TABLE events (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,                 -- unix nanoseconds
    node     TEXT    NOT NULL,
    log      TEXT    NOT NULL CHECK (log IN ('heartbeat', 'failover')),
    code     TEXT    NOT NULL CHECK (code <> ''),
    severity TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    text     TEXT    NOT NULL,
    epoch    TEXT    NOT NULL,
    cause    INTEGER NOT NULL DEFAULT 0        -- id of the event that brought this one about; 0 = none
) STRICT;

CREATE INDEX events_log ON events (log, id);
