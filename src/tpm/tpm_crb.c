/*
 * See tpm_crb.h. Not modelled: localities 1 to 4, interrupts, cancelling (a command runs to its
 * end), the FIFO interface. Runs under the machine lock.
 */
#include "tpm/tpm_crb.h"

#include "base/bits.h"

#include <string.h>

enum tpm_crb_register {
	LOC_STATE = 0x00,
	LOC_CTRL = 0x08,
	LOC_STS = 0x0c,
	INTERFACE_ID = 0x30,
	CTRL_REQUEST = 0x40,
	CTRL_STATUS = 0x44,
	CTRL_CANCEL = 0x48,
	CTRL_START = 0x4c,
	COMMAND_SIZE = 0x58,
	COMMAND_ADDRESS = 0x5c,
	RESPONSE_SIZE = 0x64,
	RESPONSE_ADDRESS = 0x68,
};

#define STATE_ESTABLISHED BIT(0)
#define STATE_ASSIGNED    BIT(1)
#define STATE_VALID       BIT(7)
#define LOC_REQUEST       BIT(0)
#define LOC_RELINQUISH    BIT(1)
#define REQUEST_READY     BIT(0)
#define REQUEST_IDLE      BIT(1)
#define STATUS_FAILED     BIT(0)
#define STATUS_IDLE       BIT(1)
/* CRB, version 1, transfers of 64 bytes, CRB is there and selected; a vendor. */
#define INTERFACE_LOW  UINT32_C(0x00025811)
#define INTERFACE_HIGH UINT32_C(0x00001af4)
#define BASE           UINT32_C(0xfed40000)
#define HEADER         10 /* bytes of every command: tag, size, code */

static uint32_t read_word(const struct tpm_crb *crb, unsigned offset)
{
	const struct tpm_crb_state *state = &crb->state;

	switch (offset) {
	case LOC_STATE:
		return (uint32_t)(STATE_VALID | STATE_ESTABLISHED |
				  (state->has_locality ? STATE_ASSIGNED : 0));
	case LOC_STS: return state->has_locality;
	case INTERFACE_ID: return INTERFACE_LOW;
	case INTERFACE_ID + 4: return INTERFACE_HIGH;
	case CTRL_STATUS:
		return (uint32_t)((state->failed ? STATUS_FAILED : 0) |
				  (state->idle ? STATUS_IDLE : 0));
	case CTRL_START: return state->running;
	case COMMAND_SIZE:
	case RESPONSE_SIZE: return TPM_CRB_BUFFER_SIZE;
	case COMMAND_ADDRESS:
	case RESPONSE_ADDRESS: return BASE + TPM_CRB_BUFFER;
	}
	return 0;
}

uint64_t tpm_crb_read(const struct tpm_crb *crb, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++) {
		unsigned at = offset + i;
		uint8_t byte = 0xff;

		if (at >= TPM_CRB_BUFFER && at < TPM_CRB_SIZE)
			byte = crb->state.buffer[at - TPM_CRB_BUFFER];
		else if (at < TPM_CRB_BUFFER)
			byte = (uint8_t)(read_word(crb, at & ~3u) >> (8 * (at & 3)));
		value |= (uint64_t)byte << (8 * i);
	}
	return value;
}

void tpm_crb_respond(struct tpm_crb *crb, const uint8_t *response, size_t size)
{
	struct tpm_crb_state *state = &crb->state;

	if (!state->running)
		return;
	state->running = false;
	if (size == 0 || size > sizeof(state->buffer)) {
		state->failed = true;
		return;
	}
	memcpy(state->buffer, response, size);
}

static void start(struct tpm_crb *crb)
{
	struct tpm_crb_state *state = &crb->state;
	const uint8_t *bytes = state->buffer;
	uint32_t size = (uint32_t)bytes[2] << 24 | (uint32_t)bytes[3] << 16 |
			(uint32_t)bytes[4] << 8 | bytes[5];

	if (state->running || !state->has_locality || state->idle)
		return;
	state->running = true;
	if (size < HEADER || size > sizeof(state->buffer) || !crb->backend.start ||
		!crb->backend.start(crb->backend.context, bytes, size))
		tpm_crb_respond(crb, NULL, 0);
}

static void write_word(struct tpm_crb *crb, unsigned offset, uint32_t value)
{
	struct tpm_crb_state *state = &crb->state;

	switch (offset) {
	case LOC_CTRL:
		if (value & LOC_REQUEST)
			state->has_locality = true;
		else if (value & LOC_RELINQUISH)
			state->has_locality = false;
		break;
	case CTRL_REQUEST:
		if (state->running)
			break;
		if (value & REQUEST_READY) {
			state->idle = false;
			state->failed = false;
		} else if (value & REQUEST_IDLE) {
			state->idle = true;
			memset(state->buffer, 0, sizeof(state->buffer));
		}
		break;
	case CTRL_START:
		if (value & 1)
			start(crb);
		break;
	}
}

void tpm_crb_write(struct tpm_crb *crb, unsigned offset, unsigned size, uint64_t value)
{
	struct tpm_crb_state *state = &crb->state;

	if (offset < TPM_CRB_BUFFER) {
		if (offset % 4 == 0)
			write_word(crb, offset, (uint32_t)value);
		return;
	}
	/* The command that runs is not the guest's any more. */
	for (unsigned i = 0; i < size && offset + i < TPM_CRB_SIZE && !state->running; i++)
		state->buffer[offset + i - TPM_CRB_BUFFER] = (uint8_t)(value >> (8 * i));
}

static void tpm_crb_reset(void *device)
{
	struct tpm_crb *crb = device;

	memset(&crb->state, 0, sizeof(crb->state));
	crb->state.idle = true;
}

void tpm_crb_init(struct tpm_crb *crb, const struct tpm_backend *backend)
{
	memset(crb, 0, sizeof(*crb));
	crb->backend = *backend;
	crb->state.idle = true;
}

static const struct state_field fields[] = {
	STATE(struct tpm_crb_state, has_locality),
	STATE(struct tpm_crb_state, idle),
	STATE(struct tpm_crb_state, failed),
	STATE(struct tpm_crb_state, running),
	STATE_PAD(struct tpm_crb_state, reserved),
	STATE_ARRAY(struct tpm_crb_state, buffer),
};
static const struct state_table table =
	STATE_TABLE_OF(struct tpm_crb_state, "tpm_crb", fields, NULL);

const struct device_type tpm_crb_type = {
	.name = "tpm_crb",
	.state = &table,
	.state_offset = offsetof(struct tpm_crb, state),
	.reset = tpm_crb_reset,
};
