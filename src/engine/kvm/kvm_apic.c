/*
 * The local APIC's registers between cpu_state and KVM's page of them, which has the layout of the
 * xAPIC's MMIO page (SDM 3A table 11-1).
 *
 * KVM keeps no errors that a write to ESR has yet to latch; cpu_apic.esr_pending is lost.
 */
#include "engine/kvm/kvm_engine.h"

#include <stddef.h>
#include <string.h>

#define APIC_ID  0x20
#define APIC_LDR 0xd0
#define APIC_ISR 0x100
#define APIC_TMR 0x180
#define APIC_IRR 0x200

#define REGISTER(offset, member)                                                                   \
	{                                                                                          \
		(offset), offsetof(struct cpu_apic, member)                                        \
	}

static const struct {
	uint16_t offset; /* in the page */
	uint16_t member; /* in struct cpu_apic */
} registers[] = {
	REGISTER(0x080, tpr),
	REGISTER(0x0e0, dfr),
	REGISTER(0x0f0, svr),
	REGISTER(0x280, esr),
	REGISTER(0x2f0, lvt_cmci),
	REGISTER(0x300, icr_low),
	REGISTER(0x310, icr_high),
	REGISTER(0x320, lvt_timer),
	REGISTER(0x330, lvt_thermal),
	REGISTER(0x340, lvt_performance),
	REGISTER(0x350, lvt_lint0),
	REGISTER(0x360, lvt_lint1),
	REGISTER(0x370, lvt_error),
	REGISTER(0x380, timer_initial),
	REGISTER(0x390, timer_current),
	REGISTER(0x3e0, timer_divide),
};

static uint32_t load(const struct kvm_lapic_state *page, unsigned offset)
{
	uint32_t value;

	memcpy(&value, page->regs + offset, sizeof(value));
	return value;
}

static void store(struct kvm_lapic_state *page, unsigned offset, uint32_t value)
{
	memcpy(page->regs + offset, &value, sizeof(value));
}

void kvm_apic_to_state(const struct kvm_lapic_state *from, bool x2apic, struct cpu_apic *to)
{
	memset(to, 0, sizeof(*to));
	to->id = x2apic ? load(from, APIC_ID) : load(from, APIC_ID) >> 24;
	to->ldr = load(from, APIC_LDR);
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++) {
		uint32_t value = load(from, registers[i].offset);

		memcpy((char *)to + registers[i].member, &value, sizeof(value));
	}
	for (unsigned i = 0; i < 8; i++) {
		to->isr[i] = load(from, APIC_ISR + 16 * i);
		to->tmr[i] = load(from, APIC_TMR + 16 * i);
		to->irr[i] = load(from, APIC_IRR + 16 * i);
	}
}

/* `to` holds KVM's own page: its version register stays. */
void kvm_apic_from_state(const struct cpu_apic *from, bool x2apic, struct kvm_lapic_state *to)
{
	store(to, APIC_ID, x2apic ? from->id : from->id << 24);
	store(to, APIC_LDR, from->ldr);
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++) {
		uint32_t value;

		memcpy(&value, (const char *)from + registers[i].member, sizeof(value));
		store(to, registers[i].offset, value);
	}
	for (unsigned i = 0; i < 8; i++) {
		store(to, APIC_ISR + 16 * i, from->isr[i]);
		store(to, APIC_TMR + 16 * i, from->tmr[i]);
		store(to, APIC_IRR + 16 * i, from->irr[i]);
	}
}
