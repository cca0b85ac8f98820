SET 'pipeline.name' = 'orders-enrichment "prod" \ v2';
SET 'execution.checkpointing.interval' = '3s';
SET 'parallelism.default' = '2';
CREATE TABLE orders (
  order_id BIGINT, user_id INT, amount DOUBLE
) WITH ('connector' = 'datagen', 'rows-per-second' = '400', 'fields.user_id.min' = '1', 'fields.user_id.max' = '300');
CREATE TABLE users (
  user_id INT, segment STRING
) WITH ('connector' = 'datagen', 'rows-per-second' = '20', 'fields.user_id.min' = '1', 'fields.user_id.max' = '300');
CREATE TABLE totals (
  user_id INT, segment STRING, orders BIGINT, amount DOUBLE
) WITH ('connector' = 'blackhole');
INSERT INTO totals
  SELECT o.user_id, u.segment, COUNT(*), SUM(o.amount)
  FROM orders AS o JOIN users AS u ON o.user_id = u.user_id
  GROUP BY o.user_id, u.segment;
