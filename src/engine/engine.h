/*
 * The seam between a machine and what executes its processors.
 *
 * An engine is told the machine it serves (memory, address spaces, cpu_bus) and runs vCPUs on
 * threads that its caller makes. It performs the guest's port and MMIO accesses itself, through
 * machine_pio_* and machine_mmio_*, and returns only when its caller has to decide something.
 * No device asks which engine runs.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/error.h"
#include "machine/machine.h"
#include "x86/cpu_model.h"
#include "x86/cpu_state.h"

enum vcpu_exit_reason {
	VCPU_EXIT_KICKED,       /* engine_ops.kick, or a machine request */
	VCPU_EXIT_TRIPLE_FAULT, /* the processor is in shutdown; only a reset ends it */
	VCPU_EXIT_ERROR,        /* the engine cannot go on; text says why */
};

struct vcpu_exit {
	enum vcpu_exit_reason reason;
	char text[256];
};

/* How the software engine executes. */
enum soft_mode { SOFT_MODE_INTERPRET, SOFT_MODE_TRANSLATE };

struct engine_config {
	struct machine *machine; /* its memory layout is complete */
	const struct cpu_model *cpu_model;
	enum soft_mode soft_mode;
	bool soft_direct;      /* with SOFT_MODE_TRANSLATE: hot user code in processes of its own */
	bool host_tsc;         /* soft: the time-stamp counter after a reset is the host's */
	bool count_exactly;    /* also what costs speed to count */
	const char *dump_code; /* a file for translated code, or NULL */
};

struct engine;

/* Counters of one engine, for --stats and bench. */
struct engine_counter {
	const char *name;
	uint64_t value;
	const char *meaning;
};

struct engine_ops {
	const char *name; /* "kvm", "soft" */
	bool has_irqfd;   /* machine.has_irqfd */

	/* Can this host run it? Returns 0, or fills `err` with the reason and the remedy. */
	int (*probe)(struct error *err);

	/* Creates the engine with machine->nr_vcpus vCPUs in reset state; fills machine->cpu_bus's
	 * engine half. */
	int (*create)(
		const struct engine_config *config, struct engine **engine, struct error *err);
	void (*destroy)(struct engine *engine);

	/*
	 * Runs vCPU `index` on the calling thread until something has to be decided. A halted or
	 * waiting vCPU blocks inside. Not under the machine lock.
	 */
	void (*run)(struct engine *engine, unsigned index, struct vcpu_exit *exit);

	/* Makes `run` of that vCPU return VCPU_EXIT_KICKED soon, now or when next called.
	 * Any thread; async-signal-safe. */
	void (*kick)(struct engine *engine, unsigned index);

	/* The whole architectural state. Only while `run` is not active for that vCPU. */
	int (*get_state)(struct engine *engine, unsigned index, struct cpu_state *state);
	int (*set_state)(struct engine *engine, unsigned index, const struct cpu_state *state,
		struct error *err);

	/* Fills up to `max` counters, returns how many there are. May be NULL. */
	unsigned (*counters)(struct engine *engine, struct engine_counter *counters, unsigned max);
};

/* First member of each engine's own struct. */
struct engine {
	const struct engine_ops *ops;
	struct machine *machine;
	const struct cpu_model *cpu_model;
};

extern const struct engine_ops kvm_engine_ops;
extern const struct engine_ops soft_engine_ops;

/*
 * Finds the engine named "kvm", "soft" or "auto". `auto` takes KVM only where it is backed by
 * hardware and usable, and always fills `why` (one line, no newline) with what it took and why.
 * Returns NULL and fills `err` if the named one cannot run here.
 */
const struct engine_ops *engine_select(
	const char *name, char *why, size_t why_size, struct error *err);

#endif
