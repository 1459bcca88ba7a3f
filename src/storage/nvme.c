/*
 * The registers and queues of an NVMe controller (NVMe 1.4, 3 and 4).
 *
 * A command is fetched only when its completion has room, so that completing never waits. Not
 * modelled: weighted arbitration, SGLs, controller memory buffers, queues that are not contiguous,
 * interrupt coalescing (the feature is kept, and does nothing), shadow doorbells. Under the machine
 * lock.
 */
#include "storage/nvme_state.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAR           0
#define BAR_SIZE      0x4000
#define MSIX_TABLE    0x2000
#define MSIX_PBA      0x3000
#define VERSION       0x00010400
#define DRIVE_DEPTH   256
#define READY_TIMEOUT 20 /* units of 500 ms */
#define CAPABILITIES                                                                               \
	((NVME_MAX_ENTRIES - 1) | NVME_CAP_CQR | (uint64_t)READY_TIMEOUT << 24 | NVME_CAP_CSS_NVM)

/* Interrupts (7.5.1). */

void nvme_update_interrupt(struct nvme *nvme)
{
	const struct nvme_state *state = &nvme->state;
	bool level = false;

	for (unsigned i = 0; i < NVME_NR_QUEUES; i++) {
		const struct nvme_cq_state *cq = &state->cqs[i];

		/* By its pin a controller has vectors 0 to 31. */
		if (cq->size && cq->interrupts && cq->head != cq->tail &&
			!(cq->vector < 32 && state->intms & BIT(cq->vector)))
			level = true;
	}
	pci_set_intx(&nvme->function, level && !pci_msix_is_enabled(&nvme->function));
}

static void interrupt(struct nvme *nvme, const struct nvme_cq_state *cq)
{
	if (!cq->interrupts)
		return;
	if (pci_msix_is_enabled(&nvme->function))
		pci_msix_notify(&nvme->function, cq->vector);
	else
		nvme_update_interrupt(nvme);
}

static void fatal(struct nvme *nvme, const char *what)
{
	log_guest("%s: %s", nvme->function.name, what);
	nvme->state.csts |= NVME_CSTS_CFS;
}

static bool is_running(const struct nvme *nvme)
{
	return (nvme->state.csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == NVME_CSTS_RDY;
}

/* Completion queues. */

static uint32_t cq_room(const struct nvme *nvme, uint32_t id)
{
	const struct nvme_cq_state *cq = &nvme->state.cqs[id];
	uint32_t used = (cq->tail + cq->size - cq->head) % cq->size + nvme->reserved[id];

	return used < cq->size - 1 ? cq->size - 1 - used : 0;
}

static void post(
	struct nvme *nvme, uint32_t sq, uint16_t cid, enum nvme_status status, uint32_t result)
{
	const struct nvme_sq_state *from = &nvme->state.sqs[sq];
	struct nvme_cq_state *cq = &nvme->state.cqs[from->cq];
	struct nvme_cqe entry = {
		.result = result,
		.sq_head = (uint16_t)from->head,
		.sq_id = (uint16_t)sq,
		.cid = cid,
		.status = (uint16_t)(status << 1 | cq->phase),
	};

	if (!is_running(nvme))
		return;
	if (!pci_is_bus_master(&nvme->function) ||
		guest_memory_write(&nvme->machine->memory, cq->base + cq->tail * sizeof(entry),
			&entry, sizeof(entry))) {
		fatal(nvme, "a completion queue is not in RAM");
		return;
	}
	cq->tail = (cq->tail + 1) % cq->size;
	if (cq->tail == 0)
		cq->phase = !cq->phase;
	interrupt(nvme, cq);
}

void nvme_release(struct nvme_command *command)
{
	struct nvme *nvme = command->nvme;

	nvme->running[command->sq]--;
	nvme->reserved[nvme->state.sqs[command->sq].cq]--;
	nvme->nr_running--;
	scatter_clear(&command->scatter);
	free(command->ranges);
	command->ranges = NULL;
	command->next = nvme->free;
	nvme->free = command;
}

void nvme_complete(struct nvme_command *command, enum nvme_status status, uint32_t result)
{
	struct nvme *nvme = command->nvme;

	post(nvme, command->sq, command->sqe.cid, status, result);
	nvme_release(command);
	nvme_serve(nvme);
}

void nvme_event(struct nvme *nvme, uint32_t event)
{
	struct nvme_state *state = &nvme->state;

	if (!is_running(nvme))
		return;
	if (state->nr_events == 0 || cq_room(nvme, 0) == 0) {
		state->pending_event = event;
		return;
	}
	post(nvme, 0, state->events[--state->nr_events], NVME_SUCCESS, event);
}

/* Submission queues. */

static struct nvme_command *take_command(struct nvme *nvme)
{
	struct nvme_command *command = nvme->free;

	if (nvme->nr_running == NVME_MAX_RUNNING)
		return NULL;
	if (command)
		nvme->free = command->next;
	else
		command = calloc(1, sizeof(*command));
	return command;
}

/* Fetches and begins one command; false: there is none, or no room for it. */
static bool fetch(struct nvme *nvme, unsigned id)
{
	struct nvme_sq_state *sq = &nvme->state.sqs[id];
	struct nvme_command *command;

	if (!sq->size || sq->head == sq->tail || cq_room(nvme, sq->cq) == 0)
		return false;
	command = take_command(nvme);
	if (!command)
		return false;
	command->nvme = nvme;
	command->sq = (uint16_t)id;
	command->is_write = false;
	if (!pci_is_bus_master(&nvme->function) ||
		guest_memory_read(&nvme->machine->memory,
			sq->base + sq->head * sizeof(command->sqe), &command->sqe,
			sizeof(command->sqe))) {
		command->next = nvme->free;
		nvme->free = command;
		fatal(nvme, "a submission queue is not in RAM");
		return false;
	}
	sq->head = (sq->head + 1) % sq->size;
	nvme->running[id]++;
	nvme->reserved[sq->cq]++;
	nvme->nr_running++;
	if (id == 0)
		nvme_admin_command(command);
	else
		nvme_io_command(command);
	return true;
}

void nvme_serve(struct nvme *nvme)
{
	bool progress = true;

	/* What ends at once comes back here; the loop goes on. */
	if (nvme->serving)
		return;
	nvme->serving = true;
	while (progress && is_running(nvme)) {
		progress = false;
		for (unsigned i = 0; i < NVME_NR_QUEUES && is_running(nvme); i++)
			progress |= fetch(nvme, i);
	}
	nvme->serving = false;
}

/* Enabling and resets (7.3, 7.6). */

/* Nothing is in flight afterwards, and nobody is told of what was. */
static void stop(struct nvme *nvme)
{
	struct nvme_state *state = &nvme->state;

	state->csts &= ~(uint32_t)NVME_CSTS_RDY;
	drive_drain(&nvme->drive, true);
	memset(state->sqs, 0, sizeof(state->sqs));
	memset(state->cqs, 0, sizeof(state->cqs));
	memset(nvme->reserved, 0, sizeof(nvme->reserved));
	state->nr_events = 0;
	state->pending_event = 0;
	state->namespace_changed = false;
	nvme_reset_features(nvme);
	nvme_update_interrupt(nvme);
}

static void start(struct nvme *nvme)
{
	struct nvme_state *state = &nvme->state;
	uint32_t sq_size = (uint32_t)field_get(NVME_AQA_ASQS, state->aqa) + 1;
	uint32_t cq_size = (uint32_t)field_get(NVME_AQA_ACQS, state->aqa) + 1;

	if (sq_size < 2 || cq_size < 2 || sq_size > NVME_MAX_ENTRIES ||
		cq_size > NVME_MAX_ENTRIES ||
		(state->cc & (NVME_CC_CSS | NVME_CC_MPS | NVME_CC_AMS))) {
		fatal(nvme, "the driver enables it with settings that it has not");
		return;
	}
	state->sqs[0] = (struct nvme_sq_state){ .base = state->asq, .size = sq_size };
	state->cqs[0] = (struct nvme_cq_state){
		.base = state->acq, .size = cq_size, .interrupts = true, .phase = true
	};
	state->csts |= NVME_CSTS_RDY;
}

static void write_cc(struct nvme *nvme, uint32_t value)
{
	struct nvme_state *state = &nvme->state;
	bool was_enabled = state->cc & NVME_CC_EN;

	value &= NVME_CC_WRITABLE;
	state->cc = value;
	if (was_enabled && !(value & NVME_CC_EN)) {
		stop(nvme);
		state->csts = 0;
	} else if (!was_enabled && (value & NVME_CC_EN)) {
		start(nvme);
	}
	state->csts = (uint32_t)field_set(NVME_CSTS_SHST, state->csts,
		field_get(NVME_CC_SHN, value) ? NVME_CSTS_SHST_DONE : 0);
}

static void nvme_reset(void *device)
{
	struct nvme *nvme = device;

	stop(nvme);
	memset(&nvme->state, 0, sizeof(nvme->state));
	nvme_reset_features(nvme);
}

/* Registers. */

static void set_part(uint64_t *reg, bool high, unsigned size, uint64_t value)
{
	if (size == 8)
		*reg = value;
	else
		*reg = high ? (*reg & UINT32_MAX) | value << 32
			    : (*reg & ~(uint64_t)UINT32_MAX) | (uint32_t)value;
}

static void ring_sq(struct nvme *nvme, unsigned id, uint32_t value)
{
	struct nvme_sq_state *sq = &nvme->state.sqs[id];

	if (!sq->size) {
		nvme_event(nvme, NVME_EVENT_BAD_DOORBELL);
	} else if (value >= sq->size) {
		nvme_event(nvme, NVME_EVENT_BAD_DOORBELL_VALUE);
	} else {
		sq->tail = value;
		nvme_serve(nvme);
	}
}

/* May the head move there? Only over entries that were written. */
static bool is_valid_head(const struct nvme_cq_state *cq, uint32_t value)
{
	return value < cq->size && (value + cq->size - cq->head) % cq->size <=
					   (cq->tail + cq->size - cq->head) % cq->size;
}

static void ring_cq(struct nvme *nvme, unsigned id, uint32_t value)
{
	struct nvme_cq_state *cq = &nvme->state.cqs[id];

	if (!cq->size) {
		nvme_event(nvme, NVME_EVENT_BAD_DOORBELL);
		return;
	}
	if (!is_valid_head(cq, value)) {
		nvme_event(nvme, NVME_EVENT_BAD_DOORBELL_VALUE);
		return;
	}
	cq->head = value;
	nvme_update_interrupt(nvme);
	if (id == 0 && nvme->state.pending_event && nvme->state.nr_events) {
		uint32_t event = nvme->state.pending_event;

		nvme->state.pending_event = 0;
		nvme_event(nvme, event);
	}
	nvme_serve(nvme);
}

static void ring(struct nvme *nvme, unsigned index, uint32_t value)
{
	unsigned id = index / 2;

	if (id >= NVME_NR_QUEUES || !is_running(nvme))
		return;
	if (index % 2)
		ring_cq(nvme, id, value & 0xffff);
	else
		ring_sq(nvme, id, value & 0xffff);
	drive_run(&nvme->drive);
}

static uint64_t nvme_read(void *device, uint64_t offset, unsigned size)
{
	const struct nvme_state *state = &((struct nvme *)device)->state;
	uint64_t value = 0;

	switch (offset & ~UINT64_C(7)) {
	case NVME_CAP: value = CAPABILITIES; break;
	case NVME_VS: value = VERSION | (uint64_t)state->intms << 32; break;
	case NVME_INTMC: value = state->intms | (uint64_t)state->cc << 32; break;
	case NVME_CSTS & ~7: value = (uint64_t)state->csts << 32; break;
	case NVME_AQA & ~7: value = (uint64_t)state->aqa << 32; break;
	case NVME_ASQ: value = state->asq; break;
	case NVME_ACQ: value = state->acq; break;
	}
	return (value >> (8 * (offset & 7))) & byte_mask(size);
}

static void nvme_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct nvme *nvme = device;
	struct nvme_state *state = &nvme->state;

	if (size < 4 || offset % 4)
		return;
	if (offset >= NVME_DOORBELLS) {
		ring(nvme, (unsigned)(offset - NVME_DOORBELLS) / 4, (uint32_t)value);
		return;
	}
	switch (offset) {
	case NVME_INTMS:
		state->intms |= (uint32_t)value;
		nvme_update_interrupt(nvme);
		break;
	case NVME_INTMC:
		state->intms &= ~(uint32_t)value;
		nvme_update_interrupt(nvme);
		break;
	case NVME_CC: write_cc(nvme, (uint32_t)value); break;
	case NVME_AQA:
		if (!(state->cc & NVME_CC_EN))
			state->aqa = (uint32_t)(value & (NVME_AQA_ASQS | NVME_AQA_ACQS));
		break;
	case NVME_ASQ:
	case NVME_ASQ + 4:
		set_part(&state->asq, offset == NVME_ASQ + 4, size, value);
		state->asq &= ~(uint64_t)(NVME_PAGE - 1);
		break;
	case NVME_ACQ:
	case NVME_ACQ + 4:
		set_part(&state->acq, offset == NVME_ACQ + 4, size, value);
		state->acq &= ~(uint64_t)(NVME_PAGE - 1);
		break;
	}
}

/* State. */

static const struct state_field sq_fields[] = {
	STATE(struct nvme_sq_state, base),
	STATE_MAX(struct nvme_sq_state, size, NVME_MAX_ENTRIES),
	STATE_MAX(struct nvme_sq_state, head, NVME_MAX_ENTRIES - 1),
	STATE_MAX(struct nvme_sq_state, tail, NVME_MAX_ENTRIES - 1),
	STATE_MAX(struct nvme_sq_state, cq, NVME_NR_QUEUES - 1),
};
static const struct state_table sq_table =
	STATE_TABLE_OF(struct nvme_sq_state, "nvme_sq", sq_fields, NULL);

static const struct state_field cq_fields[] = {
	STATE(struct nvme_cq_state, base),
	STATE_MAX(struct nvme_cq_state, size, NVME_MAX_ENTRIES),
	STATE_MAX(struct nvme_cq_state, head, NVME_MAX_ENTRIES - 1),
	STATE_MAX(struct nvme_cq_state, tail, NVME_MAX_ENTRIES - 1),
	STATE_MAX(struct nvme_cq_state, vector, NVME_NR_QUEUES - 1),
	STATE(struct nvme_cq_state, interrupts),
	STATE(struct nvme_cq_state, phase),
};
static const struct state_table cq_table =
	STATE_TABLE_OF(struct nvme_cq_state, "nvme_cq", cq_fields, NULL);

static bool check(const void *object, struct error *err)
{
	const struct nvme_state *state = object;

	(void)err;
	for (unsigned i = 0; i < NVME_NR_QUEUES; i++) {
		const struct nvme_sq_state *sq = &state->sqs[i];
		const struct nvme_cq_state *cq = &state->cqs[i];

		if (sq->size && (sq->size < 2 || sq->head >= sq->size || sq->tail >= sq->size ||
					!state->cqs[sq->cq].size))
			return false;
		if (cq->size && (cq->size < 2 || cq->head >= cq->size || cq->tail >= cq->size))
			return false;
	}
	return !(state->csts & NVME_CSTS_RDY) || (state->sqs[0].size && state->cqs[0].size);
}

static const struct state_field nvme_fields[] = {
	STATE(struct nvme_state, cc),
	STATE(struct nvme_state, csts),
	STATE(struct nvme_state, aqa),
	STATE(struct nvme_state, intms),
	STATE(struct nvme_state, asq),
	STATE(struct nvme_state, acq),
	STATE_ARRAY(struct nvme_state, features),
	STATE_ARRAY(struct nvme_state, events),
	STATE_MAX(struct nvme_state, nr_events, NVME_MAX_EVENTS),
	STATE(struct nvme_state, pending_event),
	STATE(struct nvme_state, namespace_changed),
	STATE_PAD(struct nvme_state, reserved),
	STATE_STRUCTS(struct nvme_state, sqs, &sq_table),
	STATE_STRUCTS(struct nvme_state, cqs, &cq_table),
};
static const struct state_table nvme_table =
	STATE_TABLE_OF(struct nvme_state, "nvme", nvme_fields, check);

static void nvme_restored(void *device)
{
	nvme_update_interrupt(device);
}

static const struct device_type nvme_type = {
	.name = "nvme",
	.state = &nvme_table,
	.state_offset = offsetof(struct nvme, state),
	.restored = nvme_restored,
};

/* Life. */

static void add_function(struct nvme *nvme, const char *name)
{
	static const struct pci_identity identity = {
		.vendor_id = 0x1b36,
		.device_id = 0x0010,
		.revision = 2,
		.class_code = 0x010802,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100,
		.interrupt_pin = 1,
	};
	static const struct pci_function_ops function_ops = { .reset = nvme_reset };
	static const struct io_ops register_ops = { nvme_read, nvme_write, 8 };
	static const struct pci_bar bar = {
		.kind = PCI_BAR_MEMORY64, .size = BAR_SIZE, .ops = &register_ops, .name = "nvme"
	};

	pci_function_init(&nvme->function, name, &identity, &function_ops, nvme);
	pci_add_bar(&nvme->function, BAR, &bar);
	pci_add_express(&nvme->function);
	pci_add_msix(&nvme->function, NVME_NR_QUEUES, BAR, MSIX_TABLE, MSIX_PBA);
}

int nvme_create(struct nvme **created, const struct nvme_config *config, struct error *err)
{
	struct drive_lock lock = drive_machine_lock(config->machine);
	struct nvme *nvme = calloc(1, sizeof(*nvme));
	int rc;

	*created = NULL;
	if (!nvme)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the disk %s", config->name);
	nvme->machine = config->machine;
	snprintf(nvme->serial, sizeof(nvme->serial), "%s", config->serial);
	add_function(nvme, config->name);
	rc = drive_init(&nvme->drive, config->name, &lock, err);
	machine_lock(nvme->machine);
	machine_add_device(nvme->machine, &nvme_type, config->name, nvme);
	if (rc == 0)
		rc = drive_insert(&nvme->drive, config->image, DRIVE_DEPTH, err);
	if (rc == 0)
		nvme_reset_features(nvme);
	machine_unlock(nvme->machine);
	if (rc == 0)
		*created = nvme;
	else
		nvme_destroy(nvme);
	return rc;
}

void nvme_destroy(struct nvme *nvme)
{
	struct nvme_command *command;

	if (!nvme)
		return;
	machine_lock(nvme->machine);
	nvme->state.csts &= ~(uint32_t)NVME_CSTS_RDY;
	drive_drain(&nvme->drive, true);
	machine_remove_device(nvme->machine, nvme);
	machine_unlock(nvme->machine);
	drive_finish(&nvme->drive);
	while ((command = nvme->free)) {
		nvme->free = command->next;
		scatter_finish(&command->scatter);
		free(command);
	}
	pci_function_finish(&nvme->function);
	free(nvme);
}

struct pci_function *nvme_function(struct nvme *nvme)
{
	return &nvme->function;
}

void nvme_resized(struct nvme *nvme)
{
	nvme->state.namespace_changed = true;
	if (nvme->state.features[NVME_FEATURE_ASYNC_EVENT] & NVME_EVENT_CONFIG_NAMESPACE)
		nvme_event(nvme, NVME_EVENT_NAMESPACE);
}
