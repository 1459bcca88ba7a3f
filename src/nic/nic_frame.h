/*
 * What cards of old compute of frames in hardware: Internet checksums (RFC 1071), checked and
 * filled in, and the headers of a large segment that somebody else cuts.
 */
#ifndef NIC_NIC_FRAME_H
#define NIC_NIC_FRAME_H

#include "net/net.h"

/* What a receiver found: whether there is such a checksum that it knows, and whether it is wrong.
 */
#define NIC_FRAME_IPV4     BIT(0)
#define NIC_FRAME_IPV4_BAD BIT(1)
#define NIC_FRAME_TCP      BIT(2)
#define NIC_FRAME_UDP      BIT(3)
#define NIC_FRAME_L4_BAD   BIT(4)

/* Checks what is in a received frame; a header may say that the sender vouches for it. Anything
 * else than unfragmented IPv4 and IPv6 without extension headers has no L4. */
unsigned nic_frame_check(const struct net_header *header, const uint8_t *frame, size_t size);

/* Stores the complement of the sum of [start, end) at `at`, if all of it is in the frame. */
void nic_frame_sum(uint8_t *frame, size_t size, size_t start, size_t end, size_t at);

/* Fills in the TCP or UDP checksum of an IPv4 packet: its L4 part is [l4, end). Ethernet's header
 * has no tag. Does nothing if it is neither, or does not fit. */
void nic_frame_fill(uint8_t *frame, size_t size, size_t l4, size_t end);

/*
 * Makes a frame and its header what net.h wants of a large TCP segment: IP's length and checksum,
 * TCP's pseudo header. Returns false if the frame is not such a segment. Ethernet's header (with
 * tags) ends at `ip`, IP's at `l4`.
 */
bool nic_frame_segment(
	struct net_header *header, uint8_t *frame, size_t size, size_t ip, size_t l4, uint16_t mss);

#endif
