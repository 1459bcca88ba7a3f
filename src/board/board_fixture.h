/*
 * What holds for the devices of any board: their states are declared whole, and save, restore, save
 * is the identity. Included after cmocka.h.
 */
#ifndef BOARD_BOARD_FIXTURE_H
#define BOARD_BOARD_FIXTURE_H

#include "board/board.h"

#include <string.h>

static inline void assert_states_are_declared_whole(
	const struct machine *machine, unsigned at_least)
{
	assert_true(machine->nr_devices >= at_least);
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct device_type *type = machine->devices[i].type;
		struct error err = { 0 };

		if (!state_covers(type->state, &err))
			fail_msg("%s: %s", type->name, err.text);
		assert_string_equal(type->name, type->state->name);
		assert_non_null(type->reset);
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(
				machine->devices[i].instance, machine->devices[j].instance);
	}
}

static inline void encode_devices(const struct machine *machine, struct state_buffer *buffer)
{
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct device *device = &machine->devices[i];

		assert_int_equal(state_encode(buffer, device->type->state, device->instance,
					 device_state(device)),
			0);
	}
}

static inline void decode_devices(const struct machine *machine, const struct state_buffer *saved)
{
	size_t at = 0;

	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct device *device = &machine->devices[i];
		struct error err = { 0 };
		long size = state_decode(saved->bytes + at, saved->size - at, device->type->state,
			device_state(device), &err);

		if (size < 0)
			fail_msg("%s: %s", device->instance, err.text);
		at += (size_t)size;
	}
	assert_int_equal(at, saved->size);
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct device *device = &machine->devices[i];

		if (device->type->restored)
			device->type->restored(device->object);
	}
}

/* The state that the devices are in is not that of a reset, and comes back after one. */
static inline void assert_state_comes_back(struct machine *machine)
{
	struct state_buffer saved = { 0 }, again = { 0 };

	encode_devices(machine, &saved);
	machine_reset(machine);
	encode_devices(machine, &again);
	assert_true(again.size != saved.size || memcmp(again.bytes, saved.bytes, saved.size) != 0);
	state_buffer_finish(&again);
	decode_devices(machine, &saved);
	encode_devices(machine, &again);
	assert_int_equal(again.size, saved.size);
	assert_memory_equal(again.bytes, saved.bytes, saved.size);
	state_buffer_finish(&again);
	state_buffer_finish(&saved);
}

#endif
