/*
 * The KVM engine's own structures and the seams between its files.
 *
 * The kernel runs the processors and their local APICs; everything else, the PIC and the IOAPIC
 * included, is ours ("split irqchip"). Doorbells and message-signalled interrupts can be eventfds
 * of the kernel's (ioeventfd, irqfd); every pin of the IOAPIC goes through our chip.
 */
#ifndef ENGINE_KVM_KVM_ENGINE_H
#define ENGINE_KVM_KVM_ENGINE_H

#include "engine/engine.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#define KVM_IOAPIC_PINS    24
#define KVM_MAX_IRQFDS     128
#define KVM_MAX_STATE_MSRS 128

enum kvm_counter {
	KVM_COUNT_PIO,
	KVM_COUNT_MMIO,
	KVM_COUNT_EOI,
	KVM_COUNT_INTERRUPT_WINDOW,
	KVM_COUNT_MSR,
	KVM_COUNT_INTERRUPTED,
	KVM_NR_COUNTERS
};

struct kvm_vcpu {
	struct kvm_engine *engine; /* immutable, as are index, fd and run's address */
	unsigned index;
	int fd;
	struct kvm_run *run; /* shared with the kernel; immediate_exit is written by any thread */

	_Atomic pid_t thread; /* the thread inside kvm_vcpu_run, or 0 */
	atomic_bool kicked;
	atomic_bool in_guest;   /* in KVM_RUN, or about to be: see kvm_vcpus_keep_out */
	atomic_bool nmi_raised; /* LINT1 had an edge */
	atomic_bool smi_raised; /* likewise */
	_Atomic uint64_t counters[KVM_NR_COUNTERS];

	bool tsc_scaled; /* its counter's rate is not the host's; immutable */

	/* vCPU thread only, or whoever holds the stopped vCPU. */
	/* run->ready_for_interrupt_injection predates a new state, or an access that the kernel has
	 * yet to complete. */
	bool ready_is_stale;
	ns_t lag_ns; /* host time minus guest time, as its TSC was last set */
};

struct kvm_ioapic_route {
	gpa_t address;
	uint32_t data;
	bool level; /* only level-triggered pins need a route, for their end of interrupt */
};

/* An eventfd that sends a message; its routing entry comes after those of the pins. */
struct kvm_irqfd_route {
	int fd; /* -1: free */
	gpa_t address;
	uint32_t data;
};

struct kvm_engine {
	struct engine base;
	int device_fd;
	int vm_fd;
	size_t run_size;
	struct kvm_vcpu *vcpus;
	unsigned nr_vcpus;

	/* The registers of cpu_state that this host has, as rows of kvm_msr.c's table; immutable.
	 */
	uint8_t state_msrs[KVM_MAX_STATE_MSRS];
	unsigned nr_state_msrs;
	pthread_mutex_t gate_lock; /* held while vCPUs are kept out */
	atomic_bool gate_closed;
	pthread_mutex_t route_lock;
	struct kvm_ioapic_route routes[KVM_IOAPIC_PINS]; /* route_lock, as the next two */
	struct kvm_irqfd_route irqfds[KVM_MAX_IRQFDS];
	unsigned nr_irqfds; /* one past the last that was ever used */
	atomic_bool intr;   /* the 8259's output */
	uint64_t tsc_hz;    /* of every vCPU's counter; immutable */
	pthread_mutex_t tsc_lock;
	uint64_t tsc_offset; /* tsc_lock: that of the vCPUs whose TSCs agree */
	ns_t tsc_lag_ns;
	bool tsc_offset_known;
	ns_t clock_lag_ns; /* tsc_lock: for which the paravirtual clock was set */
};

static inline struct kvm_engine *kvm_engine_of(struct engine *engine)
{
	return (struct kvm_engine *)engine;
}

static inline void kvm_count(struct kvm_vcpu *vcpu, enum kvm_counter counter)
{
	atomic_fetch_add_explicit(&vcpu->counters[counter], 1, memory_order_relaxed);
}

/* kvm_probe.c: opens the device and checks it. Returns a descriptor, or fills `err`. */
int kvm_probe_open(const char *cpuinfo_path, const char *device_path, struct error *err);

/* kvm_vcpu.c */
int kvm_vcpu_create(
	struct kvm_vcpu *vcpu, struct kvm_engine *engine, unsigned index, struct error *err);
void kvm_vcpu_destroy(struct kvm_vcpu *vcpu);
void kvm_vcpu_run(struct engine *engine, unsigned index, struct vcpu_exit *exit);
void kvm_vcpu_kick(struct engine *engine, unsigned index);
/* Brings a stopped vCPU to where kvm_state_get finds everything. Returns 0 or -errno. */
int kvm_vcpu_settle(struct kvm_vcpu *vcpu);
/* Makes KVM_RUN return, so that the loop looks at what changed. Any thread. */
void kvm_vcpu_interrupt(struct kvm_vcpu *vcpu);

/* No vCPU is in the guest from the one call to the other. Under the machine lock, on a thread that
 * runs no vCPU or has just left the guest. */
void kvm_vcpus_keep_out(struct kvm_engine *engine);
void kvm_vcpus_let_in(struct kvm_engine *engine);

/* kvm_irqchip.c */
int kvm_irqchip_create(struct kvm_engine *engine, struct error *err);
/* On the vCPU's thread before KVM_RUN: injects or asks for a window. Returns 0 or -errno. */
int kvm_irqchip_prepare(struct kvm_vcpu *vcpu);
void kvm_irqchip_end_of_interrupt(struct kvm_vcpu *vcpu, uint8_t vector);

/* kvm_smm.c: all do nothing on machines without SMM. Refuses one if the host's KVM has none. */
int kvm_smm_create(struct kvm_engine *engine, struct error *err);
/* On the vCPU's thread before KVM_RUN. Returns 0 or -errno, as the next two. */
int kvm_smm_prepare(struct kvm_vcpu *vcpu);
int kvm_smm_get_base(struct kvm_vcpu *vcpu, struct cpu_state *state);
int kvm_smm_set_base(struct kvm_vcpu *vcpu, const struct cpu_state *state);
void kvm_smm_get_events(
	struct kvm_vcpu *vcpu, const struct kvm_vcpu_events *events, struct cpu_state *state);
void kvm_smm_set_events(
	struct kvm_vcpu *vcpu, const struct cpu_state *state, struct kvm_vcpu_events *events);

/* kvm_eventfd.c: cpu_bus.doorbell and cpu_bus.irqfd */
void kvm_eventfd_doorbell(void *context, const struct doorbell *doorbell, bool attached);
int kvm_eventfd_irqfd(void *context, int fd, gpa_t address, uint32_t data);

/* kvm_irqchip.c: tells the kernel all routes. Under route_lock. Returns 0 or -errno. */
int kvm_irqchip_load_routes(struct kvm_engine *engine);

/* kvm_cpuid.c */
#define KVM_CPUID_MAX_ENTRIES 256
struct kvm_cpuid_table {
	struct kvm_cpuid2 header;
	struct kvm_cpuid_entry2 entries[KVM_CPUID_MAX_ENTRIES];
};
/*
 * The model's answers on vCPU `index`, less the features that `supported` lacks, with the rate that
 * its time-stamp counter really has.
 */
void kvm_cpuid_build(const struct cpu_model *model, unsigned index,
	const struct kvm_cpuid_table *supported, bool has_tsc_deadline, uint64_t tsc_hz,
	struct kvm_cpuid_table *table);
int kvm_cpuid_set(struct kvm_vcpu *vcpu, struct error *err);

/* kvm_msr.c */
int kvm_msr_filter(struct kvm_engine *engine, struct error *err);
/* Completes an access that the filter refused. */
void kvm_msr_exit(struct kvm_vcpu *vcpu);
int kvm_msr_create_machine_checks(struct kvm_vcpu *vcpu);
/* Finds out, on a vCPU, which registers of cpu_state this host has. */
int kvm_msr_probe(struct kvm_engine *engine, struct kvm_vcpu *vcpu, struct error *err);
int kvm_msr_get_state(struct kvm_vcpu *vcpu, struct cpu_state *state);
int kvm_msr_set_state(struct kvm_vcpu *vcpu, const struct cpu_state *state, struct error *err);
int kvm_msr_get(struct kvm_vcpu *vcpu, uint32_t index, uint64_t *value);
int kvm_msr_set(struct kvm_vcpu *vcpu, uint32_t index, uint64_t value);

/* kvm_clock.c */
int kvm_clock_set_rate(struct kvm_vcpu *vcpu);
/* On the vCPU's thread when `run` is entered: guest time may have stood still or been set. */
void kvm_clock_follow(struct kvm_vcpu *vcpu);
int kvm_clock_get_tsc(struct kvm_vcpu *vcpu, struct cpu_state *state);
int kvm_clock_set_tsc(struct kvm_vcpu *vcpu, uint64_t tsc, ns_t time_ns);
int kvm_clock_set_paravirtual(struct kvm_engine *engine);

/* kvm_apic.c */
void kvm_apic_to_state(const struct kvm_lapic_state *from, bool x2apic, struct cpu_apic *to);
void kvm_apic_from_state(const struct cpu_apic *from, bool x2apic, struct kvm_lapic_state *to);

/* kvm_state.c */
int kvm_state_get(struct engine *engine, unsigned index, struct cpu_state *state);
int kvm_state_set(
	struct engine *engine, unsigned index, const struct cpu_state *state, struct error *err);

#endif
