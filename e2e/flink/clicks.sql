SET 'pipeline.name' = 'clicks-window';
SET 'execution.checkpointing.interval' = '3s';
SET 'parallelism.default' = '2';
CREATE TABLE clicks (
  id BIGINT, page STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'datagen', 'rows-per-second' = '800', 'fields.page.length' = '2');
CREATE TABLE pages (
  starts TIMESTAMP(3), page STRING, clicks BIGINT
) WITH ('connector' = 'blackhole');
INSERT INTO pages
  SELECT window_start, page, COUNT(*)
  FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '5' SECOND))
  GROUP BY window_start, window_end, page;
