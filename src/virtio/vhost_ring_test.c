/*
 * vhost_ring against a back end written from the device's half of virtio 1.2, 2.7, well-behaved
 * and hostile; and which FUSE requests a read-only share lets through.
 */
#include "virtio/vhost_ring.h"

#include "virtio/virtio_fs.h"
#include "virtio/virtqueue_fixture.h"
#include "virtio/virtqueue_ring.h"

#include <errno.h>

#define SHARED_ADDRESS 0x1000000000

struct fixture {
	struct driver driver;
	struct vhost_ring ring;
	_Alignas(16) uint8_t shared[VHOST_RING_BYTES];
	struct iovec pieces[2 * VHOST_RING_SIZE];
};

static struct fixture *fixture_new(void)
{
	struct fixture *f = aligned_alloc(16, (sizeof(*f) + 15) & ~(size_t)15);

	memset(f, 0, sizeof(*f));
	assert_int_equal(
		guest_memory_add(&f->driver.memory, 0x10000, DRIVER_MEMORY, false, NULL), 0);
	vhost_ring_init(&f->ring, &f->driver.memory, f->shared, SHARED_ADDRESS);
	return f;
}

static void fixture_free(struct fixture *f)
{
	guest_memory_finish(&f->driver.memory);
	free(f);
}

/* A request of pieces of 16 bytes: `readable` of them to read, then `writable` to write. */
static struct virtq_request request_of(struct fixture *f, unsigned readable, unsigned writable)
{
	for (unsigned i = 0; i < readable + writable; i++)
		f->pieces[i] = (struct iovec){
			.iov_base = f->driver.memory.regions[0].host + 0x100 + 16 * i, .iov_len = 16
		};
	return (struct virtq_request){ .readable = f->pieces,
		.writable = f->pieces + readable,
		.nr_readable = readable,
		.nr_writable = writable,
		.readable_bytes = 16 * readable,
		.writable_bytes = 16 * writable };
}

static uint16_t available_index(const struct fixture *f)
{
	return virtq_load16(f->ring.available + VIRTQ_RING_INDEX);
}

static uint16_t available_entry(const struct fixture *f, uint16_t index)
{
	return virtq_load16(f->ring.available + VIRTQ_RING_ENTRIES + 2 * (index % VHOST_RING_SIZE));
}

static struct virtq_split_desc descriptor(const struct fixture *f, uint16_t entry)
{
	struct virtq_split_desc desc;

	memcpy(&desc, f->ring.descriptors + sizeof(desc) * entry, sizeof(desc));
	return desc;
}

static void use(struct fixture *f, uint32_t id, uint32_t length)
{
	const struct virtq_used_element element = { .id = id, .length = length };
	uint16_t index = virtq_load16(f->ring.used + VIRTQ_RING_INDEX);

	memcpy(f->ring.used + VIRTQ_RING_ENTRIES + sizeof(element) * (index % VHOST_RING_SIZE),
		&element, sizeof(element));
	virtq_store16(f->ring.used + VIRTQ_RING_INDEX, index + 1);
}

static void test_request_travels(void **context)
{
	struct fixture *f = fixture_new();
	struct virtq_request request = request_of(f, 1, 2);
	struct virtq_split_desc desc;
	bool broken = false;
	uint32_t written;
	uint16_t head;

	(void)context;
	assert_int_equal(vhost_ring_add(&f->ring, &request, "copy", 4), 0);
	assert_int_equal(available_index(f), 0);
	assert_true(vhost_ring_publish(&f->ring));
	assert_int_equal(available_index(f), 1);
	head = available_entry(f, 0);
	desc = descriptor(f, head);
	assert_int_equal(desc.flags, VIRTQ_DESC_NEXT);
	assert_int_equal(desc.length, 4);
	assert_memory_equal(f->shared + (desc.address - SHARED_ADDRESS), "copy", 4);
	desc = descriptor(f, desc.next);
	assert_int_equal(desc.address, 0x10100);
	assert_int_equal(desc.flags, VIRTQ_DESC_NEXT);
	desc = descriptor(f, desc.next);
	assert_int_equal(desc.address, 0x10110);
	assert_int_equal(desc.flags, VIRTQ_DESC_NEXT | VIRTQ_DESC_WRITE);
	desc = descriptor(f, desc.next);
	assert_int_equal(desc.address, 0x10120);
	assert_int_equal(desc.flags, VIRTQ_DESC_WRITE);
	assert_null(vhost_ring_take(&f->ring, &written, &broken));
	use(f, head, 20);
	assert_ptr_equal(vhost_ring_take(&f->ring, &written, &broken), &request);
	assert_int_equal(written, 20);
	assert_null(vhost_ring_take(&f->ring, &written, &broken));
	assert_false(broken);
	assert_int_equal(f->ring.in_flight, 0);
	assert_int_equal(f->ring.nr_free, VHOST_RING_SIZE);
	fixture_free(f);
}

static void test_ring_is_full_and_empties(void **context)
{
	struct fixture *f = fixture_new();
	struct virtq_request large = request_of(f, 1000, 22), small = request_of(f, 1, 1);
	struct virtq_request never = request_of(f, 1000, 25);
	bool broken = false;
	uint32_t written;

	(void)context;
	assert_int_equal(vhost_ring_add(&f->ring, &never, NULL, 0), -E2BIG);
	assert_true(vhost_ring_has_room(&f->ring, &never));
	/* The indexes of 16 bits wrap. */
	for (unsigned i = 0; i < 33000; i++) {
		assert_int_equal(vhost_ring_add(&f->ring, &large, NULL, 0), 0);
		assert_int_equal(vhost_ring_add(&f->ring, &small, NULL, 0), 0);
		assert_false(vhost_ring_has_room(&f->ring, &small));
		assert_int_equal(vhost_ring_add(&f->ring, &small, NULL, 0), -ENOSPC);
		vhost_ring_publish(&f->ring);
		/* Out of order. */
		use(f, available_entry(f, (uint16_t)(2 * i + 1)), 1000);
		use(f, available_entry(f, (uint16_t)(2 * i)), 1);
		assert_ptr_equal(vhost_ring_take(&f->ring, &written, &broken), &small);
		assert_int_equal(written, 16); /* not more than there was room for */
		assert_ptr_equal(vhost_ring_take(&f->ring, &written, &broken), &large);
	}
	assert_false(broken);
	fixture_free(f);
}

static void test_hostile_back_end(void **context)
{
	enum { UNKNOWN, BEYOND, INSIDE, TWICE, JUMP, CASES };

	(void)context;
	for (unsigned i = 0; i < CASES; i++) {
		struct fixture *f = fixture_new();
		struct virtq_request request = request_of(f, 1, 1), other = request_of(f, 1, 1);
		bool broken = false;
		uint32_t written;
		uint16_t head;

		assert_int_equal(vhost_ring_add(&f->ring, &request, NULL, 0), 0);
		assert_int_equal(vhost_ring_add(&f->ring, &other, NULL, 0), 0);
		vhost_ring_publish(&f->ring);
		head = available_entry(f, 0);
		memset(f->ring.descriptors, 0xff,
			VHOST_RING_SIZE * sizeof(struct virtq_split_desc));
		switch (i) {
		case UNKNOWN: use(f, 700, 0); break;
		case BEYOND: use(f, 0xffffffff, 0); break;
		case INSIDE: use(f, descriptor(f, head).next % VHOST_RING_SIZE, 0); break;
		case TWICE:
			use(f, head, 0);
			assert_ptr_equal(vhost_ring_take(&f->ring, &written, &broken), &request);
			use(f, head, 0);
			break;
		case JUMP: virtq_store16(f->ring.used + VIRTQ_RING_INDEX, 300); break;
		default: break;
		}
		assert_null(vhost_ring_take(&f->ring, &written, &broken));
		assert_true(broken);
		/* What is out is found all the same, each once. */
		if (i != TWICE)
			assert_ptr_equal(vhost_ring_abandon(&f->ring), &request);
		assert_ptr_equal(vhost_ring_abandon(&f->ring), &other);
		assert_null(vhost_ring_abandon(&f->ring));
		assert_int_equal(f->ring.nr_free, VHOST_RING_SIZE);
		fixture_free(f);
	}
}

static void test_piece_outside_memory(void **context)
{
	struct fixture *f = fixture_new();
	struct virtq_request request = request_of(f, 3, 1);
	char elsewhere[16];

	(void)context;
	f->pieces[2].iov_base = elsewhere;
	assert_int_equal(vhost_ring_add(&f->ring, &request, NULL, 0), -EFAULT);
	assert_int_equal(f->ring.nr_free, VHOST_RING_SIZE);
	assert_int_equal(f->ring.in_flight, 0);
	fixture_free(f);
}

static void test_what_only_reads(void **context)
{
	/* Opcodes of linux/fuse.h: CREATE, MKDIR, UNLINK, WRITE, SETATTR, RENAME2, SETXATTR,
	 * FALLOCATE, COPY_FILE_RANGE, SETUPMAPPING, TMPFILE; and of no request. */
	static const uint32_t writing[] = { 35, 9, 10, 16, 4, 45, 21, 43, 47, 48, 51, 0, 4096 };
	static const uint32_t reading[] = { 1, 2, 3, 5, 15, 26, 27, 28, 44, 46 };
	uint8_t head[48] = { 0 };
	uint32_t flags;

	(void)context;
	for (unsigned i = 0; i < ARRAY_SIZE(writing); i++) {
		memcpy(head + 4, &writing[i], 4);
		assert_false(virtio_fs_only_reads(head, sizeof(head)));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(reading); i++) {
		memcpy(head + 4, &reading[i], 4);
		assert_true(virtio_fs_only_reads(head, 40));
		assert_false(virtio_fs_only_reads(head, 39));
	}
	head[4] = 14; /* OPEN: O_RDONLY with O_DIRECTORY; O_WRONLY, O_RDWR, O_TRUNC, O_CREAT */
	flags = 0200000;
	memcpy(head + 40, &flags, 4);
	assert_true(virtio_fs_only_reads(head, 48));
	assert_false(virtio_fs_only_reads(head, 42));
	for (unsigned i = 0; i < 4; i++) {
		flags = (const uint32_t[]){ 01, 02, 01000, 0100 }[i];
		memcpy(head + 40, &flags, 4);
		assert_false(virtio_fs_only_reads(head, 48));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_travels),
		cmocka_unit_test(test_ring_is_full_and_empties),
		cmocka_unit_test(test_hostile_back_end),
		cmocka_unit_test(test_piece_outside_memory),
		cmocka_unit_test(test_what_only_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
