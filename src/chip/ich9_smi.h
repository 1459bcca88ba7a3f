/*
 * The system management interrupts of the ICH9 (316972, 13.7 and 13.8): the advanced power
 * management ports, SMI_EN and SMI_STS.
 */
#ifndef CHIP_ICH9_SMI_H
#define CHIP_ICH9_SMI_H

#include "base/bits.h"
#include "machine/device.h"
#include "machine/irq_line.h"

#define ICH9_SMI_EN  0 /* 32 bits */
#define ICH9_SMI_STS 4 /* 32 bits */

#define ICH9_SMI_EN_GLOBAL BIT(0)
#define ICH9_SMI_EN_APMC   BIT(5)
#define ICH9_SMI_STS_APM   BIT(5)

#define ICH9_APM_CONTROL 0
#define ICH9_APM_STATUS  1

struct ich9_smi_state {
	uint32_t enable;
	uint32_t status;
	uint8_t apm_control, apm_status;
	bool locked; /* SMI_LOCK of the LPC bridge, until reset */
	uint8_t reserved;
};

struct ich9_smi {
	struct ich9_smi_state state;
	struct irq_line smi; /* pulsed */
};

extern const struct device_type ich9_smi_type;

void ich9_smi_init(struct ich9_smi *chip, struct irq_line smi);

/* SMI_EN and SMI_STS; offset and size within one of them. */
uint32_t ich9_smi_read(const struct ich9_smi *chip, unsigned offset, unsigned size);
void ich9_smi_write(struct ich9_smi *chip, unsigned offset, unsigned size, uint32_t value);

/* The ports 0xb2 and 0xb3. A write to the first is how software asks for an SMI. */
uint8_t ich9_smi_apm_read(const struct ich9_smi *chip, unsigned offset);
void ich9_smi_apm_write(struct ich9_smi *chip, unsigned offset, uint8_t value);

/* SMI_LOCK was set: ICH9_SMI_EN_GLOBAL stays as it is. */
void ich9_smi_lock(struct ich9_smi *chip);

#endif
