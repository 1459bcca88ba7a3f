/*
 * Commands of the NVM command set (NVMe 1.4, 6), and where their data lies (4.3).
 */
#include "storage/nvme_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DW12_DEAC     BIT(25)
#define DW12_FUA      BIT(30)
#define DW11_DISCARD  BIT(2)
#define PRPS_PER_PAGE (NVME_PAGE / 8)

uint32_t nvme_block_bytes(const struct nvme *nvme)
{
	return block_device_geometry(nvme->drive.image)->logical_block_bytes;
}

uint64_t nvme_nr_blocks(const struct nvme *nvme)
{
	return drive_bytes(&nvme->drive) / nvme_block_bytes(nvme);
}

static bool add(struct nvme_command *command, uint64_t address, uint64_t *left, bool writable)
{
	uint64_t chunk = NVME_PAGE - address % NVME_PAGE;

	if (chunk > *left)
		chunk = *left;
	*left -= chunk;
	return scatter_add(&command->scatter, address, chunk, writable);
}

/* A list of PRPs; the last entry of a page leads to the next page if more is to come. Only the
 * first page may be entered in its middle, so each further one brings the end nearer. */
static enum nvme_status collect_list(
	struct nvme_command *command, uint64_t list, uint64_t left, bool writable)
{
	const struct guest_memory *memory = &command->nvme->machine->memory;
	uint64_t prps[PRPS_PER_PAGE];

	while (left > 0) {
		unsigned count = (unsigned)(NVME_PAGE - list % NVME_PAGE) / 8;
		uint64_t wanted = (left + NVME_PAGE - 1) / NVME_PAGE;

		if (list % 8)
			return NVME_PRP_OFFSET_INVALID;
		if (wanted < count)
			count = (unsigned)wanted;
		if (guest_memory_read(memory, list, prps, count * 8ull))
			return NVME_DATA_TRANSFER_ERROR;
		for (unsigned i = 0; i < count && left > 0; i++) {
			bool is_last = (list + 8ull * i) % NVME_PAGE == NVME_PAGE - 8;

			if (prps[i] % NVME_PAGE)
				return NVME_PRP_OFFSET_INVALID;
			if (is_last && left > NVME_PAGE) {
				list = prps[i];
				break;
			}
			if (!add(command, prps[i], &left, writable))
				return NVME_DATA_TRANSFER_ERROR;
		}
	}
	return NVME_SUCCESS;
}

enum nvme_status nvme_collect(struct nvme_command *command, uint64_t bytes, bool writable)
{
	const struct nvme_sqe *sqe = &command->sqe;
	uint64_t left = bytes;

	command->scatter.memory = &command->nvme->machine->memory;
	if (sqe->prp1 % 4)
		return NVME_PRP_OFFSET_INVALID;
	if (!pci_is_bus_master(&command->nvme->function) ||
		!add(command, sqe->prp1, &left, writable))
		return NVME_DATA_TRANSFER_ERROR;
	if (left == 0)
		return NVME_SUCCESS;
	if (left > NVME_PAGE)
		return collect_list(command, sqe->prp2, left, writable);
	if (sqe->prp2 % NVME_PAGE)
		return NVME_PRP_OFFSET_INVALID;
	return add(command, sqe->prp2, &left, writable) ? NVME_SUCCESS : NVME_DATA_TRANSFER_ERROR;
}

static enum nvme_status status_of(const struct nvme_command *command, int result)
{
	switch (result) {
	case 0: return NVME_SUCCESS;
	case -EINVAL: return NVME_LBA_OUT_OF_RANGE;
	case -ENOSPC: return NVME_CAPACITY_EXCEEDED;
	case -EROFS: return NVME_READ_ONLY_RANGE;
	case -ECANCELED: return NVME_ABORTED;
	default: return command->is_write ? NVME_WRITE_FAULT : NVME_UNRECOVERED_READ;
	}
}

static void transfer_done(struct drive_transfer *transfer, int result)
{
	struct nvme_command *command = transfer->context;

	nvme_complete(command, status_of(command, result), 0);
}

static void range_done(struct drive_transfer *transfer, int result);

static void start(struct nvme_command *command, enum block_operation operation, uint64_t lba,
	uint64_t blocks, unsigned flags)
{
	struct nvme *nvme = command->nvme;
	uint64_t block = nvme_block_bytes(nvme);

	command->transfer = (struct drive_transfer){
		.operation = operation,
		.flags = flags,
		.offset = lba * block,
		.bytes = blocks * block,
		.scatter = &command->scatter,
		.done = operation == BLOCK_DISCARD ? range_done : transfer_done,
		.context = command,
	};
	drive_start(&nvme->drive, &command->transfer);
}

static bool is_inside(const struct nvme *nvme, uint64_t lba, uint64_t blocks)
{
	uint64_t all = nvme_nr_blocks(nvme);

	return lba <= all && blocks <= all - lba;
}

static unsigned write_flags(const struct nvme_command *command)
{
	bool cached = command->nvme->state.features[NVME_FEATURE_WRITE_CACHE] & 1;

	return (command->sqe.dw12 & DW12_FUA) || !cached ? BLOCK_FUA : 0;
}

static void read_or_write(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;
	struct nvme *nvme = command->nvme;
	uint64_t lba = (uint64_t)sqe->dw11 << 32 | sqe->dw10;
	uint64_t blocks = (sqe->dw12 & 0xffff) + 1, bytes = blocks * nvme_block_bytes(nvme);
	enum nvme_status status = NVME_SUCCESS;

	command->is_write = sqe->opcode == NVME_IO_WRITE;
	if (bytes > NVME_MAX_BYTES)
		status = NVME_INVALID_FIELD;
	else if (!is_inside(nvme, lba, blocks))
		status = NVME_LBA_OUT_OF_RANGE;
	else
		status = nvme_collect(command, bytes, !command->is_write);
	if (status != NVME_SUCCESS) {
		nvme_complete(command, status | NVME_DO_NOT_RETRY, 0);
		return;
	}
	start(command, command->is_write ? BLOCK_WRITE : BLOCK_READ, lba, blocks,
		command->is_write ? write_flags(command) : 0);
}

static void write_zeroes(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;
	uint64_t lba = (uint64_t)sqe->dw11 << 32 | sqe->dw10;
	uint64_t blocks = (sqe->dw12 & 0xffff) + 1;

	command->is_write = true;
	if (!is_inside(command->nvme, lba, blocks)) {
		nvme_complete(command, NVME_LBA_OUT_OF_RANGE | NVME_DO_NOT_RETRY, 0);
		return;
	}
	start(command, BLOCK_WRITE_ZEROES, lba, blocks,
		write_flags(command) | (sqe->dw12 & DW12_DEAC ? BLOCK_UNMAP : 0));
}

/* Discards: one range after the other. */

static void next_range(struct nvme_command *command);

static void range_done(struct drive_transfer *transfer, int result)
{
	struct nvme_command *command = transfer->context;

	if (result && result != -EOPNOTSUPP)
		nvme_complete(command, status_of(command, result), 0);
	else
		next_range(command);
}

static void next_range(struct nvme_command *command)
{
	while (command->next_range < command->nr_ranges) {
		const struct nvme_range *range = &command->ranges[command->next_range++];

		if (range->nr_blocks == 0)
			continue;
		start(command, BLOCK_DISCARD, range->lba, range->nr_blocks, 0);
		return;
	}
	nvme_complete(command, NVME_SUCCESS, 0);
}

static void dataset_management(struct nvme_command *command)
{
	struct nvme *nvme = command->nvme;
	enum nvme_status status;

	command->is_write = true;
	command->nr_ranges = (command->sqe.dw10 & 0xff) + 1;
	command->next_range = 0;
	command->ranges = calloc(command->nr_ranges, sizeof(*command->ranges));
	if (!command->ranges) {
		nvme_complete(command, NVME_INTERNAL_ERROR, 0);
		return;
	}
	status = nvme_collect(command, command->nr_ranges * sizeof(*command->ranges), false);
	if (status == NVME_SUCCESS) {
		scatter_load(&command->scatter, command->ranges,
			command->nr_ranges * sizeof(*command->ranges));
		for (unsigned i = 0; i < command->nr_ranges; i++) {
			if (!is_inside(nvme, command->ranges[i].lba, command->ranges[i].nr_blocks))
				status = NVME_LBA_OUT_OF_RANGE;
		}
	}
	if (status != NVME_SUCCESS) {
		nvme_complete(command, status | NVME_DO_NOT_RETRY, 0);
		return;
	}
	/* The other attributes are hints. */
	if (!(command->sqe.dw11 & DW11_DISCARD) || drive_is_read_only(&nvme->drive))
		command->nr_ranges = 0;
	next_range(command);
}

void nvme_io_command(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;

	if (sqe->flags & (NVME_SQE_FUSE | NVME_SQE_PSDT)) {
		nvme_complete(command, NVME_INVALID_FIELD | NVME_DO_NOT_RETRY, 0);
		return;
	}
	if (sqe->nsid != 1 && !(sqe->opcode == NVME_IO_FLUSH && sqe->nsid == UINT32_MAX)) {
		nvme_complete(command, NVME_INVALID_NAMESPACE | NVME_DO_NOT_RETRY, 0);
		return;
	}
	switch (sqe->opcode) {
	case NVME_IO_FLUSH:
		command->is_write = true;
		start(command, BLOCK_FLUSH, 0, 0, 0);
		break;
	case NVME_IO_WRITE:
	case NVME_IO_READ: read_or_write(command); break;
	case NVME_IO_WRITE_ZEROES: write_zeroes(command); break;
	case NVME_IO_DATASET_MANAGEMENT: dataset_management(command); break;
	default: nvme_complete(command, NVME_INVALID_OPCODE | NVME_DO_NOT_RETRY, 0);
	}
}
