/*
 * virtio-gpu driven as its driver does (virtio 1.2, 5.7.6): resources, their backing, the scanout
 * and the picture; and what a driver must not get. Rings are written by hand: their own tests are
 * virtqueue_test.c.
 */
#include "virtio/virtio_gpu.h"

#include "virtio/device_fixture.h"

#include <unistd.h>

#define ANSWERS 0x30000u
#define PICTURE 0x40000u

static struct device_fixture *fixture_new(void)
{
	struct device_fixture *f = device_fixture_new();
	struct virtio_device *device;

	assert_int_equal(virtio_gpu_create(&device, "gpu0", &f->machine, NULL), 0);
	device_fixture_attach(f, device);
	return f;
}

static void fixture_free(struct device_fixture *f)
{
	virtio_gpu_destroy(f->device);
	device_fixture_free(f);
}

/* Gives the control queue a command of `bytes`; the type of the answer, which is at ANSWERS. */
static uint32_t command(struct device_fixture *f, const void *words, uint32_t bytes)
{
	uint8_t *rings = f->ram + DEVICE_RINGS;
	uint16_t entry = (uint16_t)(f->available[0] % (DEVICE_RING_SIZE / 2) * 2);
	const struct virtq_split_desc descs[] = {
		{ .address = DEVICE_BUFFERS,
			.length = bytes,
			.flags = VIRTQ_DESC_NEXT,
			.next = entry + 1u },
		{ .address = ANSWERS, .length = 2048, .flags = VIRTQ_DESC_WRITE },
	};
	unsigned used = device_nr_used(f, 0);
	uint32_t type;

	memcpy(f->ram + DEVICE_BUFFERS, words, bytes);
	memset(f->ram + ANSWERS, 0, 2048);
	memcpy(rings + sizeof(descs[0]) * entry, descs, sizeof(descs));
	device_make_available(f, 0, entry);
	device_notify(f, 0);
	for (unsigned i = 0; i < 5000 && device_nr_used(f, 0) == (used & 0xffff); i++)
		usleep(1000);
	assert_int_equal(device_nr_used(f, 0), (used + 1) & 0xffff);
	memcpy(&type, f->ram + ANSWERS, sizeof(type));
	return type;
}

#define COMMAND(f, ...)                                                                            \
	command(f, (const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }))
#define HEADER(type) type, 0, 0, 0, 0, 0

static struct device_fixture *fixture_started(void)
{
	struct device_fixture *f = fixture_new();

	device_start(f, 0, 2);
	return f;
}

static void test_display(void **context)
{
	struct device_fixture *f = fixture_started();
	uint32_t words[7];

	(void)context;
	/* With a fence, which comes back. */
	assert_int_equal(COMMAND(f, 0x100, 1, 0x1234, 0, 0, 0), 0x1101);
	memcpy(words, f->ram + ANSWERS + 4, sizeof(words));
	assert_int_equal(words[0], 1);
	assert_int_equal(words[1], 0x1234);
	memcpy(words, f->ram + ANSWERS + 24, sizeof(words));
	assert_int_equal(words[2], 1024);
	assert_int_equal(words[3], 768);
	assert_int_equal(words[4], 1);
	assert_int_equal(COMMAND(f, HEADER(0x10a), 0, 0), 0x1104);
	assert_memory_equal(f->ram + ANSWERS + 32, "\0\xff\xff\xff\xff\xff\xff\0", 8);
	assert_int_equal(COMMAND(f, HEADER(0x10a), 1, 0), 0x1202);
	assert_int_equal(COMMAND(f, HEADER(0x999), 1, 0), 0x1200);
	fixture_free(f);
}

/* A resource of 4 by 2, whose backing is in two pieces. */
static void make(struct device_fixture *f, uint32_t id)
{
	assert_int_equal(COMMAND(f, HEADER(0x101), id, 2, 4, 2), 0x1100);
	assert_int_equal(
		COMMAND(f, HEADER(0x106), id, 2, PICTURE, 0, 20, 0, PICTURE + 0x1000, 0, 12, 0),
		0x1100);
}

static void ignore(void *context, const struct surface_rect *rect)
{
	(void)context;
	(void)rect;
}

/* The same by both ways. */
static void draw(struct device_fixture *f, struct surface *surface)
{
	struct surface shown = { 0 }, scratch = { 0 };

	assert_int_equal(virtio_gpu_draw(f->device, surface), 0);
	assert_int_equal(virtio_gpu_update(f->device, &shown, &scratch, ignore, NULL), 1);
	assert_true(surface_hash(&shown) == surface_hash(surface));
	assert_int_equal(virtio_gpu_update(f->device, &shown, &scratch, ignore, NULL), 0);
	surface_finish(&shown);
	surface_finish(&scratch);
}

static void test_picture(void **context)
{
	struct device_fixture *f = fixture_started();
	struct surface surface = { 0 };

	(void)context;
	draw(f, &surface);
	assert_int_equal(surface.width, 1024);
	make(f, 7);
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t pixel = 0xff000000 | (i * 0x010203);

		memcpy(f->ram + (i < 5 ? PICTURE + 4 * i : PICTURE + 0x1000 + 4 * (i - 5)), &pixel,
			4);
	}
	assert_int_equal(COMMAND(f, HEADER(0x105), 0, 0, 4, 2, 0, 0, 7, 0), 0x1100);
	assert_int_equal(COMMAND(f, HEADER(0x103), 0, 0, 4, 2, 0, 7), 0x1100);
	assert_int_equal(COMMAND(f, HEADER(0x104), 0, 0, 4, 2, 7, 0), 0x1100);
	draw(f, &surface);
	assert_int_equal(surface.width, 4);
	assert_int_equal(surface.height, 2);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(surface.pixels[i], i * 0x010203);
	/* A part of it: the offset is in the backing. */
	memset(f->ram + PICTURE + 0x1000, 0xee, 12);
	assert_int_equal(COMMAND(f, HEADER(0x105), 3, 1, 1, 1, 28, 0, 7, 0), 0x1100);
	draw(f, &surface);
	assert_int_equal(surface.pixels[6], 6 * 0x010203);
	assert_int_equal(surface.pixels[7], 0xeeeeee);
	/* Gone with its resource. */
	assert_int_equal(COMMAND(f, HEADER(0x102), 7, 0), 0x1100);
	draw(f, &surface);
	assert_int_equal(surface.pixels[0], 0);
	surface_finish(&surface);
	fixture_free(f);
}

static void test_refusals(void **context)
{
	struct device_fixture *f = fixture_started();

	(void)context;
	make(f, 1);
	assert_int_equal(COMMAND(f, HEADER(0x101), 1, 2, 4, 2), 0x1203);
	assert_int_equal(COMMAND(f, HEADER(0x101), 0, 2, 4, 2), 0x1203);
	assert_int_equal(COMMAND(f, HEADER(0x101), 2, 99, 4, 2), 0x1205);
	assert_int_equal(COMMAND(f, HEADER(0x101), 2, 2, 0xffffffff, 0xffffffff), 0x1205);
	assert_int_equal(COMMAND(f, HEADER(0x103), 0, 0, 4, 3, 0, 1), 0x1205);
	assert_int_equal(COMMAND(f, HEADER(0x103), 0xffffffff, 0, 2, 2, 0, 1), 0x1205);
	assert_int_equal(COMMAND(f, HEADER(0x103), 0, 0, 4, 2, 1, 1), 0x1202);
	assert_int_equal(
		COMMAND(f, HEADER(0x105), 0, 0, 4, 2, 8, 0, 1, 0), 0x1200); /* beyond its backing */
	assert_int_equal(COMMAND(f, HEADER(0x106), 1, 1, PICTURE, 0, 4, 0), 0x1205); /* has one */
	assert_int_equal(COMMAND(f, HEADER(0x107), 1, 0), 0x1100);
	assert_int_equal(COMMAND(f, HEADER(0x105), 0, 0, 4, 2, 0, 0, 1, 0), 0x1200);
	assert_int_equal(COMMAND(f, HEADER(0x106), 1, 0xffffffff, 0, 0, 0, 0), 0x1205);
	assert_int_equal(COMMAND(f, HEADER(0x106), 1, 2, PICTURE, 0, 4, 0), 0x1205); /* cut off */
	/* Not RAM. */
	assert_int_equal(COMMAND(f, HEADER(0x106), 1, 1, 0xfee00000, 0, 4096, 0), 0x1100);
	assert_int_equal(COMMAND(f, HEADER(0x105), 0, 0, 4, 2, 0, 0, 1, 0), 0x1200);
	fixture_free(f);
}

/* 256 MiB of pictures, and no more. */
static void test_limits(void **context)
{
	struct device_fixture *f = fixture_started();

	(void)context;
	for (uint32_t id = 1; id <= 4; id++)
		assert_int_equal(COMMAND(f, HEADER(0x101), id, 2, 4096, 4096), 0x1100);
	assert_int_equal(COMMAND(f, HEADER(0x101), 5, 2, 1, 1), 0x1201);
	assert_int_equal(COMMAND(f, HEADER(0x102), 2, 0), 0x1100);
	for (uint32_t id = 5; id < 258; id++)
		assert_int_equal(COMMAND(f, HEADER(0x101), id, 2, 1, 1), 0x1100);
	assert_int_equal(COMMAND(f, HEADER(0x101), 258, 2, 1, 1), 0x1201);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_display),
		cmocka_unit_test(test_picture),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
