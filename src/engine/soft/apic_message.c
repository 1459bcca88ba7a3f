/*
 * Interrupt messages: who an MSI or an IPI is for, and what it does to him (SDM 3A 11.6, 11.11).
 *
 * Runs on any thread; it sets bits of the target and requests its attention. SMI is dropped where
 * the machine has no system management mode. Lowest priority goes to the lowest task priority,
 * among equals to the lowest index.
 */
#include "engine/soft/apic.h"
#include "engine/soft/apic_regs.h"
#include "engine/soft/smm.h"

struct message {
	uint32_t destination;
	bool logical;
	bool broadcast; /* physical, to all */
	bool level_triggered;
	enum apic_delivery delivery;
	uint8_t vector;
};

static uint32_t peek(const uint32_t *reg)
{
	return __atomic_load_n(reg, __ATOMIC_RELAXED);
}

static uint64_t peek_base(const struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->apic_base, __ATOMIC_RELAXED);
}

static bool matches_logical(const struct vcpu *vcpu, uint32_t destination)
{
	const struct cpu_apic *regs = &vcpu->apic.regs;
	uint32_t ldr = peek(&regs->ldr);

	if (peek_base(vcpu) & APIC_BASE_X2APIC)
		return destination >> 16 == ldr >> 16 && destination & ldr & 0xffff;
	ldr >>= 24;
	if (field_get(DFR_MODEL, peek(&regs->dfr)) == DFR_MODEL_FLAT)
		return destination & ldr & 0xff;
	/* Cluster: a nibble of address, 15 for all, and a nibble of members. */
	return (destination >> 4 == ldr >> 4 || destination >> 4 == 0xf) && destination & ldr & 0xf;
}

static bool matches(const struct vcpu *vcpu, const struct message *message)
{
	uint32_t id = vcpu->apic.regs.id;

	if (!(peek_base(vcpu) & APIC_BASE_ENABLE))
		return false;
	if (message->broadcast)
		return true;
	if (message->logical)
		return matches_logical(vcpu, message->destination);
	return message->destination == id;
}

void apic_accept(struct vcpu *vcpu, uint8_t vector, bool level_triggered)
{
	struct apic *apic = &vcpu->apic;
	uint32_t bit = 1u << vector % 32;

	if (!(peek(&apic->regs.svr) & SVR_ENABLE))
		return;
	if (vector < 16) {
		apic_error(vcpu, ESR_RECEIVE_ILLEGAL);
		return;
	}
	if (level_triggered)
		atomic_fetch_or(&apic->tmr[vector / 32], bit);
	else
		atomic_fetch_and(&apic->tmr[vector / 32], ~bit);
	atomic_fetch_or(&apic->irr[vector / 32], bit);
	vcpu_request(vcpu, REQUEST_INTERRUPT);
}

static void deliver(struct vcpu *vcpu, const struct message *message)
{
	switch (message->delivery) {
	case APIC_FIXED:
	case APIC_LOWEST_PRIORITY:
		apic_accept(vcpu, message->vector, message->level_triggered);
		break;
	case APIC_NMI: vcpu_request(vcpu, REQUEST_NMI); break;
	case APIC_INIT:
		/* A start-up message from before has no meaning after it. */
		atomic_fetch_and(&vcpu->requests, ~REQUEST_SIPI);
		vcpu_request(vcpu, REQUEST_INIT);
		break;
	case APIC_STARTUP:
		atomic_store(&vcpu->sipi_vector, message->vector);
		vcpu_request(vcpu, REQUEST_SIPI);
		break;
	case APIC_EXTINT:
		atomic_store(&vcpu->apic.extint, true);
		vcpu_request(vcpu, REQUEST_INTERRUPT);
		break;
	case APIC_SMI: smm_request(vcpu); break;
	}
}

static struct vcpu *lowest_priority(struct soft_engine *engine, const struct message *message)
{
	struct vcpu *best = NULL;

	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct vcpu *vcpu = &engine->vcpus[i];

		if (!matches(vcpu, message) || !(peek(&vcpu->apic.regs.svr) & SVR_ENABLE))
			continue;
		if (!best || peek(&vcpu->apic.regs.tpr) < peek(&best->apic.regs.tpr))
			best = vcpu;
	}
	return best;
}

static void send(struct soft_engine *engine, const struct message *message)
{
	if (message->delivery == APIC_LOWEST_PRIORITY) {
		struct vcpu *vcpu = lowest_priority(engine, message);

		if (vcpu)
			deliver(vcpu, message);
		return;
	}
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		if (matches(&engine->vcpus[i], message))
			deliver(&engine->vcpus[i], message);
	}
}

void apic_message(struct soft_engine *engine, gpa_t address, uint32_t data)
{
	struct message message = {
		.destination = field_get(MSI_ADDRESS_ID, address),
		.logical = address & MSI_ADDRESS_LOGICAL,
		.level_triggered = data & LVT_TRIGGER_LEVEL,
		.delivery = field_get(LVT_DELIVERY, data),
		.vector = data & LVT_VECTOR,
	};

	if ((address & MSI_ADDRESS_MASK) != MSI_ADDRESS_BASE)
		return;
	message.broadcast = !message.logical && message.destination == 0xff;
	if (message.delivery != APIC_STARTUP)
		send(engine, &message);
}

static bool is_init_deassert(uint32_t icr_low)
{
	return field_get(LVT_DELIVERY, icr_low) == APIC_INIT && icr_low & ICR_TRIGGER_LEVEL &&
	       !(icr_low & ICR_LEVEL_ASSERT);
}

void apic_send_ipi(struct vcpu *vcpu, uint32_t icr_low, uint32_t destination)
{
	struct soft_engine *engine = vcpu->engine;
	bool x2apic = apic_is_x2apic(vcpu);
	struct message message = {
		.destination = destination,
		.logical = icr_low & ICR_LOGICAL,
		.delivery = field_get(LVT_DELIVERY, icr_low),
		.vector = icr_low & LVT_VECTOR,
	};

	message.broadcast =
		!message.logical && destination == (x2apic ? UINT32_MAX : UINT32_C(0xff));
	/* The 82489DX's INIT level de-assert: nothing listens to it any more. */
	if (is_init_deassert(icr_low))
		return;
	if (message.delivery <= APIC_LOWEST_PRIORITY && message.vector < 16) {
		apic_error(vcpu, ESR_SEND_ILLEGAL);
		return;
	}
	switch (field_get(ICR_SHORTHAND, icr_low)) {
	case ICR_TO_SELF: deliver(vcpu, &message); return;
	case ICR_TO_ALL:
		for (unsigned i = 0; i < engine->nr_vcpus; i++)
			deliver(&engine->vcpus[i], &message);
		return;
	case ICR_TO_OTHERS:
		for (unsigned i = 0; i < engine->nr_vcpus; i++) {
			if (i != vcpu->index)
				deliver(&engine->vcpus[i], &message);
		}
		return;
	default: send(engine, &message);
	}
}

/* A pin of the APIC or one of its own sources became active. */
void apic_deliver_local(struct vcpu *vcpu, uint32_t lvt)
{
	struct message message = {
		.delivery = field_get(LVT_DELIVERY, lvt),
		.vector = lvt & LVT_VECTOR,
	};

	/* The 8259 is asked while its line is up, see apic_interrupt_ready. */
	if (lvt & LVT_MASKED || message.delivery == APIC_EXTINT)
		return;
	deliver(vcpu, &message);
}

void apic_set_intr(struct soft_engine *engine, bool level)
{
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct vcpu *vcpu = &engine->vcpus[i];

		if (atomic_exchange(&vcpu->apic.intr_level, level) || !level)
			continue;
		apic_deliver_local(vcpu, peek(&vcpu->apic.regs.lvt_lint0));
		vcpu_request(vcpu, REQUEST_INTERRUPT);
	}
}

void apic_nmi(struct soft_engine *engine)
{
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct vcpu *vcpu = &engine->vcpus[i];

		if (peek_base(vcpu) & APIC_BASE_ENABLE)
			apic_deliver_local(vcpu, peek(&vcpu->apic.regs.lvt_lint1));
		else if (i == 0)
			vcpu_request(vcpu, REQUEST_NMI);
	}
}
