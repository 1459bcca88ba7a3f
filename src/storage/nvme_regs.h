/*
 * Registers, commands and structures of NVM Express (NVMe 1.4).
 */
#ifndef STORAGE_NVME_REGS_H
#define STORAGE_NVME_REGS_H

#include "base/bits.h"

#include <stdint.h>

/* Controller registers (3.1). */
#define NVME_CAP       0x00
#define NVME_VS        0x08
#define NVME_INTMS     0x0c
#define NVME_INTMC     0x10
#define NVME_CC        0x14
#define NVME_CSTS      0x1c
#define NVME_AQA       0x24
#define NVME_ASQ       0x28
#define NVME_ACQ       0x30
#define NVME_DOORBELLS 0x1000

#define NVME_CAP_MQES    BITS(15, 0)
#define NVME_CAP_CQR     BIT(16)
#define NVME_CAP_TO      BITS(31, 24)
#define NVME_CAP_CSS_NVM BIT(37)

#define NVME_CC_EN       BIT(0)
#define NVME_CC_CSS      BITS(6, 4)
#define NVME_CC_MPS      BITS(10, 7)
#define NVME_CC_AMS      BITS(13, 11)
#define NVME_CC_SHN      BITS(15, 14)
#define NVME_CC_IOSQES   BITS(19, 16)
#define NVME_CC_IOCQES   BITS(23, 20)
#define NVME_CC_WRITABLE UINT32_C(0x00fffff1)

#define NVME_CSTS_RDY       BIT(0)
#define NVME_CSTS_CFS       BIT(1)
#define NVME_CSTS_SHST      BITS(3, 2)
#define NVME_CSTS_SHST_DONE 2

#define NVME_AQA_ASQS BITS(11, 0)
#define NVME_AQA_ACQS BITS(27, 16)

/* A submission queue entry (4.2). */
struct nvme_sqe {
	uint8_t opcode;
	uint8_t flags; /* FUSE 1:0, PSDT 7:6 */
	uint16_t cid;
	uint32_t nsid;
	uint32_t dw2, dw3;
	uint64_t mptr;
	uint64_t prp1, prp2;
	uint32_t dw10, dw11, dw12, dw13, dw14, dw15;
};
_Static_assert(sizeof(struct nvme_sqe) == 64, "4.2");

/* A completion queue entry (4.6). */
struct nvme_cqe {
	uint32_t result;
	uint32_t reserved;
	uint16_t sq_head, sq_id;
	uint16_t cid;
	uint16_t status; /* phase tag in bit 0 */
};
_Static_assert(sizeof(struct nvme_cqe) == 16, "4.6");

#define NVME_SQE_FUSE 0x03
#define NVME_SQE_PSDT 0xc0

enum nvme_admin_opcode {
	NVME_ADMIN_DELETE_SQ = 0x00,
	NVME_ADMIN_CREATE_SQ = 0x01,
	NVME_ADMIN_GET_LOG_PAGE = 0x02,
	NVME_ADMIN_DELETE_CQ = 0x04,
	NVME_ADMIN_CREATE_CQ = 0x05,
	NVME_ADMIN_IDENTIFY = 0x06,
	NVME_ADMIN_ABORT = 0x08,
	NVME_ADMIN_SET_FEATURES = 0x09,
	NVME_ADMIN_GET_FEATURES = 0x0a,
	NVME_ADMIN_ASYNC_EVENT = 0x0c,
};

enum nvme_io_opcode {
	NVME_IO_FLUSH = 0x00,
	NVME_IO_WRITE = 0x01,
	NVME_IO_READ = 0x02,
	NVME_IO_WRITE_ZEROES = 0x08,
	NVME_IO_DATASET_MANAGEMENT = 0x09,
};

/* Status: type above code (4.6.1). */
enum nvme_status {
	NVME_SUCCESS = 0x000,
	NVME_INVALID_OPCODE = 0x001,
	NVME_INVALID_FIELD = 0x002,
	NVME_DATA_TRANSFER_ERROR = 0x004,
	NVME_INTERNAL_ERROR = 0x006,
	NVME_ABORTED = 0x007,
	NVME_INVALID_NAMESPACE = 0x00b,
	NVME_PRP_OFFSET_INVALID = 0x013,
	NVME_LBA_OUT_OF_RANGE = 0x080,
	NVME_CAPACITY_EXCEEDED = 0x081,
	NVME_INVALID_CQ = 0x100,
	NVME_INVALID_QUEUE_ID = 0x101,
	NVME_INVALID_QUEUE_SIZE = 0x102,
	NVME_TOO_MANY_EVENTS = 0x105,
	NVME_INVALID_VECTOR = 0x108,
	NVME_INVALID_LOG_PAGE = 0x109,
	NVME_INVALID_QUEUE_DELETION = 0x10c,
	NVME_NOT_SAVEABLE = 0x10d,
	NVME_NOT_CHANGEABLE = 0x10e,
	NVME_READ_ONLY_RANGE = 0x182,
	NVME_WRITE_FAULT = 0x280,
	NVME_UNRECOVERED_READ = 0x281,
	NVME_DO_NOT_RETRY = 0x4000,
};

enum nvme_feature {
	NVME_FEATURE_ARBITRATION = 0x01,
	NVME_FEATURE_POWER = 0x02,
	NVME_FEATURE_TEMPERATURE = 0x04,
	NVME_FEATURE_ERROR_RECOVERY = 0x05,
	NVME_FEATURE_WRITE_CACHE = 0x06,
	NVME_FEATURE_NR_QUEUES = 0x07,
	NVME_FEATURE_COALESCING = 0x08,
	NVME_FEATURE_VECTOR = 0x09,
	NVME_FEATURE_ATOMICITY = 0x0a,
	NVME_FEATURE_ASYNC_EVENT = 0x0b,
	NVME_NR_FEATURES,
};

/* Asynchronous events (5.2): type, information, log page. */
#define NVME_EVENT_BAD_DOORBELL       0x010000
#define NVME_EVENT_BAD_DOORBELL_VALUE 0x010100
#define NVME_EVENT_NAMESPACE          0x040002
#define NVME_EVENT_CONFIG_NAMESPACE   BIT(8)

#endif
