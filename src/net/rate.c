/*
 * A token bucket (rate.h). The tokens of a long pause are capped before they are multiplied, so
 * that no product overflows.
 */
#include "net/rate.h"

#include "base/bits.h"

#define MIN_BURST 65536
#define MAX_RATE  (UINT64_C(1) << 40)

void net_rate_init(struct net_rate *rate, uint64_t bytes_per_s, uint64_t burst_bytes)
{
	if (bytes_per_s > MAX_RATE)
		bytes_per_s = MAX_RATE;
	if (!burst_bytes)
		burst_bytes = bytes_per_s / 10;
	if (burst_bytes < MIN_BURST)
		burst_bytes = MIN_BURST;
	if (burst_bytes > MAX_RATE)
		burst_bytes = MAX_RATE;
	*rate = (struct net_rate){ .bytes_per_s = bytes_per_s,
		.burst_bytes = burst_bytes,
		.tokens = (int64_t)burst_bytes };
}

static int64_t tokens_of(const struct net_rate *rate, ns_t ns)
{
	return (int64_t)((unsigned __int128)ns * rate->bytes_per_s / NS_PER_S);
}

bool net_rate_allows(struct net_rate *rate, ns_t now_ns)
{
	int64_t missing, added;
	ns_t passed = now_ns - rate->filled_ns;

	if (!rate->bytes_per_s)
		return true;
	missing = (int64_t)rate->burst_bytes - rate->tokens;
	added = passed > 0 ? tokens_of(rate, passed) : 0;
	if (added > 0) {
		rate->tokens += added < missing ? added : missing;
		rate->filled_ns = now_ns;
	}
	return rate->tokens > 0;
}

void net_rate_take(struct net_rate *rate, uint64_t bytes)
{
	if (rate->bytes_per_s)
		rate->tokens -= (int64_t)bytes;
}

ns_t net_rate_when(const struct net_rate *rate)
{
	uint64_t missing = (uint64_t)(1 - rate->tokens);

	return rate->filled_ns + (ns_t)((unsigned __int128)missing * NS_PER_S / rate->bytes_per_s) +
	       1;
}
