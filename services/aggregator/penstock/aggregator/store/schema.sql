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
    customers Array(UInt16),    -- sixteen bits of the hash of each key
    windows Array(UInt32),  -- base windows of its events, by number
    outcomes String,        -- a byte per event
    payload String CODEC(NONE)
) ENGINE = ReplacingMergeTree
PARTITION BY intDiv(day, 7)
ORDER BY (partition, offset, day)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What became of every id of the log, and where. One table, since a small insert costs as much as a large one.
CREATE TABLE IF NOT EXISTS ids (
    day UInt16,             -- of the log clock: the generation
    partition UInt16,
    identity FixedString(16) CODEC(NONE),
    body UInt64 CODEC(NONE),
    offset UInt64 CODEC(T64, LZ4),
    place UInt32 CODEC(T64, LZ4),
    time_us Int64 CODEC(T64, LZ4),  -- of the event: leads to its stored row without a scan
    outcome UInt8 CODEC(T64, LZ4)   -- 255: the first of its id, whose event is stored; else why it was dropped
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

-- Every correction that the fold came to, and what it made of its event: revisions beside `events` and `chunks`, which
-- stay as they are. Where it is without effect, `refusal` says why and there is no event in the row.
CREATE TABLE IF NOT EXISTS corrections (
    tenant LowCardinality(String),
    customer String,
    time DateTime64(6, 'UTC'),
    partition UInt16,
    event_offset UInt64,
    place UInt32,
    offset UInt64,          -- of the correction's record: from here on the revision is in force
    id String,
    sequence UInt64,
    transaction_id String,
    refusal LowCardinality(String),
    before UInt8,           -- the event's outcome until then; 255 where there is no event
    event_type LowCardinality(String),
    properties String,
    outcome UInt8,
    INDEX by_transaction transaction_id TYPE bloom_filter GRANULARITY 1
) ENGINE = ReplacingMergeTree
ORDER BY (tenant, customer, time, partition, event_offset, place, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- How far the job has come that fills a metric from events before its control record.
CREATE TABLE IF NOT EXISTS fills (
    partition UInt16,
    metric String,
    through_us UInt64       -- cells of windows before this are written
) ENGINE = ReplacingMergeTree(through_us)
ORDER BY (partition, metric)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Who has sent events, by the key that they came under.
CREATE TABLE IF NOT EXISTS touched (
    tenant LowCardinality(String),
    customer String,
    partition UInt16
) ENGINE = ReplacingMergeTree
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
