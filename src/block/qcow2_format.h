/*
 * The qcow2 format on disk, versions 2 and 3, and nothing else. All numbers are big-endian.
 * Document: docs/interop/qcow2.txt of QEMU ("qcow2").
 */
#ifndef BLOCK_QCOW2_FORMAT_H
#define BLOCK_QCOW2_FORMAT_H

#include "base/bits.h"

#define QCOW2_MAGIC UINT32_C(0x514649fb)

/* Header fields: byte offsets. */
#define QCOW2_VERSION             4
#define QCOW2_BACKING_OFFSET      8
#define QCOW2_BACKING_BYTES       16
#define QCOW2_CLUSTER_BITS        20
#define QCOW2_SIZE                24
#define QCOW2_CRYPT_METHOD        32
#define QCOW2_L1_ENTRIES          36
#define QCOW2_L1_OFFSET           40
#define QCOW2_REFTABLE_OFFSET     48
#define QCOW2_REFTABLE_CLUSTERS   56
#define QCOW2_NR_SNAPSHOTS        60
#define QCOW2_SNAPSHOTS_OFFSET    64
#define QCOW2_INCOMPATIBLE        72
#define QCOW2_COMPATIBLE          80
#define QCOW2_AUTOCLEAR           88
#define QCOW2_REFCOUNT_ORDER      96
#define QCOW2_HEADER_BYTES        100
#define QCOW2_COMPRESSION_TYPE    104
#define QCOW2_V2_HEADER_BYTES     72
#define QCOW2_V3_MIN_HEADER_BYTES 104
#define QCOW2_OUR_HEADER_BYTES    112

#define QCOW2_INCOMPATIBLE_DIRTY       BIT(0)
#define QCOW2_INCOMPATIBLE_CORRUPT     BIT(1)
#define QCOW2_INCOMPATIBLE_DATA_FILE   BIT(2)
#define QCOW2_INCOMPATIBLE_COMPRESSION BIT(3)
#define QCOW2_INCOMPATIBLE_EXTENDED_L2 BIT(4)
#define QCOW2_INCOMPATIBLE_KNOWN       BITS(4, 0)
#define QCOW2_COMPATIBLE_LAZY          BIT(0)
#define QCOW2_AUTOCLEAR_BITMAPS        BIT(0)

#define QCOW2_COMPRESSION_ZLIB 0
#define QCOW2_COMPRESSION_ZSTD 1

/* Header extensions. */
#define QCOW2_EXTENSION_END            UINT32_C(0)
#define QCOW2_EXTENSION_BACKING_FORMAT UINT32_C(0xe2792aca)
#define QCOW2_EXTENSION_FEATURE_NAMES  UINT32_C(0x6803f857)
#define QCOW2_EXTENSION_BITMAPS        UINT32_C(0x23852875)
#define QCOW2_EXTENSION_DATA_FILE      UINT32_C(0x44415441)
#define QCOW2_FEATURE_NAME_BYTES       48
#define QCOW2_FEATURE_NAME_OFFSET      2

#define QCOW2_ENTRY_COPIED     BIT(63) /* L1, L2: the refcount is exactly one */
#define QCOW2_ENTRY_COMPRESSED BIT(62)
#define QCOW2_ENTRY_ZERO       BIT(0)
#define QCOW2_ENTRY_OFFSET     BITS(55, 9)
#define QCOW2_REFTABLE_MASK    BITS(63, 9)
#define QCOW2_MAX_HOST_OFFSET  BIT(56)

#define QCOW2_SUBCLUSTERS 32

/* Snapshot table entries: byte offsets. */
#define QCOW2_SNAPSHOT_L1_OFFSET   0
#define QCOW2_SNAPSHOT_L1_ENTRIES  8
#define QCOW2_SNAPSHOT_ID_BYTES    12
#define QCOW2_SNAPSHOT_NAME_BYTES  14
#define QCOW2_SNAPSHOT_SECONDS     16
#define QCOW2_SNAPSHOT_NANOSECONDS 20
#define QCOW2_SNAPSHOT_VM_CLOCK    24
#define QCOW2_SNAPSHOT_VM_STATE    32
#define QCOW2_SNAPSHOT_EXTRA_BYTES 36
#define QCOW2_SNAPSHOT_EXTRA       40
#define QCOW2_SNAPSHOT_EXTRA_STATE 40
#define QCOW2_SNAPSHOT_EXTRA_SIZE  48
#define QCOW2_SNAPSHOT_OUR_EXTRA   16

/* Limits, QEMU's where it has the same one: they bound what a hostile image makes us hold. */
#define QCOW2_MIN_CLUSTER_BITS     9
#define QCOW2_MAX_CLUSTER_BITS     21
#define QCOW2_MIN_EXTENDED_BITS    14
#define QCOW2_MAX_L1_BYTES         (32u << 20)
#define QCOW2_MAX_REFTABLE_BYTES   (8u << 20)
#define QCOW2_MAX_SNAPSHOTS        65536
#define QCOW2_MAX_SNAPSHOT_BYTES   (64u << 20)
#define QCOW2_MAX_SNAPSHOT_EXTRA   1024
#define QCOW2_MAX_BACKING_NAME     1023
#define QCOW2_MAX_BITMAP_DIRECTORY (1u << 20)

static inline uint32_t be32_load(const void *from)
{
	uint32_t value;

	__builtin_memcpy(&value, from, sizeof(value));
	return __builtin_bswap32(value);
}

static inline uint64_t be64_load(const void *from)
{
	uint64_t value;

	__builtin_memcpy(&value, from, sizeof(value));
	return __builtin_bswap64(value);
}

static inline uint16_t be16_load(const void *from)
{
	uint16_t value;

	__builtin_memcpy(&value, from, sizeof(value));
	return __builtin_bswap16(value);
}

static inline void be16_store(void *to, uint16_t value)
{
	value = __builtin_bswap16(value);
	__builtin_memcpy(to, &value, sizeof(value));
}

static inline void be32_store(void *to, uint32_t value)
{
	value = __builtin_bswap32(value);
	__builtin_memcpy(to, &value, sizeof(value));
}

static inline void be64_store(void *to, uint64_t value)
{
	value = __builtin_bswap64(value);
	__builtin_memcpy(to, &value, sizeof(value));
}

#endif
