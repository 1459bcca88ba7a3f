/*
 * Fuzz target: what a guest can do to the floppy disk controller, with a disk that can be written
 * and an empty drive, while time passes and the medium is changed. Afterwards the state must be one
 * that a restore accepts, and come back the same.
 */
#include "storage/i82077.h"

#include "machine/fuzz.h"

#include <unistd.h>

struct target {
	struct machine machine;
	struct i82077 chip;
	struct block_device *image;
	bool is_in;
	uint8_t grant; /* what DMA moves at once; 0: it is masked */
	ns_t now_ns;
};

static ns_t target_now(void *context)
{
	return ((struct target *)context)->now_ns;
}

static unsigned move(void *context, uint8_t *bytes, unsigned size, bool to_memory, bool *terminal)
{
	const struct target *target = context;
	unsigned moved = size < target->grant * 8u ? size : target->grant * 8u;

	if (!to_memory)
		memset(bytes, target->grant, moved);
	*terminal = moved && (target->grant & 1);
	return moved;
}

static void open_image(struct target *target)
{
	static const struct block_options raw = { .format = "raw", .aio = BLOCK_AIO_THREADS };
	char path[] = "/tmp/atoll-fuzz-XXXXXX";
	struct block_options options = raw;
	int fd = mkstemp(path);

	options.path = path;
	if (fd < 0 || ftruncate(fd, 360 << 10) < 0 ||
		block_device_open(&target->image, &options, NULL, NULL))
		abort();
	close(fd);
	unlink(path);
}

static void change_medium(struct target *target)
{
	if (target->is_in)
		i82077_remove(&target->chip, 0);
	else if (i82077_insert(&target->chip, 0, target->image, NULL))
		abort();
	target->is_in = !target->is_in;
}

static void act(struct target *target, struct fuzz_input *input)
{
	static const uint8_t commands[] = { 0xe6, 0x46, 0x45, 0x4d, 0x4a, 0x0f, 0x07, 0x08, 0x13,
		0x03, 0x42, 0x56, 0x6c, 0x0e };
	uint8_t action = fuzz_u8(input), value = fuzz_u8(input);
	struct clock *clock = &target->machine.clock;

	switch (action % 8) {
	case 0: i82077_read(&target->chip, value % 8); break;
	case 1: i82077_write(&target->chip, action >> 4 & 7, value); break;
	case 2: i82077_write(&target->chip, 5, value); break;
	case 3: i82077_write(&target->chip, 5, commands[value % sizeof(commands)]); break;
	case 4: target->grant = value; break;
	case 5:
		for (unsigned i = 0; i < value % 16u && clock_next_deadline(clock) != CLOCK_NEVER;
			i++) {
			target->now_ns = clock_next_deadline(clock);
			clock_run(clock);
			drive_drain(&target->chip.floppies[0].drive, false);
		}
		break;
	case 6:
		for (unsigned i = 0; i < 8; i++)
			i82077_write(&target->chip, 5, fuzz_u8(input) % 20);
		break;
	default:
		if (value < 8)
			change_medium(target);
		else if (value < 16)
			i82077_type.reset(&target->chip);
		else
			i82077_write(&target->chip, 2, 0x1c);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct target *target = calloc(1, sizeof(*target));
	const struct i82077_wiring wiring = { .dma = move, .context = target };
	struct fuzz_input input = { bytes, size };

	machine_init(&target->machine);
	clock_init_source(&target->machine.clock, target_now, target);
	open_image(target);
	i82077_init(&target->chip, &target->machine, &wiring);
	if (i82077_plug(&target->chip, 0, "floppy0", false, NULL) ||
		i82077_plug(&target->chip, 1, "floppy1", false, NULL))
		abort();
	machine_lock(&target->machine);
	machine_add_device(&target->machine, &i82077_type, "fdc", &target->chip);
	change_medium(target);
	while (input.left > 0)
		act(target, &input);
	drive_drain(&target->chip.floppies[0].drive, false);
	fuzz_check_states(&target->machine, true);
	if (target->is_in)
		change_medium(target);
	machine_unlock(&target->machine);
	i82077_finish(&target->chip);
	block_device_close(target->image);
	machine_finish(&target->machine);
	free(target);
	return 0;
}
