/*
 * Token buckets that hold a disk to its limits. A request passes when no bucket that concerns it is
 * in debt, and may take more than a bucket holds: a large request is never stuck, the debt delays
 * those after it. Not thread-safe; time is given by the caller.
 */
#ifndef BLOCK_RATE_LIMIT_H
#define BLOCK_RATE_LIMIT_H

#include "block/block.h"

struct rate_bucket {
	double per_ns; /* 0: unlimited */
	double burst;
	double level; /* below 0: in debt */
};

enum rate_class {
	RATE_REQUESTS,
	RATE_READ_REQUESTS,
	RATE_WRITE_REQUESTS,
	RATE_BYTES,
	RATE_READ_BYTES,
	RATE_WRITE_BYTES,
	NR_RATES
};

struct rate_limit {
	struct rate_bucket buckets[NR_RATES];
	ns_t filled_ns;
};

void rate_limit_init(struct rate_limit *limit, const struct block_limits *limits, ns_t now_ns);
bool rate_limit_is_set(const struct rate_limit *limit);
/* Lets a request pass and returns 0, or returns how long to wait before asking again. */
ns_t rate_limit_take(struct rate_limit *limit, bool is_write, uint64_t bytes, ns_t now_ns);

#endif
