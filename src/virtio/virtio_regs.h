/*
 * The numbers of virtio 1.2 that every device and transport shares: status and feature bits,
 * descriptor and ring flags, layouts of the rings.
 */
#ifndef VIRTIO_VIRTIO_REGS_H
#define VIRTIO_VIRTIO_REGS_H

#include "base/bits.h"

/* Device status (2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01u
#define VIRTIO_STATUS_DRIVER      0x02u
#define VIRTIO_STATUS_DRIVER_OK   0x04u
#define VIRTIO_STATUS_FEATURES_OK 0x08u
#define VIRTIO_STATUS_NEEDS_RESET 0x40u
#define VIRTIO_STATUS_FAILED      0x80u

/* Reserved feature bits (6), and the legacy interface's (6.3). */
#define VIRTIO_F_NOTIFY_ON_EMPTY BIT(24)
#define VIRTIO_F_ANY_LAYOUT      BIT(27)
#define VIRTIO_F_INDIRECT_DESC   BIT(28)
#define VIRTIO_F_EVENT_IDX       BIT(29)
#define VIRTIO_F_VERSION_1       BIT(32)
#define VIRTIO_F_RING_PACKED     BIT(34)
#define VIRTIO_F_RING_RESET      BIT(40)

/* Device types (5). */
#define VIRTIO_ID_NET     1
#define VIRTIO_ID_BLOCK   2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_ENTROPY 4
#define VIRTIO_ID_BALLOON 5
#define VIRTIO_ID_GPU     16
#define VIRTIO_ID_INPUT   18
#define VIRTIO_ID_VSOCK   19
#define VIRTIO_ID_MEM     24
#define VIRTIO_ID_FS      26
#define VIRTIO_ID_PMEM    27

/* Descriptors, split (2.7.5) and packed (2.8.1). */
#define VIRTQ_DESC_NEXT     BIT(0)
#define VIRTQ_DESC_WRITE    BIT(1)
#define VIRTQ_DESC_INDIRECT BIT(2)
#define VIRTQ_DESC_AVAIL    BIT(7)  /* packed */
#define VIRTQ_DESC_USED     BIT(15) /* packed */

struct virtq_split_desc {
	uint64_t address;
	uint32_t length;
	uint16_t flags;
	uint16_t next;
};

struct virtq_packed_desc {
	uint64_t address;
	uint32_t length;
	uint16_t id;
	uint16_t flags;
};

struct virtq_used_element {
	uint32_t id;
	uint32_t length;
};

/* The available and used rings begin with flags and index (2.7.6, 2.7.8). */
#define VIRTQ_RING_FLAGS   0
#define VIRTQ_RING_INDEX   2
#define VIRTQ_RING_ENTRIES 4

#define VIRTQ_AVAIL_NO_INTERRUPT 1u
#define VIRTQ_USED_NO_NOTIFY     1u

/* Event suppression of packed rings (2.8.10): offset and wrap, then flags. */
struct virtq_event {
	uint16_t position;
	uint16_t flags;
};
#define VIRTQ_EVENT_WRAP    0x8000u
#define VIRTQ_EVENT_ENABLE  0u
#define VIRTQ_EVENT_DISABLE 1u
#define VIRTQ_EVENT_DESC    2u

/* A queue or the configuration has no MSI-X vector (4.1.5.1.2). */
#define VIRTIO_NO_VECTOR 0xffffu

#endif
