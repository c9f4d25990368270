-- What somebody would write who needs user features once: sessions, counts and money per user and window, in one query.
-- $events is the log's files, $as_of the instant in epoch milliseconds.
with acts as (
    select
        user_id,
        event_type,
        ts,
        quantity * unit_price_cents as cents,
        order_id,
        ts - lag(ts) over (partition by user_id order by ts) as gap
    from read_parquet($events)
    where ts < $as_of
)
select
    user_id,
    ($as_of - 1 - max(ts)) // 86400000 as recency_days,
    ($as_of - 1 - min(ts)) // 86400000 as tenure_days,
    count(distinct order_id) filter (where event_type = 'purchase') as frequency,
    sum(cents) filter (where event_type = 'purchase') as monetary_cents,
    count(*) filter (where gap is null or gap >= 1800000) as sessions,
    count(*) filter (where (gap is null or gap >= 1800000) and ts >= $as_of - 86400000) as sessions_1d,
    count(*) filter (where (gap is null or gap >= 1800000) and ts >= $as_of - 7 * 86400000::bigint) as sessions_7d,
    count(*) filter (where (gap is null or gap >= 1800000) and ts >= $as_of - 30 * 86400000::bigint) as sessions_30d,
    count(*) filter (where (gap is null or gap >= 1800000) and ts >= $as_of - 90 * 86400000::bigint) as sessions_90d,
    count(*) filter (where event_type = 'view' and ts >= $as_of - 86400000) as views_1d,
    count(*) filter (where event_type = 'view' and ts >= $as_of - 7 * 86400000::bigint) as views_7d,
    count(*) filter (where event_type = 'view' and ts >= $as_of - 30 * 86400000::bigint) as views_30d,
    count(*) filter (where event_type = 'view' and ts >= $as_of - 90 * 86400000::bigint) as views_90d,
    count(*) filter (where event_type = 'add_to_cart' and ts >= $as_of - 7 * 86400000::bigint) as carts_7d,
    count(*) filter (where event_type = 'add_to_cart' and ts >= $as_of - 30 * 86400000::bigint) as carts_30d,
    count(*) filter (where event_type = 'purchase' and ts >= $as_of - 7 * 86400000::bigint) as purchases_7d,
    count(*) filter (where event_type = 'purchase' and ts >= $as_of - 30 * 86400000::bigint) as purchases_30d,
    sum(cents) filter (where event_type = 'purchase' and ts >= $as_of - 30 * 86400000::bigint) as monetary_cents_30d
from acts
group by user_id
