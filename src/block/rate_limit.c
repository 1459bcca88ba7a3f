/*
 * Token buckets.
 */
#include "block/rate_limit.h"
#include "base/bits.h"

static void bucket_init(struct rate_bucket *bucket, const struct block_rate *rate)
{
	bucket->per_ns = (double)rate->per_s / NS_PER_S;
	bucket->burst = rate->burst ? (double)rate->burst : (double)rate->per_s / 10;
	if (bucket->burst < 1)
		bucket->burst = 1;
	bucket->level = bucket->burst;
}

void rate_limit_init(struct rate_limit *limit, const struct block_limits *limits, ns_t now_ns)
{
	bucket_init(&limit->buckets[RATE_REQUESTS], &limits->requests);
	bucket_init(&limit->buckets[RATE_READ_REQUESTS], &limits->read_requests);
	bucket_init(&limit->buckets[RATE_WRITE_REQUESTS], &limits->write_requests);
	bucket_init(&limit->buckets[RATE_BYTES], &limits->bytes);
	bucket_init(&limit->buckets[RATE_READ_BYTES], &limits->read_bytes);
	bucket_init(&limit->buckets[RATE_WRITE_BYTES], &limits->write_bytes);
	limit->filled_ns = now_ns;
}

bool rate_limit_is_set(const struct rate_limit *limit)
{
	for (unsigned i = 0; i < NR_RATES; i++) {
		if (limit->buckets[i].per_ns > 0)
			return true;
	}
	return false;
}

static void fill(struct rate_limit *limit, ns_t now_ns)
{
	ns_t passed_ns = now_ns - limit->filled_ns;

	if (passed_ns <= 0)
		return;
	limit->filled_ns = now_ns;
	for (unsigned i = 0; i < NR_RATES; i++) {
		struct rate_bucket *bucket = &limit->buckets[i];

		bucket->level += bucket->per_ns * (double)passed_ns;
		if (bucket->level > bucket->burst)
			bucket->level = bucket->burst;
	}
}

ns_t rate_limit_take(struct rate_limit *limit, bool is_write, uint64_t bytes, ns_t now_ns)
{
	const struct {
		enum rate_class class;
		double cost;
	} costs[] = {
		{ RATE_REQUESTS, 1 },
		{ is_write ? RATE_WRITE_REQUESTS : RATE_READ_REQUESTS, 1 },
		{ RATE_BYTES, (double)bytes },
		{ is_write ? RATE_WRITE_BYTES : RATE_READ_BYTES, (double)bytes },
	};
	ns_t wait_ns = 0;

	fill(limit, now_ns);
	for (unsigned i = 0; i < ARRAY_SIZE(costs); i++) {
		const struct rate_bucket *bucket = &limit->buckets[costs[i].class];
		ns_t until_ns;

		if (bucket->per_ns == 0 || bucket->level >= 0)
			continue;
		until_ns = (ns_t)(-bucket->level / bucket->per_ns) + 1;
		if (until_ns > wait_ns)
			wait_ns = until_ns;
	}
	if (wait_ns > 0)
		return wait_ns;
	for (unsigned i = 0; i < ARRAY_SIZE(costs); i++)
		limit->buckets[costs[i].class].level -= costs[i].cost;
	return 0;
}
