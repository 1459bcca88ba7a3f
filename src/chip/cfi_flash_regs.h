/*
 * Intel StrataFlash (28F128J3 and its family, 290667): commands, status register, identifiers.
 * JEDEC JESD68.01: the query structure.
 */
#ifndef CHIP_CFI_FLASH_REGS_H
#define CHIP_CFI_FLASH_REGS_H

#include "base/bits.h"

enum cfi_command {
	CFI_PROGRAM = 0x10,
	CFI_BLOCK_ERASE = 0x20,
	CFI_PROGRAM_TOO = 0x40,
	CFI_CLEAR_STATUS = 0x50,
	CFI_LOCK_SETUP = 0x60,
	CFI_READ_STATUS = 0x70,
	CFI_READ_IDENTIFIER = 0x90,
	CFI_READ_QUERY = 0x98,
	CFI_SUSPEND = 0xb0,
	CFI_CONFIRM = 0xd0,
	CFI_WRITE_BUFFER = 0xe8,
	CFI_READ_ARRAY = 0xff,
};

/* The status register. */
#define CFI_STATUS_PROGRAM_ERROR BIT(4)
#define CFI_STATUS_ERASE_ERROR   BIT(5)
#define CFI_STATUS_READY         BIT(7)
/* Both say that the commands came in a wrong order. */
#define CFI_STATUS_SEQUENCE_ERROR (CFI_STATUS_PROGRAM_ERROR | CFI_STATUS_ERASE_ERROR)

/* Identifier codes: offsets in a block. */
#define CFI_ID_MANUFACTURER 0
#define CFI_ID_DEVICE       1
#define CFI_ID_BLOCK_LOCK   2
#define CFI_ID_INTEL        0x89
#define CFI_ID_28F128J3     0x18

/* The query structure. */
#define CFI_QUERY               0x10 /* "QRY" */
#define CFI_QUERY_COMMANDS      0x13 /* the primary command set: 1, Intel's */
#define CFI_QUERY_EXTENDED      0x15 /* where its extended query is */
#define CFI_QUERY_VCC_MIN       0x1b /* volts and tenths, in BCD */
#define CFI_QUERY_VCC_MAX       0x1c
#define CFI_QUERY_PROGRAM_TIME  0x1f /* powers of two: us for a byte, */
#define CFI_QUERY_BUFFER_TIME   0x20 /* us for a buffer, */
#define CFI_QUERY_ERASE_TIME    0x21 /* ms for a block */
#define CFI_QUERY_PROGRAM_MAX   0x23 /* powers of two: how much longer at most */
#define CFI_QUERY_BUFFER_MAX    0x24
#define CFI_QUERY_ERASE_MAX     0x25
#define CFI_QUERY_SIZE          0x27 /* a power of two: bytes */
#define CFI_QUERY_INTERFACE     0x28 /* 0: 8 bits */
#define CFI_QUERY_BUFFER_SIZE   0x2a /* a power of two: bytes */
#define CFI_QUERY_NR_REGIONS    0x2c
#define CFI_QUERY_REGION_BLOCKS 0x2d /* less one, 16 bits */
#define CFI_QUERY_REGION_BYTES  0x2f /* of a block, in 256 bytes, 16 bits */
#define CFI_QUERY_PRIMARY       0x31 /* "PRI", version 1.1 and 10 bytes of features: none */

#endif
