/*
 * Admin commands (NVMe 1.4, 5).
 *
 * Not modelled: firmware updates, namespace management, self-tests, directives, host memory
 * buffers, format, sanitize; an abort never finds its command in time.
 */
#include "storage/nvme_state.h"

#include <string.h>

#define MODEL "ATOLL NVMe"

static void fail(struct nvme_command *command, enum nvme_status status)
{
	nvme_complete(command, status | NVME_DO_NOT_RETRY, 0);
}

static void succeed(struct nvme_command *command, uint32_t result)
{
	nvme_complete(command, NVME_SUCCESS, result);
}

/* Data of the controller's own, to the host. */
static void answer(struct nvme_command *command, const void *from, uint64_t bytes)
{
	enum nvme_status status = nvme_collect(command, bytes, true);

	if (status != NVME_SUCCESS) {
		fail(command, status);
		return;
	}
	scatter_store(&command->scatter, from, bytes);
	succeed(command, 0);
}

/* Queues (5.3 to 5.6). */

static void create_cq(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;
	struct nvme *nvme = command->nvme;
	uint32_t id = sqe->dw10 & 0xffff, size = (sqe->dw10 >> 16) + 1, vector = sqe->dw11 >> 16;

	if (id == 0 || id >= NVME_NR_QUEUES || nvme->state.cqs[id].size)
		fail(command, NVME_INVALID_QUEUE_ID);
	else if (size < 2 || size > NVME_MAX_ENTRIES)
		fail(command, NVME_INVALID_QUEUE_SIZE);
	else if (vector >= NVME_NR_QUEUES)
		fail(command, NVME_INVALID_VECTOR);
	else if (!(sqe->dw11 & 1)) /* physically contiguous */
		fail(command, NVME_INVALID_FIELD);
	else if (sqe->prp1 == 0 || sqe->prp1 % NVME_PAGE)
		fail(command, NVME_PRP_OFFSET_INVALID);
	else {
		nvme->state.cqs[id] = (struct nvme_cq_state){
			.base = sqe->prp1,
			.size = size,
			.vector = (uint16_t)vector,
			.interrupts = sqe->dw11 & 2,
			.phase = true,
		};
		succeed(command, 0);
	}
}

static void create_sq(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;
	struct nvme *nvme = command->nvme;
	uint32_t id = sqe->dw10 & 0xffff, size = (sqe->dw10 >> 16) + 1, cq = sqe->dw11 >> 16;

	if (id == 0 || id >= NVME_NR_QUEUES || nvme->state.sqs[id].size)
		fail(command, NVME_INVALID_QUEUE_ID);
	else if (size < 2 || size > NVME_MAX_ENTRIES)
		fail(command, NVME_INVALID_QUEUE_SIZE);
	else if (cq == 0 || cq >= NVME_NR_QUEUES || !nvme->state.cqs[cq].size)
		fail(command, NVME_INVALID_CQ);
	else if (!(sqe->dw11 & 1))
		fail(command, NVME_INVALID_FIELD);
	else if (sqe->prp1 == 0 || sqe->prp1 % NVME_PAGE)
		fail(command, NVME_PRP_OFFSET_INVALID);
	else {
		nvme->state.sqs[id] =
			(struct nvme_sq_state){ .base = sqe->prp1, .size = size, .cq = cq };
		succeed(command, 0);
	}
}

static void delete_sq(struct nvme_command *command)
{
	struct nvme *nvme = command->nvme;
	uint32_t id = command->sqe.dw10 & 0xffff;

	if (id == 0 || id >= NVME_NR_QUEUES || !nvme->state.sqs[id].size) {
		fail(command, NVME_INVALID_QUEUE_ID);
		return;
	}
	/* Its commands complete before this one does. */
	if (nvme->running[id])
		drive_drain(&nvme->drive, true);
	nvme->state.sqs[id] = (struct nvme_sq_state){ 0 };
	succeed(command, 0);
}

static void delete_cq(struct nvme_command *command)
{
	struct nvme *nvme = command->nvme;
	uint32_t id = command->sqe.dw10 & 0xffff;

	if (id == 0 || id >= NVME_NR_QUEUES || !nvme->state.cqs[id].size) {
		fail(command, NVME_INVALID_QUEUE_ID);
		return;
	}
	for (unsigned i = 0; i < NVME_NR_QUEUES; i++) {
		if (nvme->state.sqs[i].size && nvme->state.sqs[i].cq == id) {
			fail(command, NVME_INVALID_QUEUE_DELETION);
			return;
		}
	}
	nvme->state.cqs[id] = (struct nvme_cq_state){ 0 };
	nvme_update_interrupt(nvme);
	succeed(command, 0);
}

/* Identify (5.15). */

static void put(uint8_t *page, unsigned offset, unsigned bytes, uint64_t value)
{
	for (unsigned i = 0; i < bytes; i++)
		page[offset + i] = (uint8_t)(value >> (8 * i));
}

static void put_text(uint8_t *page, unsigned offset, unsigned bytes, const char *text)
{
	size_t length = strlen(text);

	memset(page + offset, ' ', bytes);
	memcpy(page + offset, text, length < bytes ? length : bytes);
}

static void identify_controller(const struct nvme *nvme, uint8_t *page)
{
	put(page, 0, 2, 0x1b36);
	put(page, 2, 2, 0x1af4);
	put_text(page, 4, 20, nvme->serial);
	put_text(page, 24, 40, MODEL);
	put_text(page, 64, 8, "1.0");
	put(page, 72, 1, 6); /* recommended arbitration burst */
	put(page, 77, 1, NVME_MDTS);
	put(page, 80, 4, 0x00010400);
	put(page, 92, 4, NVME_EVENT_CONFIG_NAMESPACE);
	put(page, 111, 1, 1); /* an I/O controller */
	put(page, 258, 1, 3); /* aborts at once, minus one */
	put(page, 259, 1, NVME_MAX_EVENTS - 1);
	put(page, 260, 1, 0x03);   /* one firmware slot, read-only */
	put(page, 266, 2, 0x0157); /* warning and critical temperatures, kelvin */
	put(page, 268, 2, 0x0175);
	put(page, 512, 1, 0x66);
	put(page, 513, 1, 0x44);
	put(page, 516, 4, 1);      /* namespaces */
	put(page, 520, 2, 0x000c); /* dataset management, write zeroes */
	put(page, 525, 1, block_device_geometry(nvme->drive.image)->write_cache);
	/* A qualified name as controllers before NVMe 1.2.1 have it. */
	memcpy(page + 768, "nqn.2014.08.org.nvmexpress:1b361af4", 35);
	put_text(page, 803, 20, nvme->serial);
	put(page, 2048, 2, 0x09c4); /* power state 0: 25 W */
}

static void identify_namespace(const struct nvme *nvme, uint8_t *page)
{
	const struct block_geometry *geometry = block_device_geometry(nvme->drive.image);
	uint64_t blocks = nvme_nr_blocks(nvme);

	put(page, 0, 8, blocks);
	put(page, 8, 8, blocks);
	put(page, 16, 8, blocks);
	put(page, 99, 1, geometry->read_only); /* NSATTR: write protected */
	put(page, 128, 4, (uint32_t)__builtin_ctz(geometry->logical_block_bytes) << 16);
}

/* A namespace has no other name than its controller's. */
static void describe_namespace(const struct nvme *nvme, uint8_t *page)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (const char *at = nvme->serial; *at; at++)
		hash = (hash ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
	page[0] = 3; /* UUID, version 8: of the serial number */
	page[1] = 16;
	put(page, 4, 8, hash);
	put(page, 12, 8, hash * UINT64_C(0x9e3779b97f4a7c15));
	page[4 + 6] = (uint8_t)((page[4 + 6] & 0x0f) | 0x80);
	page[4 + 8] = (uint8_t)((page[4 + 8] & 0x3f) | 0x80);
}

static void identify(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;
	struct nvme *nvme = command->nvme;
	uint8_t page[NVME_PAGE] = { 0 };

	switch (sqe->dw10 & 0xff) {
	case 0x00:
		if (sqe->nsid != 1 && sqe->nsid != UINT32_MAX) {
			fail(command, NVME_INVALID_NAMESPACE);
			return;
		}
		identify_namespace(nvme, page);
		break;
	case 0x01: identify_controller(nvme, page); break;
	case 0x02:
		if (sqe->nsid >= UINT32_MAX - 1) {
			fail(command, NVME_INVALID_NAMESPACE);
			return;
		}
		if (sqe->nsid == 0)
			page[0] = 1;
		break;
	case 0x03:
		if (sqe->nsid != 1) {
			fail(command, NVME_INVALID_NAMESPACE);
			return;
		}
		describe_namespace(nvme, page);
		break;
	default: fail(command, NVME_INVALID_FIELD); return;
	}
	answer(command, page, sizeof(page));
}

/* Log pages (5.14). */

static void put_health(const struct nvme *nvme, uint8_t *page)
{
	struct block_statistics statistics;

	block_device_statistics(nvme->drive.image, &statistics);
	put(page, 1, 2, 0x012c); /* kelvin */
	put(page, 3, 1, 100);    /* spare */
	put(page, 4, 1, 10);
	put(page, 32, 8, (statistics.read_bytes + 511999) / 512000);
	put(page, 48, 8, (statistics.written_bytes + 511999) / 512000);
	put(page, 64, 8, statistics.reads);
	put(page, 80, 8, statistics.writes);
	put(page, 112, 8, 1); /* power cycles */
}

static void get_log_page(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;
	struct nvme *nvme = command->nvme;
	uint64_t bytes = ((uint64_t)(sqe->dw11 & 0xffff) << 16 | sqe->dw10 >> 16) * 4 + 4;
	uint8_t page[NVME_PAGE] = { 0 };

	if (bytes > sizeof(page) || sqe->dw12 || sqe->dw13) {
		fail(command, NVME_INVALID_FIELD);
		return;
	}
	switch (sqe->dw10 & 0xff) {
	case 0x01: break; /* no errors are kept */
	case 0x02: put_health(nvme, page); break;
	case 0x03:
		page[0] = 1;
		put_text(page, 8, 8, "1.0");
		break;
	case 0x04:
		page[0] = nvme->state.namespace_changed;
		if (!(sqe->dw10 & BIT(15))) /* retain the event */
			nvme->state.namespace_changed = false;
		break;
	default: fail(command, NVME_INVALID_LOG_PAGE); return;
	}
	answer(command, page, bytes);
}

/* Features (5.21). */

void nvme_reset_features(struct nvme *nvme)
{
	uint32_t *features = nvme->state.features;

	memset(features, 0, sizeof(nvme->state.features));
	features[NVME_FEATURE_ARBITRATION] = 0x7; /* no limit */
	features[NVME_FEATURE_TEMPERATURE] = 0x0157;
	features[NVME_FEATURE_WRITE_CACHE] =
		nvme->drive.image && block_device_geometry(nvme->drive.image)->write_cache;
	features[NVME_FEATURE_NR_QUEUES] =
		(uint32_t)(NVME_NR_QUEUES - 2) << 16 | (NVME_NR_QUEUES - 2);
}

static bool is_feature(uint32_t id)
{
	return id >= NVME_FEATURE_ARBITRATION && id < NVME_NR_FEATURES && id != 0x03;
}

static void get_features(struct nvme_command *command)
{
	uint32_t id = command->sqe.dw10 & 0xff, select = command->sqe.dw10 >> 8 & 7;

	if (!is_feature(id) || select > 3)
		fail(command, NVME_INVALID_FIELD);
	else if (select == 3) /* capabilities: changeable */
		succeed(command, id == NVME_FEATURE_NR_QUEUES ? 0 : 4);
	else
		succeed(command, command->nvme->state.features[id]);
}

static void set_features(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;
	uint32_t *features = command->nvme->state.features, id = sqe->dw10 & 0xff;

	if (!is_feature(id)) {
		fail(command, NVME_INVALID_FIELD);
	} else if (sqe->dw10 & BIT(31)) {
		fail(command, NVME_NOT_SAVEABLE);
	} else if (id == NVME_FEATURE_NR_QUEUES) {
		if ((sqe->dw11 & 0xffff) == 0xffff || sqe->dw11 >> 16 == 0xffff)
			fail(command, NVME_INVALID_FIELD);
		else
			succeed(command, features[id]); /* as many as there are */
	} else if (id == NVME_FEATURE_POWER && (sqe->dw11 & 0x1f)) {
		fail(command, NVME_INVALID_FIELD);
	} else {
		features[id] = sqe->dw11;
		succeed(command, 0);
	}
}

static void async_event(struct nvme_command *command)
{
	struct nvme *nvme = command->nvme;
	struct nvme_state *state = &nvme->state;
	uint32_t event = state->pending_event;

	if (event) {
		state->pending_event = 0;
		succeed(command, event);
		return;
	}
	if (state->nr_events == NVME_MAX_EVENTS) {
		fail(command, NVME_TOO_MANY_EVENTS);
		return;
	}
	state->events[state->nr_events++] = command->sqe.cid;
	nvme_release(command);
}

void nvme_admin_command(struct nvme_command *command)
{
	if (command->sqe.flags & (NVME_SQE_FUSE | NVME_SQE_PSDT)) {
		fail(command, NVME_INVALID_FIELD);
		return;
	}
	switch (command->sqe.opcode) {
	case NVME_ADMIN_DELETE_SQ: delete_sq(command); break;
	case NVME_ADMIN_CREATE_SQ: create_sq(command); break;
	case NVME_ADMIN_GET_LOG_PAGE: get_log_page(command); break;
	case NVME_ADMIN_DELETE_CQ: delete_cq(command); break;
	case NVME_ADMIN_CREATE_CQ: create_cq(command); break;
	case NVME_ADMIN_IDENTIFY: identify(command); break;
	case NVME_ADMIN_ABORT: succeed(command, 1); break; /* not aborted */
	case NVME_ADMIN_SET_FEATURES: set_features(command); break;
	case NVME_ADMIN_GET_FEATURES: get_features(command); break;
	case NVME_ADMIN_ASYNC_EVENT: async_event(command); break;
	default: fail(command, NVME_INVALID_OPCODE);
	}
}
