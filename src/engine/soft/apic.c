/*
 * The local APIC's registers and priorities (SDM 3A 11.4, 11.8, 11.12).
 *
 * Not modelled: writes to the xAPIC ID (it is the processor's number for ever), LVT entries for
 * corrected machine checks, thermal sensor and performance counters beyond their registers, remote
 * reads, arbitration.
 */
#include "engine/soft/apic.h"

#include "engine/soft/apic_regs.h"
#include "engine/soft/mmu.h"
#include "engine/soft/vector.h"

static void poke(uint32_t *reg, uint32_t value)
{
	__atomic_store_n(reg, value, __ATOMIC_RELAXED);
}

/* The highest vector of a 256-bit register, or -1. */
static int highest(const uint32_t *words)
{
	for (int word = 7; word >= 0; word--) {
		uint32_t bits = __atomic_load_n(&words[word], __ATOMIC_RELAXED);

		if (bits)
			return 32 * word + 31 - __builtin_clz(bits);
	}
	return -1;
}

static int highest_request(const struct vcpu *vcpu)
{
	return highest((const uint32_t *)vcpu->apic.irr);
}

static uint32_t processor_priority(const struct vcpu *vcpu)
{
	const struct cpu_apic *regs = &vcpu->apic.regs;
	int in_service = highest(regs->isr);
	uint32_t class = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;

	return (regs->tpr & 0xf0) >= class ? regs->tpr : class;
}

static bool takes_intr(const struct vcpu *vcpu)
{
	uint32_t lint0 = vcpu->apic.regs.lvt_lint0;

	if (!atomic_load_explicit(&vcpu->apic.intr_level, memory_order_relaxed))
		return false;
	/* Without an APIC the line is the processor's INTR pin; it is the bootstrap's alone. */
	if (!(vcpu->apic_base & APIC_BASE_ENABLE))
		return vcpu->index == 0;
	return !(lint0 & LVT_MASKED) && field_get(LVT_DELIVERY, lint0) == APIC_EXTINT;
}

static bool takes_extint(const struct vcpu *vcpu)
{
	return takes_intr(vcpu) || atomic_load_explicit(&vcpu->apic.extint, memory_order_relaxed);
}

static bool request_is_deliverable(const struct vcpu *vcpu, int vector)
{
	return vector >= 0 && vcpu->apic_base & APIC_BASE_ENABLE &&
	       ((uint32_t)vector & 0xf0) > (processor_priority(vcpu) & 0xf0);
}

bool apic_interrupt_ready(struct vcpu *vcpu)
{
	return takes_extint(vcpu) || request_is_deliverable(vcpu, highest_request(vcpu));
}

/* The 8259 may have changed its mind since; then it answers with its spurious vector. */
static int acknowledge_extint(struct vcpu *vcpu)
{
	const struct cpu_bus *bus = &vcpu->machine->cpu_bus;
	int vector;

	atomic_store(&vcpu->apic.extint, false);
	if (!bus->acknowledge)
		return -1;
	vector_leave(vcpu);
	machine_lock(vcpu->machine);
	vector = bus->acknowledge(bus->board);
	machine_unlock(vcpu->machine);
	return vector;
}

int apic_acknowledge(struct vcpu *vcpu)
{
	int vector;

	if (takes_extint(vcpu))
		return acknowledge_extint(vcpu);
	vector = highest_request(vcpu);
	if (!request_is_deliverable(vcpu, vector))
		return -1;
	atomic_fetch_and(&vcpu->apic.irr[vector / 32], ~(1u << vector % 32));
	vcpu->apic.regs.isr[vector / 32] |= 1u << vector % 32;
	return vector;
}

/* Priority fell: what was held back may be deliverable now. */
static void priority_lowered(struct vcpu *vcpu)
{
	if (highest_request(vcpu) >= 0)
		vcpu_request(vcpu, REQUEST_INTERRUPT);
}

static void end_of_interrupt(struct vcpu *vcpu)
{
	const struct cpu_bus *bus = &vcpu->machine->cpu_bus;
	int vector = highest(vcpu->apic.regs.isr);
	uint32_t bit;

	if (vector < 0)
		return;
	bit = 1u << vector % 32;
	vcpu->apic.regs.isr[vector / 32] &= ~bit;
	if (atomic_load(&vcpu->apic.tmr[vector / 32]) & bit && bus->end_of_interrupt &&
		!(vcpu->apic.regs.svr & SVR_SUPPRESS_EOI)) {
		vector_leave(vcpu);
		machine_lock(vcpu->machine);
		bus->end_of_interrupt(bus->board, (uint8_t)vector);
		machine_unlock(vcpu->machine);
	}
	priority_lowered(vcpu);
}

static void set_tpr(struct vcpu *vcpu, uint32_t value)
{
	poke(&vcpu->apic.regs.tpr, value & 0xff);
	priority_lowered(vcpu);
}

uint64_t apic_cr8(struct vcpu *vcpu)
{
	return vcpu->apic.regs.tpr >> 4;
}

void apic_set_cr8(struct vcpu *vcpu, uint64_t value)
{
	set_tpr(vcpu, (uint32_t)value << 4);
}

/* From any thread: a receiver's error is noted by the sender. */
void apic_error(struct vcpu *vcpu, uint32_t esr_bit)
{
	uint32_t lvt = __atomic_load_n(&vcpu->apic.regs.lvt_error, __ATOMIC_RELAXED);

	if (__atomic_fetch_or(&vcpu->apic.regs.esr_pending, esr_bit, __ATOMIC_RELAXED) & esr_bit)
		return;
	/* An illegal vector in the error's own entry would never end. */
	if ((lvt & LVT_VECTOR) >= 16)
		apic_deliver_local(vcpu, lvt);
}

static void latch_esr(struct vcpu *vcpu)
{
	vcpu->apic.regs.esr =
		__atomic_exchange_n(&vcpu->apic.regs.esr_pending, 0, __ATOMIC_RELAXED);
}

/* What a write can change in each LVT entry; delivery status and remote IRR are read-only. */
static uint32_t lvt_writable(unsigned offset)
{
	switch (offset) {
	case APIC_LVT_TIMER: return LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE;
	case APIC_LVT_ERROR: return LVT_VECTOR | LVT_MASKED;
	case APIC_LVT_LINT0:
	case APIC_LVT_LINT1:
		return LVT_VECTOR | LVT_DELIVERY | LVT_POLARITY | LVT_TRIGGER_LEVEL | LVT_MASKED;
	default: return LVT_VECTOR | LVT_DELIVERY | LVT_MASKED;
	}
}

static uint32_t *lvt_register(struct cpu_apic *regs, unsigned offset)
{
	switch (offset) {
	case APIC_LVT_TIMER: return &regs->lvt_timer;
	case APIC_LVT_THERMAL: return &regs->lvt_thermal;
	case APIC_LVT_PMC: return &regs->lvt_performance;
	case APIC_LVT_LINT0: return &regs->lvt_lint0;
	case APIC_LVT_LINT1: return &regs->lvt_lint1;
	default: return &regs->lvt_error;
	}
}

static void set_lvt(struct vcpu *vcpu, unsigned offset, uint32_t value)
{
	value &= lvt_writable(offset);
	if (!(vcpu->apic.regs.svr & SVR_ENABLE))
		value |= LVT_MASKED;
	if (offset == APIC_LVT_TIMER)
		apic_timer_set_lvt(vcpu, value);
	else
		poke(lvt_register(&vcpu->apic.regs, offset), value);
	if (offset == APIC_LVT_LINT0 && takes_intr(vcpu))
		vcpu_request(vcpu, REQUEST_INTERRUPT);
}

static void set_svr(struct vcpu *vcpu, uint32_t value)
{
	struct cpu_apic *regs = &vcpu->apic.regs;

	poke(&regs->svr, value & (SVR_VECTOR | SVR_ENABLE | SVR_FOCUS | SVR_SUPPRESS_EOI));
	if (value & SVR_ENABLE)
		return;
	/* Software-disabled: every entry is masked until the guest unmasks it (SDM 3A 11.4.7.2). */
	for (unsigned offset = APIC_LVT_TIMER; offset <= APIC_LVT_ERROR; offset += 0x10)
		set_lvt(vcpu, offset, *lvt_register(regs, offset));
}

static uint32_t vector_word(const uint32_t *words, unsigned offset)
{
	return __atomic_load_n(&words[offset >> 4 & 7], __ATOMIC_RELAXED);
}

static uint32_t read_register(struct vcpu *vcpu, unsigned offset)
{
	struct cpu_apic *regs = &vcpu->apic.regs;

	switch (offset) {
	case APIC_ID: return apic_is_x2apic(vcpu) ? regs->id : regs->id << 24;
	case APIC_VERSION: return APIC_VERSION_VALUE;
	case APIC_TPR: return regs->tpr;
	case APIC_PPR: return processor_priority(vcpu);
	case APIC_LDR: return regs->ldr;
	case APIC_DFR: return regs->dfr;
	case APIC_SVR: return regs->svr;
	case APIC_ISR ... APIC_ISR + 0x7f: return vector_word(regs->isr, offset);
	case APIC_TMR ... APIC_TMR + 0x7f:
		return vector_word((const uint32_t *)vcpu->apic.tmr, offset);
	case APIC_IRR ... APIC_IRR + 0x7f:
		return vector_word((const uint32_t *)vcpu->apic.irr, offset);
	case APIC_ESR: return regs->esr;
	case APIC_ICR_LOW: return regs->icr_low;
	case APIC_ICR_HIGH: return regs->icr_high;
	case APIC_LVT_TIMER:
	case APIC_LVT_THERMAL:
	case APIC_LVT_PMC:
	case APIC_LVT_LINT0:
	case APIC_LVT_LINT1:
	case APIC_LVT_ERROR: return *lvt_register(regs, offset);
	case APIC_TIMER_INITIAL: return regs->timer_initial;
	case APIC_TIMER_CURRENT: return apic_timer_current(vcpu);
	case APIC_TIMER_DIVIDE: return regs->timer_divide;
	default: return 0; /* APR and RRD among them */
	}
}

static void write_register(struct vcpu *vcpu, unsigned offset, uint32_t value)
{
	struct cpu_apic *regs = &vcpu->apic.regs;

	switch (offset) {
	case APIC_TPR: set_tpr(vcpu, value); break;
	case APIC_EOI: end_of_interrupt(vcpu); break;
	case APIC_LDR: poke(&regs->ldr, value & 0xff000000); break;
	case APIC_DFR: poke(&regs->dfr, value | 0x0fffffff); break;
	case APIC_SVR: set_svr(vcpu, value); break;
	case APIC_ESR: latch_esr(vcpu); break;
	case APIC_ICR_LOW:
		regs->icr_low = value & ICR_WRITABLE;
		apic_send_ipi(vcpu, regs->icr_low, regs->icr_high >> 24);
		break;
	case APIC_ICR_HIGH: regs->icr_high = value & 0xff000000; break;
	case APIC_LVT_TIMER:
	case APIC_LVT_THERMAL:
	case APIC_LVT_PMC:
	case APIC_LVT_LINT0:
	case APIC_LVT_LINT1:
	case APIC_LVT_ERROR: set_lvt(vcpu, offset, value); break;
	case APIC_TIMER_INITIAL: apic_timer_set_initial(vcpu, value); break;
	case APIC_TIMER_DIVIDE: apic_timer_set_divide(vcpu, value & 0xb); break;
	}
}

uint32_t apic_mmio_read(struct vcpu *vcpu, unsigned offset)
{
	if (apic_is_x2apic(vcpu))
		return UINT32_MAX; /* the page is not the APIC's in x2APIC mode */
	return offset & 0xf ? 0 : read_register(vcpu, offset);
}

void apic_mmio_write(struct vcpu *vcpu, unsigned offset, uint32_t value)
{
	if (!apic_is_x2apic(vcpu) && !(offset & 0xf))
		write_register(vcpu, offset, value);
}

/* Which x2APIC registers exist, by SDM 3A table 11-6. */
static bool x2apic_readable(unsigned offset)
{
	switch (offset) {
	case APIC_ID:
	case APIC_VERSION:
	case APIC_TPR:
	case APIC_PPR:
	case APIC_LDR:
	case APIC_SVR:
	case APIC_ISR ... APIC_IRR + 0x7f:
	case APIC_ESR:
	case APIC_ICR_LOW:
	case APIC_LVT_TIMER ... APIC_TIMER_CURRENT:
	case APIC_TIMER_DIVIDE: return true;
	default: return false;
	}
}

/* The bits that a write may set; 0 if the register is read-only or absent and must raise. */
static bool x2apic_write_mask(unsigned offset, uint64_t *mask)
{
	switch (offset) {
	case APIC_EOI:
	case APIC_ESR: *mask = 0; return true;
	case APIC_TPR: *mask = 0xff; return true;
	case APIC_SVR: *mask = SVR_VECTOR | SVR_ENABLE | SVR_FOCUS | SVR_SUPPRESS_EOI; return true;
	case APIC_ICR_LOW: *mask = ICR_WRITABLE | BITS(63, 32); return true;
	case APIC_LVT_TIMER ... APIC_LVT_ERROR:
		*mask = lvt_writable(offset) | BIT(12) | BIT(14);
		return true;
	case APIC_TIMER_INITIAL: *mask = UINT32_MAX; return true;
	case APIC_TIMER_DIVIDE: *mask = 0xb; return true;
	case APIC_SELF_IPI: *mask = 0xff; return true;
	default: return false;
	}
}

bool apic_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	unsigned offset = (msr - MSR_IA32_X2APIC_FIRST) << 4;

	if (!apic_is_x2apic(vcpu) || !x2apic_readable(offset))
		return false;
	*value = read_register(vcpu, offset);
	if (offset == APIC_ICR_LOW)
		*value |= (uint64_t)vcpu->apic.regs.icr_high << 32;
	return true;
}

bool apic_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	unsigned offset = (msr - MSR_IA32_X2APIC_FIRST) << 4;
	struct cpu_apic *regs = &vcpu->apic.regs;
	uint64_t mask;

	if (!apic_is_x2apic(vcpu) || !x2apic_write_mask(offset, &mask) || value & ~mask)
		return false;
	switch (offset) {
	case APIC_ICR_LOW:
		regs->icr_low = (uint32_t)value;
		regs->icr_high = (uint32_t)(value >> 32);
		apic_send_ipi(vcpu, regs->icr_low, regs->icr_high);
		break;
	case APIC_SELF_IPI:
		apic_send_ipi(vcpu, (uint32_t)field_set(ICR_SHORTHAND, value, ICR_TO_SELF), 0);
		break;
	default: write_register(vcpu, offset, (uint32_t)value);
	}
	return true;
}

static uint32_t x2apic_ldr(uint32_t id)
{
	return id >> 4 << 16 | 1u << (id & 0xf);
}

bool apic_base_write(struct vcpu *vcpu, uint64_t value)
{
	const uint64_t modes = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	uint64_t address = BITS(vcpu->cpu_model->physical_address_bits - 1, 12);
	uint64_t from = vcpu->apic_base & modes, to = value & modes;
	uint64_t writable = address | APIC_BASE_BSP | APIC_BASE_ENABLE;

	if (cpu_model_has(vcpu->cpu_model, CPU_FEATURE_X2APIC))
		writable |= APIC_BASE_X2APIC;
	if (value & ~writable || to == APIC_BASE_X2APIC)
		return false;
	/* SDM 3A figure 11-27: x2APIC is entered from xAPIC and left for disabled only. */
	if ((from == modes && to == APIC_BASE_ENABLE) || (from == 0 && to == modes))
		return false;
	__atomic_store_n(&vcpu->apic_base, value, __ATOMIC_RELAXED);
	if (from != modes && to == modes) {
		poke(&vcpu->apic.regs.ldr, x2apic_ldr(vcpu->apic.regs.id));
		vcpu->apic.regs.icr_high = 0;
	}
	if (from != 0 && to == 0) {
		struct cpu_state reset;

		vector_leave(vcpu);
		cpu_state_reset(&reset, vcpu->index);
		apic_set_state(vcpu, &reset.apic);
	}
	mmu_flush_all(vcpu);
	return true;
}

void apic_get_state(struct vcpu *vcpu, struct cpu_apic *state)
{
	uint32_t timer_current = apic_timer_save(vcpu); /* may deliver */

	*state = vcpu->apic.regs;
	for (unsigned i = 0; i < 8; i++) {
		state->irr[i] = atomic_load(&vcpu->apic.irr[i]);
		state->tmr[i] = atomic_load(&vcpu->apic.tmr[i]);
	}
	state->timer_current = timer_current;
}

void apic_set_state(struct vcpu *vcpu, const struct cpu_apic *state)
{
	struct apic *apic = &vcpu->apic;

	apic->regs = *state;
	for (unsigned i = 0; i < 8; i++) {
		atomic_store(&apic->irr[i], state->irr[i]);
		atomic_store(&apic->tmr[i], state->tmr[i]);
	}
	atomic_store(&apic->extint, false);
	apic_timer_restore(vcpu, state->timer_current);
	if (apic_interrupt_ready(vcpu))
		vcpu_request(vcpu, REQUEST_INTERRUPT);
}
