/*
 * Offloads of any header and frame: no access beyond either, and segments no larger than they may
 * be.
 */
#include "net/offload.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t to[NET_MAX_FRAME];
	struct offload_segments segments;
	struct net_header header;
	uint8_t *frame;
	size_t part;

	if (size < sizeof(header) + NET_MIN_FRAME || size - sizeof(header) > NET_MAX_FRAME)
		return 0;
	memcpy(&header, data, sizeof(header));
	size -= sizeof(header);
	if (!offload_header_is_valid(&header, size))
		return 0;
	frame = malloc(size);
	if (!frame)
		return 0;
	memcpy(frame, data + sizeof(header), size);
	if (header.gso_type != NET_GSO_NONE &&
		offload_segments_begin(&segments, &header, frame, size)) {
		while ((part = offload_segments_next(&segments, to)) != 0)
			if (part > NET_MAX_FRAME || part > size)
				abort();
	}
	offload_checksum(&header, frame, size);
	free(frame);
	return 0;
}
