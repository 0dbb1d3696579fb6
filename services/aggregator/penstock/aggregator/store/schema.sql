-- The usage store's tables, owned by the aggregator. Every key column set is also what a replay writes again: idempotent.
-- fsync on insert: a marker that survives a power cut must not outlive the cells it speaks for (CORE.md hole 10).
CREATE TABLE IF NOT EXISTS cells (
    tenant LowCardinality(String),
    metric LowCardinality(String),
    customer String,
    window DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    groups Array(String),   -- '' is null, '=text' is text
    member String,          -- the counted value of a UNIQUE metric, coded as groups are
    partition UInt16,
    events UInt64,
    value Decimal(76, 12),
    latest_us Int64,
    latest_id String,
    version UInt64,
    weighted Decimal(76, 12)   -- change x microseconds since the window's start, of a TIME_WEIGHTED_SUM
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window)
ORDER BY (tenant, metric, customer, window, groups, member, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- For a folder of an earlier release, which had no such metric.
ALTER TABLE cells ADD COLUMN IF NOT EXISTS weighted Decimal(76, 12);

CREATE TABLE IF NOT EXISTS events (
    tenant LowCardinality(String),
    event_type LowCardinality(String),
    customer LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, LZ4),
    transaction_id String,
    properties String,
    partition UInt16 CODEC(T64, LZ4),
    offset UInt64 CODEC(T64, LZ4),
    place UInt32 CODEC(T64, LZ4),
    outcome UInt8 CODEC(T64, LZ4)
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (tenant, event_type, customer, time, partition, offset, place)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Large records, whole (kernel/stored_chunk.py); the payload was packed by the gateway, so it is not packed again.
CREATE TABLE IF NOT EXISTS chunks (
    day UInt16,             -- of the log clock
    partition UInt16,
    offset UInt64,
    events UInt32,
    tenants Array(LowCardinality(String)),
    customers Array(LowCardinality(String)),   -- empty: any
    windows Array(UInt32),  -- base windows of its events, by number
    outcomes String,        -- a byte per event
    payload String CODEC(NONE)
) ENGINE = ReplacingMergeTree
PARTITION BY intDiv(day, 7)
ORDER BY (partition, offset, day)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS ids (
    day UInt16,             -- of the log clock: the generation
    partition UInt16,
    identity FixedString(16) CODEC(NONE),
    body UInt64 CODEC(NONE),
    offset UInt64 CODEC(T64, LZ4),
    place UInt32 CODEC(T64, LZ4),
    time_us Int64 CODEC(T64, LZ4)   -- of the event: leads to its stored row without a scan
) ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (day, partition, identity, offset, place)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- For a folder of the first release; the time of its ids is 0, and their events are looked for at any time.
ALTER TABLE ids ADD COLUMN IF NOT EXISTS time_us Int64 CODEC(T64, LZ4);

-- Events of the log that were not kept: duplicates, conflicts, late ones.
CREATE TABLE IF NOT EXISTS dropped (
    day UInt16,
    partition UInt16,
    identity FixedString(16) CODEC(NONE),
    offset UInt64 CODEC(T64, LZ4),
    place UInt32 CODEC(T64, LZ4),
    time_us Int64 CODEC(T64, LZ4),
    outcome UInt8
) ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (day, partition, identity, offset, place)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS controls (
    partition UInt16,
    offset UInt64,
    payload String
) ENGINE = ReplacingMergeTree
ORDER BY (partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS touched (
    tenant LowCardinality(String),
    customer String,
    partition UInt16,
    offset UInt64
) ENGINE = ReplacingMergeTree(offset)
ORDER BY (tenant, customer, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS markers (
    partition UInt16,
    offset UInt64,
    log_id String,
    partitions UInt16,
    digest String,
    clock_us Int64
) ENGINE = ReplacingMergeTree(offset)
ORDER BY (partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
