/*
 * The two-stage watchdog timer of the 6300ESB (Intel 300641, chapter 16): stage 1 ends with an
 * interrupt, stage 2 with what the machine is to do about a guest that has died.
 *
 * Not modelled: SMI at the end of stage 1, the WDT_TOUT# pin apart from its effect, the counter's
 * value when the preload registers are read. Runs under the machine lock.
 */
#include "watchdog/i6300esb.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BAR_SIZE 16

enum i6300esb_register {
	PRELOAD_1 = 0x0,
	PRELOAD_2 = 0x4,
	INTERRUPT_STATUS = 0x8,
	RELOAD = 0xc,
};

#define PRELOAD_BITS     BITS(19, 0)
#define RELOAD_PING      BIT(8)
#define RELOAD_TIMED_OUT BIT(9)
#define UNLOCK_1         0x80
#define UNLOCK_2         0x86

/* Configuration space. */
#define CONFIG            0x60
#define CONFIG_INTERRUPT  BITS(1, 0) /* 0: INTx */
#define CONFIG_FAST       BIT(2)     /* counts in 2^5 clocks, else in 2^15 */
#define CONFIG_OUTPUT_OFF BIT(5)
#define LOCK              0x68
#define LOCK_LOCKED       BIT(0)
#define LOCK_ENABLED      BIT(1)
#define LOCK_FREE_RUNNING BIT(2)

#define CLOCK_HZ 33000000

static uint32_t config(const struct i6300esb *chip)
{
	return pci_config_get(&chip->function, CONFIG, 2);
}

static void set_interrupt(struct i6300esb *chip, bool level)
{
	chip->state.interrupts = level;
	pci_set_intx(&chip->function, level);
}

static void start_stage(struct i6300esb *chip, uint8_t stage)
{
	uint64_t clocks = (uint64_t)chip->state.preload[stage - 1]
			  << (config(chip) & CONFIG_FAST ? 5 : 15);

	chip->state.stage = stage;
	chip->state.deadline_ns =
		(uint64_t)(clock_now(&chip->machine->clock) + ticks_to_ns(clocks, CLOCK_HZ));
	timer_arm(&chip->timer, (ns_t)chip->state.deadline_ns);
}

static void stop(struct i6300esb *chip)
{
	chip->state.stage = 0;
	chip->state.deadline_ns = 0;
	timer_cancel(&chip->timer);
}

static void bite(struct i6300esb *chip)
{
	static const char *const what[] = { [MACHINE_REQUEST_NONE] = "nothing is done",
		[MACHINE_REQUEST_RESET] = "it is reset",
		[MACHINE_REQUEST_POWEROFF] = "it is switched off",
		[MACHINE_REQUEST_PAUSE] = "it is paused" };

	log_guest("the guest has not served its watchdog; %s", what[chip->action]);
	chip->state.timed_out = true;
	if (chip->action != MACHINE_REQUEST_NONE)
		machine_request(chip->machine, chip->action);
}

static void expire(void *context)
{
	struct i6300esb *chip = context;

	if (chip->state.stage == 1) {
		if (!(config(chip) & CONFIG_INTERRUPT))
			set_interrupt(chip, true);
		start_stage(chip, 2);
		return;
	}
	stop(chip);
	if (!(config(chip) & CONFIG_OUTPUT_OFF))
		bite(chip);
	if (chip->state.free_running)
		start_stage(chip, 1);
}

/* True if the two values that unlock the next write came before this one. */
static bool unlock(struct i6300esb *chip, uint64_t offset, uint64_t value)
{
	struct i6300esb_state *state = &chip->state;

	if (offset == RELOAD && value == UNLOCK_1) {
		state->unlocked = 1;
		return false;
	}
	if (offset == RELOAD && value == UNLOCK_2 && state->unlocked == 1) {
		state->unlocked = 2;
		return false;
	}
	if (state->unlocked != 2)
		return false;
	state->unlocked = 0;
	return true;
}

static void write_register(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct i6300esb *chip = device;
	struct i6300esb_state *state = &chip->state;

	(void)size;
	if (offset == INTERRUPT_STATUS) {
		if (value & BIT(0))
			set_interrupt(chip, false);
		return;
	}
	if (!unlock(chip, offset, value))
		return;
	switch (offset) {
	case PRELOAD_1:
	case PRELOAD_2: state->preload[offset / 4] = (uint32_t)(value & PRELOAD_BITS); break;
	case RELOAD:
		if (value & RELOAD_TIMED_OUT)
			state->timed_out = false;
		if ((value & RELOAD_PING) && state->enabled)
			start_stage(chip, 1);
		break;
	}
}

static uint64_t read_register(void *device, uint64_t offset, unsigned size)
{
	const struct i6300esb *chip = device;
	uint64_t value = 0;

	switch (offset & ~UINT64_C(3)) {
	case PRELOAD_1: value = chip->state.preload[0]; break;
	case PRELOAD_2: value = chip->state.preload[1]; break;
	case INTERRUPT_STATUS: value = chip->state.interrupts; break;
	case RELOAD: value = chip->state.timed_out ? RELOAD_TIMED_OUT : 0; break;
	}
	return value >> (8 * (offset & 3)) & byte_mask(size);
}

/* The register shows what holds: once it is locked, the others stay. */
static void show_lock(struct i6300esb *chip)
{
	const struct i6300esb_state *state = &chip->state;

	pci_config_set(&chip->function, LOCK, 1,
		(uint32_t)((state->locked ? LOCK_LOCKED : 0) | (state->enabled ? LOCK_ENABLED : 0) |
			   (state->free_running ? LOCK_FREE_RUNNING : 0)));
}

static void config_written(void *device, unsigned offset, unsigned size)
{
	struct i6300esb *chip = device;
	struct i6300esb_state *state = &chip->state;
	uint32_t value = pci_config_get(&chip->function, LOCK, 1);
	bool was_enabled = state->enabled;

	if (offset > LOCK || offset + size <= LOCK)
		return;
	if (!state->locked) {
		state->locked = value & LOCK_LOCKED;
		state->enabled = value & LOCK_ENABLED;
		state->free_running = value & LOCK_FREE_RUNNING;
	}
	show_lock(chip);
	if (state->enabled && !was_enabled)
		start_stage(chip, 1);
	else if (!state->enabled)
		stop(chip);
}

/* The machine's reset; that it timed out is what the next system will ask. */
static void reset(void *device)
{
	struct i6300esb *chip = device;
	bool timed_out = chip->state.timed_out;

	stop(chip);
	memset(&chip->state, 0, sizeof(chip->state));
	chip->state.preload[0] = chip->state.preload[1] = PRELOAD_BITS;
	chip->state.timed_out = timed_out;
}

static void restored(void *device)
{
	struct i6300esb *chip = device;

	timer_cancel(&chip->timer);
	if (chip->state.stage)
		timer_arm(&chip->timer, (ns_t)chip->state.deadline_ns);
}

static const struct state_field fields[] = {
	STATE_TIME(struct i6300esb_state, deadline_ns),
	STATE_ARRAY(struct i6300esb_state, preload),
	STATE_MAX(struct i6300esb_state, stage, 2),
	STATE_MAX(struct i6300esb_state, unlocked, 2),
	STATE(struct i6300esb_state, enabled),
	STATE(struct i6300esb_state, locked),
	STATE(struct i6300esb_state, free_running),
	STATE(struct i6300esb_state, timed_out),
	STATE(struct i6300esb_state, interrupts),
	STATE_PAD(struct i6300esb_state, reserved),
};
static const struct state_table table =
	STATE_TABLE_OF(struct i6300esb_state, "i6300esb", fields, NULL);

const struct device_type i6300esb_type = {
	.name = "i6300esb",
	.state = &table,
	.state_offset = offsetof(struct i6300esb, state),
	.reset = reset,
	.restored = restored,
};

int i6300esb_create(struct i6300esb **out, const char *name, struct machine *machine,
	enum machine_request action, struct error *err)
{
	static const struct pci_identity identity = {
		.vendor_id = 0x8086,
		.device_id = 0x25ab,
		.revision = 2,
		.class_code = 0x088000,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100,
		.interrupt_pin = 1,
	};
	static const struct pci_function_ops ops = { .config_written = config_written };
	static const struct io_ops registers = { read_register, write_register, 4 };
	static const struct pci_bar bar = {
		.kind = PCI_BAR_MEMORY32, .size = BAR_SIZE, .ops = &registers, .name = "watchdog"
	};
	struct i6300esb *chip = calloc(1, sizeof(*chip));

	*out = NULL;
	if (!chip)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", name);
	chip->machine = machine;
	chip->action = action;
	timer_init(&chip->timer, &machine->clock, expire, chip);
	pci_function_init(&chip->function, name, &identity, &ops, chip);
	pci_add_bar(&chip->function, 0, &bar);
	pci_add_register(&chip->function, CONFIG, 2, 0,
		(uint32_t)(CONFIG_INTERRUPT | CONFIG_FAST | CONFIG_OUTPUT_OFF));
	pci_add_register(&chip->function, LOCK, 1, 0,
		(uint32_t)(LOCK_LOCKED | LOCK_ENABLED | LOCK_FREE_RUNNING));
	machine_add_device(machine, &i6300esb_type, name, chip);
	reset(chip);
	*out = chip;
	return 0;
}

void i6300esb_destroy(struct i6300esb *chip)
{
	if (!chip)
		return;
	machine_lock(chip->machine);
	timer_cancel(&chip->timer);
	machine_remove_device(chip->machine, chip);
	machine_unlock(chip->machine);
	pci_function_finish(&chip->function);
	free(chip);
}
