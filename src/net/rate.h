/*
 * A token bucket: so many bytes a second, with bursts.
 */
#ifndef NET_RATE_H
#define NET_RATE_H

#include "base/types.h"

struct net_rate {
	uint64_t bytes_per_s; /* 0: no limit */
	uint64_t burst_bytes;
	int64_t tokens; /* bytes; below 0 after a frame larger than what was left */
	ns_t filled_ns; /* CLOCK_MONOTONIC when `tokens` was right */
};

/* `burst_bytes` 0 is a tenth of a second's worth, and at least one frame. */
void net_rate_init(struct net_rate *rate, uint64_t bytes_per_s, uint64_t burst_bytes);

static inline bool net_rate_is_set(const struct net_rate *rate)
{
	return rate->bytes_per_s != 0;
}

/* True if a frame may pass at `now_ns`. It may be of any size: what it takes too much is waited for
 * by the next. */
bool net_rate_allows(struct net_rate *rate, ns_t now_ns);
void net_rate_take(struct net_rate *rate, uint64_t bytes);

/* When it will allow a frame again, if it does not. */
ns_t net_rate_when(const struct net_rate *rate);

#endif
