#include "machine/machine.h"

#include "base/trace.h"

#include <assert.h>
#include <string.h>

void machine_init(struct machine *machine)
{
	memset(machine, 0, sizeof(*machine));
	pthread_mutex_init(&machine->lock, NULL);
	pthread_mutex_init(&machine->turn, NULL);
	doorbell_table_init(&machine->doorbells);
	clock_init(&machine->clock);
}

void machine_finish(struct machine *machine)
{
	guest_memory_finish(&machine->memory);
	doorbell_table_finish(&machine->doorbells);
	pthread_mutex_destroy(&machine->turn);
	pthread_mutex_destroy(&machine->lock);
}

void machine_add_device(
	struct machine *machine, const struct device_type *type, const char *instance, void *object)
{
	assert(machine->nr_devices < MACHINE_MAX_DEVICES);
	machine->devices[machine->nr_devices++] =
		(struct device){ .type = type, .instance = instance, .object = object };
}

void machine_remove_device(struct machine *machine, const void *object)
{
	unsigned at = 0;

	while (at < machine->nr_devices && machine->devices[at].object != object)
		at++;
	assert(at < machine->nr_devices);
	machine->nr_devices--;
	memmove(&machine->devices[at], &machine->devices[at + 1],
		(machine->nr_devices - at) * sizeof(machine->devices[0]));
}

void machine_reset(struct machine *machine)
{
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		struct device *device = &machine->devices[i];

		if (device->type->reset)
			device->type->reset(device->object);
	}
}

void machine_request(struct machine *machine, enum machine_request request)
{
	static const char *const names[] = {
		[MACHINE_REQUEST_NONE] = "none",
		[MACHINE_REQUEST_RESET] = "reset",
		[MACHINE_REQUEST_POWEROFF] = "poweroff",
		[MACHINE_REQUEST_PAUSE] = "pause",
		[MACHINE_REQUEST_TRIPLE_FAULT] = "triple-fault",
		[MACHINE_REQUEST_DEBUG_EXIT] = "debug-exit",
	};

	trace(machine_request, trace_text(names[request]));
	machine->request = request;
	if (machine->requested)
		machine->requested(machine->requested_context);
}

/* The name of who gets an access, for a trace; under the lock. */
static uint64_t claimant(const struct address_space *space, uint64_t address)
{
	const struct io_region *region =
		trace_is_on(TRACE_CATEGORY_io) ? address_space_find(space, address) : NULL;

	return trace_text(region ? region->name : NULL);
}

void machine_attach_doorbell(struct machine *machine, struct doorbell *doorbell)
{
	const struct cpu_bus *bus = &machine->cpu_bus;

	doorbell_table_attach(&machine->doorbells, doorbell);
	if (bus->doorbell)
		bus->doorbell(bus->engine, doorbell, true);
}

void machine_detach_doorbell(struct machine *machine, struct doorbell *doorbell)
{
	const struct cpu_bus *bus = &machine->cpu_bus;

	if (bus->doorbell)
		bus->doorbell(bus->engine, doorbell, false);
	doorbell_table_detach(&machine->doorbells, doorbell);
}

uint64_t machine_pio_read(struct machine *machine, uint16_t port, unsigned size)
{
	uint64_t value, name;

	machine_lock(machine);
	name = claimant(&machine->pio, port);
	value = address_space_read(&machine->pio, port, size);
	machine_unlock(machine);
	trace(port_read, name, port, size, value);
	return value;
}

void machine_pio_write(struct machine *machine, uint16_t port, unsigned size, uint64_t value)
{
	uint64_t name;

	if (doorbell_table_write(&machine->doorbells, true, port, size, value)) {
		trace(port_write, trace_text("doorbell"), port, size, value);
		return;
	}
	machine_lock(machine);
	name = claimant(&machine->pio, port);
	address_space_write(&machine->pio, port, size, value);
	machine_unlock(machine);
	trace(port_write, name, port, size, value);
}

static uint64_t mmio_read(struct machine *machine, gpa_t address, unsigned size, bool smm)
{
	uint64_t value, name;

	machine_lock(machine);
	name = claimant(&machine->mmio, address);
	machine->smm_access = smm;
	value = address_space_read(&machine->mmio, address, size);
	machine->smm_access = false;
	machine_unlock(machine);
	trace(mmio_read, name, address, size, value);
	return value;
}

static void mmio_write(
	struct machine *machine, gpa_t address, unsigned size, uint64_t value, bool smm)
{
	uint64_t name;

	if (doorbell_table_write(&machine->doorbells, false, address, size, value)) {
		trace(mmio_write, trace_text("doorbell"), address, size, value);
		return;
	}
	machine_lock(machine);
	name = claimant(&machine->mmio, address);
	machine->smm_access = smm;
	address_space_write(&machine->mmio, address, size, value);
	machine->smm_access = false;
	machine_unlock(machine);
	trace(mmio_write, name, address, size, value);
}

uint64_t machine_mmio_read(struct machine *machine, gpa_t address, unsigned size)
{
	return mmio_read(machine, address, size, false);
}

void machine_mmio_write(struct machine *machine, gpa_t address, unsigned size, uint64_t value)
{
	mmio_write(machine, address, size, value, false);
}

uint64_t machine_mmio_read_smm(struct machine *machine, gpa_t address, unsigned size)
{
	return mmio_read(machine, address, size, true);
}

void machine_mmio_write_smm(struct machine *machine, gpa_t address, unsigned size, uint64_t value)
{
	mmio_write(machine, address, size, value, true);
}
