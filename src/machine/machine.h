/*
 * A machine: memory, address spaces, clock, devices and the wires to the processors.
 *
 * One lock, the machine lock, guards everything in it but guest memory. vCPU threads take it for
 * each access to a device, the event loop for timers and input. Never call out of a device
 * (a back end's blocking write, an engine's run) while holding it.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "machine/address_space.h"
#include "machine/clock.h"
#include "machine/cpu_bus.h"
#include "machine/device.h"
#include "machine/doorbell.h"
#include "machine/irq_line.h"
#include "machine/memory.h"

#include <pthread.h>
#include <stdatomic.h>

/* What a guest can ask of whoever runs the machine. A later one replaces an earlier one. */
enum machine_request {
	MACHINE_REQUEST_NONE,
	MACHINE_REQUEST_RESET,
	MACHINE_REQUEST_POWEROFF,
	MACHINE_REQUEST_TRIPLE_FAULT, /* a reset, and said so */
	MACHINE_REQUEST_PAUSE,
	MACHINE_REQUEST_DEBUG_EXIT, /* isa-debug-exit; machine.exit_code holds the code */
};

#define MACHINE_MAX_DEVICES 128
#define MACHINE_MAX_VCPUS   64

struct machine {
	pthread_mutex_t lock;
	/* Held while waiting for the lock, so that who asks for it again comes after who waits:
	 * a guest that hammers a port must not starve the event loop. */
	pthread_mutex_t turn;
	_Atomic unsigned nr_waiting; /* for the lock */
	struct guest_memory memory;  /* its layout is immutable once running */
	struct address_space pio;
	struct address_space mmio;
	struct doorbell_table doorbells;
	struct clock clock;
	struct cpu_bus cpu_bus; /* immutable once running */
	struct device devices[MACHINE_MAX_DEVICES];
	unsigned nr_devices;
	unsigned nr_vcpus; /* immutable */
	/* There is system management mode: set by the board, before the engine is created. */
	bool has_smm;
	/* The engine that will be made serves eventfds itself (cpu_bus.irqfd and doorbells), and
	 * need not be told of what is written to memory. Set before devices are made. */
	bool has_irqfd;
	/* The access that is being made is one of machine_mmio_read_smm and _write_smm. */
	bool smm_access;

	enum machine_request request;
	int exit_code; /* of MACHINE_REQUEST_DEBUG_EXIT */
	/* Called under the lock when a request arrives; must only wake somebody. */
	void (*requested)(void *context);
	void *requested_context;
};

void machine_init(struct machine *machine);
void machine_finish(struct machine *machine);

static inline void machine_lock(struct machine *machine)
{
	if (atomic_load_explicit(&machine->nr_waiting, memory_order_relaxed) == 0 &&
		pthread_mutex_trylock(&machine->lock) == 0)
		return;
	atomic_fetch_add(&machine->nr_waiting, 1);
	pthread_mutex_lock(&machine->turn);
	pthread_mutex_lock(&machine->lock);
	pthread_mutex_unlock(&machine->turn);
	atomic_fetch_sub(&machine->nr_waiting, 1);
}

static inline void machine_unlock(struct machine *machine)
{
	pthread_mutex_unlock(&machine->lock);
}

void machine_add_device(struct machine *machine, const struct device_type *type,
	const char *instance, void *object);

/* Under the lock, for a device that is unplugged. */
void machine_remove_device(struct machine *machine, const void *object);

/* Resets every device, in the order they were added. Under the lock. */
void machine_reset(struct machine *machine);

/* Under the lock, from a device or a vCPU thread. */
void machine_request(struct machine *machine, enum machine_request request);

/*
 * Doorbells, in this process and, where the engine can, in the host's kernel. Under the lock. The
 * caller keeps `doorbell` and its eventfd until it is detached.
 */
void machine_attach_doorbell(struct machine *machine, struct doorbell *doorbell);
void machine_detach_doorbell(struct machine *machine, struct doorbell *doorbell);

/*
 * A vCPU's access to ports and to physical addresses that are not RAM. These take the lock,
 * but for writes to a doorbell.
 * `size` is 1, 2 or 4 bytes for ports, up to 8 for MMIO.
 */
uint64_t machine_pio_read(struct machine *machine, uint16_t port, unsigned size);
void machine_pio_write(struct machine *machine, uint16_t port, unsigned size, uint64_t value);
uint64_t machine_mmio_read(struct machine *machine, gpa_t address, unsigned size);
void machine_mmio_write(struct machine *machine, gpa_t address, unsigned size, uint64_t value);
/* The same by a processor in system management mode, which some devices listen to alone. */
uint64_t machine_mmio_read_smm(struct machine *machine, gpa_t address, unsigned size);
void machine_mmio_write_smm(struct machine *machine, gpa_t address, unsigned size, uint64_t value);

#endif
