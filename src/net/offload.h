/*
 * What a NIC's offloads leave undone, done in software: Internet checksums (RFC 1071) and the
 * segmentation of TCP and UDP (virtio 1.2 5.1.6.2).
 */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include "net/net.h"

/* True if the header fits a frame of `size` bytes, and names only what is known. */
bool offload_header_is_valid(const struct net_header *header, size_t size);

/* What a receiver must take to be given a frame with this header as it is. */
unsigned offload_needed(const struct net_header *header);

/* Fills in the checksum that a valid header asks for, and clears that. */
void offload_checksum(struct net_header *header, uint8_t *frame, size_t size);

/* The sum of big-endian words that checksums are the complement of; an odd byte is the upper one.
 */
uint16_t offload_sum(const uint8_t *bytes, size_t size);

/* A large frame that is being cut. `frame` is the owner's, and must stay. */
struct offload_segments {
	const uint8_t *frame;
	size_t size, at; /* `at`: how much of the payload is cut off */
	size_t ip, l4, payload;
	uint32_t sequence;
	uint16_t identification, gso_size;
	bool is_ipv6, is_udp;
};

/* Returns false if the frame's headers are not what its net_header says: it is to be dropped. */
bool offload_segments_begin(struct offload_segments *segments, const struct net_header *header,
	const uint8_t *frame, size_t size);

/* Writes the next one, whole and with its checksums, to `to` (NET_MAX_FRAME bytes). Returns its
 * size, 0 after the last. */
size_t offload_segments_next(struct offload_segments *segments, uint8_t *to);

#endif
