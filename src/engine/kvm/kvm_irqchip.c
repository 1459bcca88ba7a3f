/*
 * Interrupts between our chips and the local APICs in the kernel.
 *
 * MSIs, and so every IOAPIC pin, go in with KVM_SIGNAL_MSI. The kernel knows the messages of
 * level-triggered pins (GSI routing) for one reason: to exit when such a vector ends. The 8259's
 * INTR is a level: the bootstrap processor's thread acknowledges it and injects the vector when
 * the kernel says that the guest would take it now (IF, no shadow, LVT LINT0 unmasked as ExtINT).
 * The vector goes in as an event already acknowledged, not with KVM_INTERRUPT, because a vector
 * that KVM_INTERRUPT leaves waiting in the kernel cannot be read back into a cpu_state.
 *
 * Not modelled: LINT0 and LINT1 with a delivery mode other than ExtINT and NMI respectively.
 */
#include "engine/kvm/kvm_engine.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* Local vector table, SDM 3A 11.5.1; register offsets, 3A table 11-1. */
#define APIC_LVT_LINT1   0x360
#define LVT_MASKED       BIT(16)
#define LVT_DELIVERY     BITS(10, 8)
#define LVT_DELIVERY_NMI 4

static void irqchip_msi(void *context, gpa_t address, uint32_t data)
{
	struct kvm_engine *engine = context;
	struct kvm_msi msi = {
		.address_lo = (uint32_t)address,
		.address_hi = address >> 32,
		.data = data,
	};

	/* 0 means that no processor took it, which a guest may cause. */
	ioctl(engine->vm_fd, KVM_SIGNAL_MSI, &msi);
}

static void irqchip_intr(void *context, bool level)
{
	struct kvm_engine *engine = context;

	atomic_store(&engine->intr, level);
	if (level && engine->nr_vcpus > 0)
		kvm_vcpu_interrupt(&engine->vcpus[0]);
}

static void irqchip_nmi(void *context)
{
	struct kvm_engine *engine = context;

	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		atomic_store(&engine->vcpus[i].nmi_raised, true);
		kvm_vcpu_interrupt(&engine->vcpus[i]);
	}
}

static struct kvm_irq_routing_entry message_route(uint32_t gsi, gpa_t address, uint32_t data)
{
	return (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi.address_lo = (uint32_t)address,
		.u.msi.address_hi = address >> 32,
		.u.msi.data = data,
	};
}

int kvm_irqchip_load_routes(struct kvm_engine *engine)
{
	struct {
		struct kvm_irq_routing header;
		struct kvm_irq_routing_entry entries[KVM_IOAPIC_PINS + KVM_MAX_IRQFDS];
	} table = { .header.nr = 0 };

	for (uint32_t pin = 0; pin < KVM_IOAPIC_PINS; pin++) {
		const struct kvm_ioapic_route *route = &engine->routes[pin];

		if (route->level)
			table.entries[table.header.nr++] =
				message_route(pin, route->address, route->data);
	}
	for (uint32_t i = 0; i < engine->nr_irqfds; i++) {
		const struct kvm_irqfd_route *route = &engine->irqfds[i];

		if (route->fd >= 0)
			table.entries[table.header.nr++] =
				message_route(KVM_IOAPIC_PINS + i, route->address, route->data);
	}
	return ioctl(engine->vm_fd, KVM_SET_GSI_ROUTING, &table) < 0 ? -errno : 0;
}

/*
 * Under the machine lock. A masked pin keeps its route: an interrupt it sent before may still be
 * in service.
 */
static void irqchip_route(
	void *context, unsigned pin, gpa_t address, uint32_t data, bool level, bool masked)
{
	struct kvm_engine *engine = context;
	struct kvm_ioapic_route route = { .address = address, .data = data, .level = level };
	struct kvm_ioapic_route *old;

	if (masked || pin >= KVM_IOAPIC_PINS)
		return;
	pthread_mutex_lock(&engine->route_lock);
	old = &engine->routes[pin];
	if (old->level != level || (level && (old->address != address || old->data != data))) {
		*old = route;
		kvm_irqchip_load_routes(engine);
	}
	pthread_mutex_unlock(&engine->route_lock);
}

int kvm_irqchip_create(struct kvm_engine *engine, struct error *err)
{
	struct cpu_bus *bus = &engine->base.machine->cpu_bus;
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { KVM_IOAPIC_PINS } };
	struct kvm_enable_cap x2apic = {
		.cap = KVM_CAP_X2APIC_API,
		.args = { KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
	};

	if (ioctl(engine->vm_fd, KVM_ENABLE_CAP, &split) < 0 ||
		ioctl(engine->vm_fd, KVM_ENABLE_CAP, &x2apic) < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, errno, "KVM refuses to make local APICs");
	bus->engine = engine;
	bus->msi = irqchip_msi;
	bus->intr = irqchip_intr;
	bus->nmi = irqchip_nmi;
	bus->set_a20 = NULL;
	bus->route = irqchip_route;
	bus->doorbell = kvm_eventfd_doorbell;
	bus->irqfd = kvm_eventfd_irqfd;
	return 0;
}

/* Queues `vector` for delivery at the next entry, and ends a HLT. */
static int inject(struct kvm_vcpu *vcpu, uint8_t vector)
{
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;

	if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
		return -errno;
	events.flags = 0;
	events.interrupt.injected = 1;
	events.interrupt.nr = vector;
	events.interrupt.soft = 0;
	if (ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &events) < 0 ||
		ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp_state) < 0)
		return -errno;
	if (mp_state.mp_state != KVM_MP_STATE_HALTED)
		return 0;
	mp_state.mp_state = KVM_MP_STATE_RUNNABLE;
	return ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp_state) < 0 ? -errno : 0;
}

static int prepare_intr(struct kvm_vcpu *vcpu)
{
	struct machine *machine = vcpu->engine->base.machine;
	struct cpu_bus *bus = &machine->cpu_bus;
	int vector = -1;

	vcpu->run->request_interrupt_window = 0;
	if (!atomic_load(&vcpu->engine->intr) || !bus->acknowledge)
		return 0;
	if (vcpu->ready_is_stale) {
		/* One pass through the kernel without entering the guest computes it. */
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		return 0;
	}
	if (!vcpu->run->ready_for_interrupt_injection) {
		vcpu->run->request_interrupt_window = 1;
		return 0;
	}
	machine_lock(machine);
	if (atomic_load(&vcpu->engine->intr))
		vector = bus->acknowledge(bus->board);
	machine_unlock(machine);
	if (vector < 0)
		return 0;
	/* Further requests wait until the kernel has looked again. */
	vcpu->run->ready_for_interrupt_injection = 0;
	vcpu->run->request_interrupt_window = atomic_load(&vcpu->engine->intr);
	return inject(vcpu, vector);
}

static int prepare_nmi(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic_state apic;
	uint32_t lint1;

	if (!atomic_exchange(&vcpu->nmi_raised, false))
		return 0;
	if (ioctl(vcpu->fd, KVM_GET_LAPIC, &apic) < 0)
		return -errno;
	memcpy(&lint1, apic.regs + APIC_LVT_LINT1, sizeof(lint1));
	if ((lint1 & LVT_MASKED) || field_get(LVT_DELIVERY, lint1) != LVT_DELIVERY_NMI)
		return 0;
	return ioctl(vcpu->fd, KVM_NMI, 0) < 0 ? -errno : 0;
}

int kvm_irqchip_prepare(struct kvm_vcpu *vcpu)
{
	int rc = prepare_nmi(vcpu);

	if (rc == 0)
		rc = kvm_smm_prepare(vcpu);
	if (rc < 0 || vcpu->index != 0)
		return rc;
	return prepare_intr(vcpu);
}

void kvm_irqchip_end_of_interrupt(struct kvm_vcpu *vcpu, uint8_t vector)
{
	struct machine *machine = vcpu->engine->base.machine;
	struct cpu_bus *bus = &machine->cpu_bus;

	if (!bus->end_of_interrupt)
		return;
	machine_lock(machine);
	bus->end_of_interrupt(bus->board, vector);
	machine_unlock(machine);
}
