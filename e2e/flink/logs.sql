SET 'pipeline.name' = '日志清洗 / log-clean (eu)';
SET 'execution.checkpointing.interval' = '3s';
SET 'parallelism.default' = '1';
CREATE TABLE lines (
  id BIGINT, line STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'datagen', 'rows-per-second' = '100', 'number-of-rows' = '15000');
CREATE TABLE cleaned (line STRING) WITH ('connector' = 'blackhole');
INSERT INTO cleaned
  SELECT UPPER(line) || '"quoted\path"' FROM lines WHERE id > 0;
