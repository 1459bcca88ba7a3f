/*
 * The 82077AA against its data sheet (290166), with one drive and disks of random bytes: commands
 * and their result phases, resets, the disk change line, DMA and transfers by port.
 */
#include "storage/i82077_internal.h"

#include "storage/storage_fixture.h"

#define HD_BYTES (1440u << 10)
#define HD_TRACK (18 * FLOPPY_SECTOR)

struct fixture {
	struct machine machine;
	struct i82077 chip;
	struct block_device *image;
	uint8_t content[HD_BYTES];
	ns_t now_ns;
	bool irq;
	unsigned rises;
	/* What DMA moves. */
	uint8_t memory[40 * FLOPPY_SECTOR];
	unsigned moved, count; /* TC comes with byte number `count` */
	bool masked;
};

static ns_t fixture_now(void *context)
{
	return ((struct fixture *)context)->now_ns;
}

static void set_irq(void *context, unsigned pin, bool level)
{
	struct fixture *f = context;

	(void)pin;
	f->rises += level && !f->irq;
	f->irq = level;
}

static unsigned move(void *context, uint8_t *bytes, unsigned size, bool to_memory, bool *terminal)
{
	struct fixture *f = context;

	*terminal = false;
	if (f->masked)
		return 0;
	if (size > f->count - f->moved)
		size = f->count - f->moved;
	if (to_memory)
		memcpy(f->memory + f->moved, bytes, size);
	else
		memcpy(bytes, f->memory + f->moved, size);
	f->moved += size;
	*terminal = f->moved == f->count;
	return size;
}

static struct block_device *open_image(const uint8_t *content, size_t bytes, bool read_only)
{
	char path[] = "/tmp/atoll-floppy-XXXXXX";
	struct block_options options = {
		.path = path, .format = "raw", .aio = BLOCK_AIO_THREADS, .read_only = read_only
	};
	struct block_device *image;
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, content, bytes) != (ssize_t)bytes ||
		block_device_open(&image, &options, NULL, NULL))
		abort();
	close(fd);
	unlink(path);
	return image;
}

static void insert(struct fixture *f, struct block_device *image)
{
	machine_lock(&f->machine);
	assert_int_equal(i82077_insert(&f->chip, 0, image, NULL), 0);
	machine_unlock(&f->machine);
	f->image = image;
}

static void take_out(struct fixture *f)
{
	machine_lock(&f->machine);
	assert_ptr_equal(i82077_remove(&f->chip, 0), f->image);
	machine_unlock(&f->machine);
	block_device_close(f->image);
	f->image = NULL;
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	uint8_t value;

	machine_lock(&f->machine);
	value = i82077_read(&f->chip, reg);
	machine_unlock(&f->machine);
	return value;
}

static void out(struct fixture *f, unsigned reg, uint8_t value)
{
	machine_lock(&f->machine);
	i82077_write(&f->chip, reg, value);
	machine_unlock(&f->machine);
}

/* Time goes on, and the host's transfers end. */
static void settle_chip(struct fixture *f)
{
	struct clock *clock = &f->machine.clock;

	machine_lock(&f->machine);
	for (unsigned i = 0; i < 3000 && clock_next_deadline(clock) != CLOCK_NEVER; i++) {
		f->now_ns = clock_next_deadline(clock);
		clock_run(clock);
		drive_drain(&f->chip.floppies[0].drive, false);
	}
	drive_drain(&f->chip.floppies[0].drive, false);
	machine_unlock(&f->machine);
}

static void command(struct fixture *f, const uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(in(f, FDC_MSR) & (FDC_MSR_RQM | FDC_MSR_DIO), FDC_MSR_RQM);
		out(f, FDC_FIFO, bytes[i]);
	}
}

#define COMMAND(f, ...)                                                                            \
	command(f, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void expect(struct fixture *f, const uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(in(f, FDC_MSR), FDC_MSR_RQM | FDC_MSR_DIO | FDC_MSR_BUSY);
		assert_int_equal(in(f, FDC_FIFO), bytes[i]);
	}
	assert_int_equal(in(f, FDC_MSR), FDC_MSR_RQM);
}

#define EXPECT(f, ...)                                                                             \
	expect(f, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct i82077_wiring wiring = {
		.irq = { .set = set_irq, .context = f }, .dma = move, .context = f
	};
	uint32_t seed = 1;

	machine_init(&f->machine);
	clock_init_source(&f->machine.clock, fixture_now, f);
	for (size_t i = 0; i < sizeof(f->content); i++)
		f->content[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
	i82077_init(&f->chip, &f->machine, &wiring);
	assert_int_equal(i82077_plug(&f->chip, 0, "floppy0", false, NULL), 0);
	insert(f, open_image(f->content, sizeof(f->content), false));
	/* Out of reset, with the drive turning at 500 kbit/s. */
	out(f, FDC_DOR, 0x1c);
	out(f, FDC_CCR, 0);
	settle_chip(f);
	for (uint8_t i = 0; i < 4; i++) {
		COMMAND(f, 0x08);
		EXPECT(f, 0xc0 | i, 0);
	}
	f->rises = 0;
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	if (f->image)
		take_out(f);
	i82077_finish(&f->chip);
	machine_finish(&f->machine);
	free(f);
	return 0;
}

static void expect_transfer(struct fixture *f, unsigned bytes)
{
	f->moved = 0;
	f->count = bytes;
}

static void seek(struct fixture *f, uint8_t cylinder)
{
	COMMAND(f, 0x0f, 0, cylinder);
	settle_chip(f);
	COMMAND(f, 0x08);
	EXPECT(f, 0x20, cylinder);
}

static void test_reset(void **context)
{
	struct fixture *f = *context;

	out(f, FDC_DOR, 0x18);
	assert_int_equal(in(f, FDC_MSR), 0);
	out(f, FDC_DOR, 0x1c);
	assert_int_equal(in(f, FDC_MSR), FDC_MSR_RQM);
	assert_false(f->irq);
	settle_chip(f);
	assert_true(f->irq);
	COMMAND(f, 0x08);
	assert_false(f->irq);
	EXPECT(f, 0xc0, 0);
	for (uint8_t i = 1; i < 4; i++) {
		COMMAND(f, 0x08);
		EXPECT(f, 0xc0 | i, 0);
	}
	/* Without a cause. */
	COMMAND(f, 0x08);
	EXPECT(f, 0x80);
	/* That of the data rate select register ends by itself, and sets the rate. */
	f->rises = 0;
	out(f, FDC_DSR, 0x80);
	settle_chip(f);
	assert_int_equal(f->rises, 1);
	/* Without the gate no interrupt comes out. */
	out(f, FDC_DOR, 0x14);
	assert_false(f->irq);
}

static void test_registers(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(in(f, FDC_DOR), 0x1c);
	out(f, FDC_TDR, 0xff);
	assert_int_equal(in(f, FDC_TDR), 3);
	assert_int_equal(in(f, 0), 0xff);
	assert_int_equal(in(f, 1), 0xff);
	COMMAND(f, 0x10);
	EXPECT(f, 0x90);
	COMMAND(f, 0x1f);
	EXPECT(f, 0x80);
	COMMAND(f, 0x03, 0xd1, 0x02);
	COMMAND(f, 0x13, 0, 0x57, 0x10);
	COMMAND(f, 0x12, 0x84);
	COMMAND(f, 0x94);
	EXPECT(f, 0x10);
	COMMAND(f, 0x0e);
	EXPECT(f, 0, 0, 0, 0, 0xd1, 0x02, 0, 0x84, 0x57, 0x10);
	/* What is locked outlives a reset by software. */
	out(f, FDC_DSR, 0x80);
	settle_chip(f);
	COMMAND(f, 0x0e);
	EXPECT(f, 0, 0, 0, 0, 0xd1, 0x02, 0, 0x84, 0x07, 0x10);
	COMMAND(f, 0x14);
	EXPECT(f, 0);
	out(f, FDC_DSR, 0x80);
	settle_chip(f);
	COMMAND(f, 0x0e);
	EXPECT(f, 0, 0, 0, 0, 0xd1, 0x02, 0, 0x04, 0x20, 0);
}

static void test_seeks(void **context)
{
	struct fixture *f = *context;

	COMMAND(f, 0x0f, 4, 40);
	assert_int_equal(in(f, FDC_MSR), FDC_MSR_RQM | 1);
	assert_false(f->irq);
	settle_chip(f);
	assert_true(f->irq);
	COMMAND(f, 0x08);
	EXPECT(f, 0x24, 40);
	assert_false(f->irq);
	COMMAND(f, 0x04, 4);
	EXPECT(f, 0x2c);
	COMMAND(f, 0xcf, 0, 10);
	settle_chip(f);
	COMMAND(f, 0x08);
	EXPECT(f, 0x20, 50);
	COMMAND(f, 0x8f, 0, 60);
	settle_chip(f);
	COMMAND(f, 0x08);
	EXPECT(f, 0x20, 0);
	COMMAND(f, 0x04, 0);
	EXPECT(f, 0x38);
	/* 79 steps do not lead home from track 82. */
	seek(f, 82);
	COMMAND(f, 0x07, 0);
	settle_chip(f);
	COMMAND(f, 0x08);
	EXPECT(f, 0x70, 3);
	COMMAND(f, 0x07, 0);
	settle_chip(f);
	COMMAND(f, 0x08);
	EXPECT(f, 0x20, 0);
	/* A drive that is not there. */
	COMMAND(f, 0x07, 1);
	settle_chip(f);
	COMMAND(f, 0x08);
	EXPECT(f, 0x71, 0);
}

static void test_two_seeks_at_once(void **context)
{
	struct fixture *f = *context;

	COMMAND(f, 0x0f, 0, 2);
	COMMAND(f, 0x0f, 1, 3);
	assert_int_equal(in(f, FDC_MSR), FDC_MSR_RQM | 3);
	settle_chip(f);
	COMMAND(f, 0x08);
	EXPECT(f, 0x20, 2);
	assert_true(f->irq);
	COMMAND(f, 0x08);
	EXPECT(f, 0x21, 3);
	assert_false(f->irq);
}

static void test_disk_change(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(in(f, FDC_DIR), FDC_DIR_CHANGED);
	/* No step, no change. */
	COMMAND(f, 0x07, 0);
	settle_chip(f);
	assert_int_equal(in(f, FDC_DIR), FDC_DIR_CHANGED);
	seek(f, 1);
	assert_int_equal(in(f, FDC_DIR), 0);
	take_out(f);
	assert_int_equal(in(f, FDC_DIR), FDC_DIR_CHANGED);
	seek(f, 0);
	assert_int_equal(in(f, FDC_DIR), FDC_DIR_CHANGED);
	COMMAND(f, 0x4a, 0);
	settle_chip(f);
	EXPECT(f, 0x40, 0x01, 0, 0, 0, 0, 0);
	/* The motor is off. */
	out(f, FDC_DOR, 0x0c);
	assert_int_equal(in(f, FDC_DIR), 0);
}

static void test_read_by_dma(void **context)
{
	struct fixture *f = *context;

	/* Both sides of cylinder 3 from sector 17 on: the last two, and three of the other. */
	seek(f, 3);
	expect_transfer(f, 5 * FLOPPY_SECTOR);
	COMMAND(f, 0xe6, 0, 3, 0, 17, 2, 18, 0x1b, 0xff);
	assert_int_equal(in(f, FDC_MSR), FDC_MSR_BUSY);
	settle_chip(f);
	assert_int_equal(f->moved, 5 * FLOPPY_SECTOR);
	assert_memory_equal(
		f->memory, f->content + 6 * HD_TRACK + 16 * FLOPPY_SECTOR, 5 * FLOPPY_SECTOR);
	assert_true(f->irq);
	EXPECT(f, 0x04, 0, 0, 3, 1, 4, 2);
	assert_false(f->irq);
	/* TC in the middle of a sector, at the end of a track. */
	expect_transfer(f, FLOPPY_SECTOR + 100);
	COMMAND(f, 0x46, 4, 3, 1, 17, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x04, 0, 0, 4, 1, 1, 2);
	assert_memory_equal(
		f->memory, f->content + 7 * HD_TRACK + 16 * FLOPPY_SECTOR, FLOPPY_SECTOR + 100);
}

static void test_read_ends_without_tc(void **context)
{
	struct fixture *f = *context;

	expect_transfer(f, sizeof(f->memory) + 1);
	COMMAND(f, 0x46, 0, 0, 0, 18, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x40, 0x80, 0, 1, 0, 1, 2);
	assert_int_equal(f->moved, FLOPPY_SECTOR);
}

static void test_errors(void **context)
{
	struct fixture *f = *context;

	expect_transfer(f, FLOPPY_SECTOR);
	/* No such sector; another size; another cylinder; another head; another rate. */
	COMMAND(f, 0x46, 0, 0, 0, 19, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x40, 0x04, 0, 0, 0, 19, 2);
	COMMAND(f, 0x46, 0, 0, 0, 1, 3, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x40, 0x04, 0, 0, 0, 1, 3);
	COMMAND(f, 0x46, 0, 1, 0, 1, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x40, 0x04, 0x10, 1, 0, 1, 2);
	COMMAND(f, 0x46, 4, 0, 0, 1, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x44, 0x04, 0, 0, 0, 1, 2);
	out(f, FDC_CCR, 2);
	COMMAND(f, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x40, 0x01, 0, 0, 0, 1, 2);
	out(f, FDC_CCR, 0);
	/* FM instead of MFM, and a drive that is not there. */
	COMMAND(f, 0x06, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x40, 0x01, 0, 0, 0, 1, 2);
	COMMAND(f, 0x46, 1, 0, 0, 1, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x41, 0x01, 0, 0, 0, 1, 2);
	assert_int_equal(f->moved, 0);
	/* Nobody serves the DMA request. */
	f->masked = true;
	COMMAND(f, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x40, 0x10, 0, 0, 0, 1, 2);
}

static void test_implied_seek(void **context)
{
	struct fixture *f = *context;

	COMMAND(f, 0x13, 0, 0x60, 0);
	expect_transfer(f, FLOPPY_SECTOR);
	COMMAND(f, 0x46, 0, 7, 0, 1, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x00, 0, 0, 7, 0, 2, 2);
	assert_memory_equal(f->memory, f->content + 14 * HD_TRACK, FLOPPY_SECTOR);
}

static void read_back(struct fixture *f, uint64_t offset, uint8_t *to, size_t bytes)
{
	assert_int_equal(block_device_read(f->image, offset, to, bytes), 0);
}

static void test_write(void **context)
{
	struct fixture *f = *context;
	uint8_t sectors[2 * FLOPPY_SECTOR], zeros[FLOPPY_SECTOR - 10] = { 0 };

	memset(f->memory, 0x5a, sizeof(f->memory));
	/* The rest of a sector in whose middle TC comes is zeros. */
	expect_transfer(f, FLOPPY_SECTOR + 10);
	COMMAND(f, 0x45, 0, 0, 0, 5, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x00, 0, 0, 0, 0, 7, 2);
	read_back(f, 4 * FLOPPY_SECTOR, sectors, sizeof(sectors));
	assert_memory_equal(sectors, f->memory, FLOPPY_SECTOR + 10);
	assert_memory_equal(sectors + FLOPPY_SECTOR + 10, zeros, sizeof(zeros));
	/* A disk with its write protect tab open. */
	take_out(f);
	insert(f, open_image(f->content, sizeof(f->content), true));
	COMMAND(f, 0x04, 0);
	EXPECT(f, 0x78);
	COMMAND(f, 0x45, 0, 0, 0, 5, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x40, 0x02, 0, 0, 0, 5, 2);
}

static void test_format(void **context)
{
	struct fixture *f = *context;
	uint8_t track[HD_TRACK];

	seek(f, 2);
	for (uint8_t i = 0; i < 18; i++)
		memcpy(f->memory + 4 * i, (const uint8_t[]){ 2, 1, (uint8_t)(i + 1), 2 }, 4);
	expect_transfer(f, 18 * 4);
	COMMAND(f, 0x4d, 4, 2, 18, 0x6c, 0xf6);
	settle_chip(f);
	assert_int_equal(in(f, FDC_FIFO), 0x04);
	for (unsigned i = 0; i < 6; i++)
		in(f, FDC_FIFO);
	read_back(f, 5 * HD_TRACK, track, sizeof(track));
	for (unsigned i = 0; i < sizeof(track); i++)
		assert_int_equal(track[i], 0xf6);
	read_back(f, 6 * HD_TRACK, track, sizeof(track));
	assert_memory_equal(track, f->content + 6 * HD_TRACK, sizeof(track));
	/* IDs that the disk cannot have. */
	f->memory[2] = 19;
	expect_transfer(f, 18 * 4);
	COMMAND(f, 0x4d, 4, 2, 18, 0x6c, 0xf6);
	settle_chip(f);
	EXPECT(f, 0x44, 0x04, 0, 2, 1, 19, 2);
}

static void test_read_id_and_verify(void **context)
{
	struct fixture *f = *context;

	seek(f, 9);
	COMMAND(f, 0x4a, 4);
	settle_chip(f);
	assert_true(f->irq);
	EXPECT(f, 0x04, 0, 0, 9, 1, 1, 2);
	COMMAND(f, 0x4a, 4);
	settle_chip(f);
	EXPECT(f, 0x04, 0, 0, 9, 1, 2, 2);
	/* To the end of the cylinder; three sectors; one that is not there. */
	COMMAND(f, 0xd6, 0, 9, 0, 1, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x04, 0, 0, 10, 0, 1, 2);
	COMMAND(f, 0x56, 0x80, 9, 0, 1, 2, 18, 0x1b, 3);
	settle_chip(f);
	EXPECT(f, 0x00, 0, 0, 9, 0, 4, 2);
	COMMAND(f, 0x56, 0, 9, 0, 1, 2, 19, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x40, 0x04, 0, 9, 0, 19, 2);
	assert_int_equal(f->moved, 0);
}

static void test_read_track_and_deleted(void **context)
{
	struct fixture *f = *context;

	expect_transfer(f, 2 * FLOPPY_SECTOR);
	COMMAND(f, 0x42, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x00, 0, 0, 0, 0, 3, 2);
	assert_memory_equal(f->memory, f->content, 2 * FLOPPY_SECTOR);
	/* A sector that is not marked as deleted is the last; with SK none is read. */
	expect_transfer(f, 2 * FLOPPY_SECTOR);
	COMMAND(f, 0x4c, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x00, 0, 0x40, 0, 0, 2, 2);
	expect_transfer(f, 2 * FLOPPY_SECTOR);
	COMMAND(f, 0x6c, 0, 0, 0, 17, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	EXPECT(f, 0x40, 0x80, 0x40, 1, 0, 1, 2);
	assert_int_equal(f->moved, 0);
}

static void test_without_dma(void **context)
{
	struct fixture *f = *context;
	uint8_t sector[FLOPPY_SECTOR];

	COMMAND(f, 0x03, 0xd1, 0x03);
	COMMAND(f, 0x46, 0, 0, 0, 18, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	/* Without the FIFO each byte has an interrupt; no TC comes. */
	f->rises = 0;
	for (unsigned i = 0; i < FLOPPY_SECTOR; i++) {
		assert_int_equal(
			in(f, FDC_MSR), FDC_MSR_RQM | FDC_MSR_DIO | FDC_MSR_NON_DMA | FDC_MSR_BUSY);
		assert_true(f->irq);
		assert_int_equal(in(f, FDC_FIFO), f->content[17 * FLOPPY_SECTOR + i]);
	}
	settle_chip(f);
	assert_int_equal(f->rises, FLOPPY_SECTOR);
	EXPECT(f, 0x40, 0x80, 0, 1, 0, 1, 2);
	/* With the FIFO one for each 16. */
	COMMAND(f, 0x13, 0, 0x0f, 0);
	COMMAND(f, 0x45, 0, 0, 0, 18, 2, 18, 0x1b, 0xff);
	settle_chip(f);
	f->rises = 0;
	for (unsigned i = 0; i < FLOPPY_SECTOR; i++) {
		assert_int_equal(in(f, FDC_MSR), FDC_MSR_RQM | FDC_MSR_NON_DMA | FDC_MSR_BUSY);
		out(f, FDC_FIFO, (uint8_t)(i * 7));
	}
	settle_chip(f);
	assert_int_equal(f->rises, FLOPPY_SECTOR / 16);
	EXPECT(f, 0x40, 0x80, 0, 1, 0, 1, 2);
	read_back(f, 17 * FLOPPY_SECTOR, sector, sizeof(sector));
	for (unsigned i = 0; i < FLOPPY_SECTOR; i++)
		assert_int_equal(sector[i], (uint8_t)(i * 7));
}

static void test_reset_in_the_middle(void **context)
{
	struct fixture *f = *context;

	f->masked = true;
	expect_transfer(f, FLOPPY_SECTOR);
	COMMAND(f, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
	machine_lock(&f->machine);
	f->now_ns = clock_next_deadline(&f->machine.clock);
	clock_run(&f->machine.clock);
	machine_unlock(&f->machine);
	out(f, FDC_DOR, 0x18);
	out(f, FDC_DOR, 0x1c);
	assert_int_equal(in(f, FDC_MSR), FDC_MSR_RQM);
	f->masked = false;
	settle_chip(f);
	COMMAND(f, 0x08);
	EXPECT(f, 0xc0, 0);
	assert_int_equal(f->moved, 0);
}

static void test_formats(void **context)
{
	struct fixture *f = *context;
	static const uint16_t kib[] = { 160, 180, 320, 360, 720, 1200, 1440, 1680, 2880 };
	struct block_device *large;
	static uint8_t zeros[2880 << 10];
	struct error err = { 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(kib); i++) {
		const struct floppy_format *format = floppy_format_find((uint64_t)kib[i] << 10);

		assert_non_null(format);
		assert_int_equal(format->cylinders * format->heads * format->sectors, 2 * kib[i]);
	}
	assert_null(floppy_format_find(1 << 20));
	/* A drive for 1440K does not take more. */
	take_out(f);
	large = open_image(zeros, sizeof(zeros), false);
	machine_lock(&f->machine);
	assert_true(i82077_insert(&f->chip, 0, large, &err) < 0);
	machine_unlock(&f->machine);
	assert_non_null(strstr(err.text, "2880K"));
	block_device_close(large);
}

static void test_state_is_whole(void **context)
{
	struct error err = { 0 };

	(void)context;
	if (!state_covers(i82077_type.state, &err))
		fail_msg("%s", err.text);
}

#define fdc_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fdc_test(test_reset),
		fdc_test(test_registers),
		fdc_test(test_seeks),
		fdc_test(test_two_seeks_at_once),
		fdc_test(test_disk_change),
		fdc_test(test_read_by_dma),
		fdc_test(test_read_ends_without_tc),
		fdc_test(test_errors),
		fdc_test(test_implied_seek),
		fdc_test(test_write),
		fdc_test(test_format),
		fdc_test(test_read_id_and_verify),
		fdc_test(test_read_track_and_deleted),
		fdc_test(test_without_dma),
		fdc_test(test_reset_in_the_middle),
		fdc_test(test_formats),
		fdc_test(test_state_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
