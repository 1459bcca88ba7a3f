/*
 * ICH9: how software asks for a system management interrupt (316972, 10.7, 13.8.3.8, 13.8.3.9).
 *
 * Of the causes of an SMI only the APM control port is there; the bits that enable others are kept
 * and do nothing. EOS, which a handler of hardware's must set again, reads as it was written:
 * firmware for virtual machines does not set it. Runs under the machine lock.
 */
#include "chip/ich9_smi.h"

#include "base/bits.h"

#include <string.h>

/* What is a bit at all; the others are reserved. */
#define ENABLE_WRITABLE                                                                            \
	(ICH9_SMI_EN_GLOBAL | ICH9_SMI_EN_APMC | BITS(4, 1) | BIT(6) | BIT(11) | BITS(14, 13) |    \
		BITS(18, 17))

uint32_t ich9_smi_read(const struct ich9_smi *chip, unsigned offset, unsigned size)
{
	uint32_t value = offset < ICH9_SMI_STS ? chip->state.enable : chip->state.status;

	return (uint32_t)(value >> (8 * (offset & 3)) & byte_mask(size));
}

void ich9_smi_write(struct ich9_smi *chip, unsigned offset, unsigned size, uint32_t value)
{
	struct ich9_smi_state *state = &chip->state;
	unsigned shift = 8 * (offset & 3);
	uint32_t mask = (uint32_t)(byte_mask(size) << shift), bits = (value << shift) & mask;

	if (offset >= ICH9_SMI_STS) {
		state->status &= ~bits; /* write one to clear */
		return;
	}
	mask &= ENABLE_WRITABLE;
	if (state->locked)
		mask &= ~(uint32_t)ICH9_SMI_EN_GLOBAL;
	state->enable = (state->enable & ~mask) | (bits & mask);
}

uint8_t ich9_smi_apm_read(const struct ich9_smi *chip, unsigned offset)
{
	return offset == ICH9_APM_CONTROL ? chip->state.apm_control : chip->state.apm_status;
}

void ich9_smi_apm_write(struct ich9_smi *chip, unsigned offset, uint8_t value)
{
	const uint32_t needed = ICH9_SMI_EN_GLOBAL | ICH9_SMI_EN_APMC;
	struct ich9_smi_state *state = &chip->state;

	if (offset != ICH9_APM_CONTROL) {
		state->apm_status = value;
		return;
	}
	state->apm_control = value;
	if (!(state->enable & ICH9_SMI_EN_APMC))
		return;
	state->status |= ICH9_SMI_STS_APM;
	if ((state->enable & needed) == needed)
		irq_line_pulse(&chip->smi);
}

void ich9_smi_lock(struct ich9_smi *chip)
{
	chip->state.locked = true;
}

static void ich9_smi_reset(void *device)
{
	struct ich9_smi *chip = device;

	memset(&chip->state, 0, sizeof(chip->state));
}

void ich9_smi_init(struct ich9_smi *chip, struct irq_line smi)
{
	memset(chip, 0, sizeof(*chip));
	chip->smi = smi;
}

static bool ich9_smi_check(const void *object, struct error *err)
{
	const struct ich9_smi_state *state = object;

	(void)err;
	return !(state->enable & ~(uint32_t)ENABLE_WRITABLE) &&
	       !(state->status & ~(uint32_t)ICH9_SMI_STS_APM);
}

static const struct state_field ich9_smi_fields[] = {
	STATE(struct ich9_smi_state, enable),
	STATE(struct ich9_smi_state, status),
	STATE(struct ich9_smi_state, apm_control),
	STATE(struct ich9_smi_state, apm_status),
	STATE(struct ich9_smi_state, locked),
	STATE_PAD(struct ich9_smi_state, reserved),
};
static const struct state_table ich9_smi_table =
	STATE_TABLE_OF(struct ich9_smi_state, "ich9_smi", ich9_smi_fields, ich9_smi_check);

const struct device_type ich9_smi_type = {
	.name = "ich9_smi",
	.state = &ich9_smi_table,
	.state_offset = offsetof(struct ich9_smi, state),
	.reset = ich9_smi_reset,
};
