/*
 * What every device is to the machine: something with a state that can be reset, saved and looked
 * at. Behaviour is wired separately (ports, lines, timers), with typed dependencies at `init`.
 *
 * A device is `struct foo_state` (guest-visible, plain data) inside `struct foo` (lines, timers,
 * back ends), and one `struct device_type foo_type`.
 */
#ifndef MACHINE_DEVICE_H
#define MACHINE_DEVICE_H

#include "state/state.h"

struct device_type {
	const char *name; /* "i8254" */
	const struct state_table *state;
	size_t state_offset; /* of the `_state` struct in the device */
	/* To the state after power-on. Under the machine lock. */
	void (*reset)(void *device);
	/* The state was replaced: derive lines and timers from it again. */
	void (*restored)(void *device);
};

struct device {
	const struct device_type *type;
	const char *instance; /* unique in the machine: "com1" */
	void *object;
};

static inline void *device_state(const struct device *device)
{
	return (char *)device->object + device->type->state_offset;
}

#endif
