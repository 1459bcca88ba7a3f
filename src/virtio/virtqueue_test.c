#include "virtio/virtqueue_fixture.h"

#define SPLIT      VIRTIO_F_VERSION_1
#define PACKED     (VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED)
#define INDIRECT   VIRTIO_F_INDIRECT_DESC
#define EVENT      VIRTIO_F_EVENT_IDX
#define NR_FORMATS 2
static const uint64_t formats[NR_FORMATS] = { SPLIT, PACKED };

/* Requests of random shapes, many rounds of the ring, answered out of order. */
static void test_many_rounds(uint64_t features, uint16_t size)
{
	struct driver d;
	struct virtq_request *held[4] = { NULL };
	uint8_t sent[4] = { 0 };
	uint16_t ids[4];
	uint8_t value = 0;

	driver_init(&d, size, features);
	srand(1);
	for (unsigned round = 0; round < 4000; round++) {
		unsigned slot = (unsigned)rand() % 4;
		uint8_t byte[3];

		if (held[slot]) {
			uint16_t id;
			uint32_t length;

			assert_int_equal(virtq_write(held[slot], &sent[slot], 1), 1);
			virtq_push(&d.queue, held[slot], 1);
			held[slot] = NULL;
			assert_true(driver_take(&d, &id, &length));
			assert_int_equal(id, ids[slot]);
			assert_int_equal(length, 1);
			assert_int_equal(d.ram[DRIVER_BUFFERS + 0x1000 + sent[slot]], sent[slot]);
			assert_false(driver_take(&d, &id, &length));
			continue;
		}
		sent[slot] = ++value;
		memset(d.ram + DRIVER_BUFFERS, value, 3);
		d.ram[DRIVER_BUFFERS + 0x1000 + value] = 0;
		ids[slot] = driver_add(&d,
			(struct piece[]){ { DRIVER_BUFFERS, 2, 0 }, { DRIVER_BUFFERS + 2, 1, 0 },
				{ DRIVER_BUFFERS + 0x1000 + value, 1, VIRTQ_DESC_WRITE } },
			3);
		held[slot] = virtq_pop(&d.queue);
		assert_non_null(held[slot]);
		assert_null(virtq_pop(&d.queue));
		assert_int_equal(held[slot]->readable_bytes, 3);
		assert_int_equal(held[slot]->writable_bytes, 1);
		assert_int_equal(virtq_read(held[slot], byte, 3), 3);
		assert_true(byte[0] == value && byte[1] == value && byte[2] == value);
		assert_int_equal(virtq_read(held[slot], byte, 1), 0);
	}
	for (unsigned slot = 0; slot < 4; slot++) {
		if (held[slot])
			virtq_drop(&d.queue, held[slot]);
	}
	assert_false(d.queue.state.broken);
	assert_true(d.announced > 0);
	driver_finish(&d);
}

static void test_split_rounds(void **state)
{
	(void)state;
	test_many_rounds(SPLIT, 16);
	test_many_rounds(SPLIT | EVENT, 256);
}

static void test_packed_rounds(void **state)
{
	(void)state;
	test_many_rounds(PACKED, 16);
	/* 2.8.10.1: a packed ring's size need not be a power of two. */
	test_many_rounds(PACKED | EVENT, 23);
}

/* Past 65536 requests, the split ring's free-running indexes have wrapped. */
static void test_index_wraps(void **state)
{
	struct driver d;

	(void)state;
	for (unsigned format = 0; format < NR_FORMATS; format++) {
		driver_init(&d, 8, formats[format] | EVENT);
		for (unsigned i = 0; i < 70000; i++) {
			struct virtq_request *request;
			uint16_t id;
			uint32_t length;

			driver_want_interrupt_after(&d, 1);
			driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 4, VIRTQ_DESC_WRITE }, 1);
			request = virtq_pop(&d.queue);
			assert_non_null(request);
			virtq_push(&d.queue, request, 4);
			assert_true(virtq_take_interrupt(&d.queue));
			assert_false(virtq_take_interrupt(&d.queue));
			assert_true(driver_take(&d, &id, &length));
			assert_int_equal(length, 4);
		}
		driver_finish(&d);
	}
}

static uint64_t put_table(struct driver *d, const struct piece *pieces, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (d->packed)
			put_packed(d, DRIVER_TABLES + 16 * i, &pieces[i], 0, 0);
		else
			put_split(d, DRIVER_TABLES + 16 * i, &pieces[i],
				i + 1 < count ? VIRTQ_DESC_NEXT : 0, (uint16_t)(i + 1));
	}
	return DRIVER_TABLES;
}

static void test_indirect(void **state)
{
	struct driver d;

	(void)state;
	for (unsigned format = 0; format < NR_FORMATS; format++) {
		struct piece pieces[40];
		struct virtq_request *request;
		uint16_t id;
		uint32_t length;

		/* Longer than the ring: 40 pieces in a table, in a ring of 8. */
		driver_init(&d, 8, formats[format] | INDIRECT);
		for (unsigned i = 0; i < 40; i++)
			pieces[i] = (struct piece){ DRIVER_BUFFERS + 16 * i, 16,
				i < 10 ? 0 : VIRTQ_DESC_WRITE };
		put_table(&d, pieces, 40);
		driver_add(&d, &(struct piece){ DRIVER_TABLES, 40 * 16, VIRTQ_DESC_INDIRECT }, 1);
		request = virtq_pop(&d.queue);
		assert_non_null(request);
		assert_int_equal(request->nr_readable, 10);
		assert_int_equal(request->nr_writable, 30);
		assert_ptr_equal(virtq_take_last_byte(request), d.ram + DRIVER_BUFFERS + 640 - 1);
		assert_int_equal(request->writable_bytes, 479);
		virtq_push(&d.queue, request, 480);
		assert_true(driver_take(&d, &id, &length));
		assert_int_equal(length, 480);
		driver_finish(&d);
	}
}

static void test_interrupt_suppression(void **state)
{
	(void)state;
	for (unsigned format = 0; format < NR_FORMATS; format++) {
		struct virtq_request *requests[6];
		struct driver d;

		driver_init(&d, 8, formats[format] | EVENT);
		for (unsigned i = 0; i < 6; i++)
			driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 4, VIRTQ_DESC_WRITE }, 1);
		for (unsigned i = 0; i < 6; i++)
			requests[i] = virtq_pop(&d.queue);
		driver_want_interrupt_after(&d, 4);
		for (unsigned i = 0; i < 3; i++) {
			virtq_push(&d.queue, requests[i], 4);
			assert_false(virtq_take_interrupt(&d.queue));
		}
		virtq_push(&d.queue, requests[3], 4);
		virtq_push(&d.queue, requests[4], 4);
		assert_true(virtq_take_interrupt(&d.queue));
		virtq_push(&d.queue, requests[5], 4);
		assert_false(virtq_take_interrupt(&d.queue));
		assert_false(virtq_used_is_seen(&d.queue));
		driver_want_interrupt_after(&d, 7);
		assert_true(virtq_used_is_seen(&d.queue));
		driver_want_no_interrupt(&d);
		assert_int_equal(virtq_used_is_seen(&d.queue), !d.packed);
		driver_finish(&d);

		/* Without event indexes a flag says it. */
		driver_init(&d, 8, formats[format]);
		driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 4, VIRTQ_DESC_WRITE }, 1);
		driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 4, VIRTQ_DESC_WRITE }, 1);
		virtq_push(&d.queue, virtq_pop(&d.queue), 4);
		assert_true(virtq_take_interrupt(&d.queue));
		assert_false(virtq_used_is_seen(&d.queue));
		driver_want_no_interrupt(&d);
		virtq_push(&d.queue, virtq_pop(&d.queue), 4);
		assert_false(virtq_take_interrupt(&d.queue));
		driver_finish(&d);
	}
}

/* A driver that looks at any time finds none of them, or all. */
static void test_requests_that_belong_together(void **state)
{
	(void)state;
	for (unsigned format = 0; format < NR_FORMATS; format++) {
		struct virtq_request *requests[4];
		uint32_t length;
		uint16_t id;
		struct driver d;

		driver_init(&d, 8, formats[format]);
		/* The second time they wrap round the ring's end. */
		for (unsigned round = 0; round < 4; round++) {
			for (unsigned i = 0; i < 3; i++) {
				driver_add(&d,
					&(struct piece){ DRIVER_BUFFERS, 4, VIRTQ_DESC_WRITE }, 1);
				requests[i] = virtq_pop(&d.queue);
			}
			for (unsigned i = 0; i < 2; i++) {
				virtq_push_part(&d.queue, requests[i], i + 1);
				assert_false(driver_take(&d, &id, &length));
			}
			virtq_push(&d.queue, requests[2], 3);
			for (unsigned i = 0; i < 3; i++) {
				assert_true(driver_take(&d, &id, &length));
				assert_int_equal(length, i + 1);
			}
			assert_false(driver_take(&d, &id, &length));
		}
		driver_finish(&d);
	}
}

static void test_notification_suppression(void **state)
{
	struct driver d;

	(void)state;
	driver_init(&d, 8, SPLIT);
	virtq_disable_notification(&d.queue);
	assert_int_equal(get16(&d, DRIVER_DEVICE_AREA), VIRTQ_USED_NO_NOTIFY);
	assert_false(virtq_enable_notification(&d.queue));
	assert_int_equal(get16(&d, DRIVER_DEVICE_AREA), 0);
	driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 4, 0 }, 1);
	assert_true(virtq_enable_notification(&d.queue));
	virtq_push(&d.queue, virtq_pop(&d.queue), 0);
	driver_finish(&d);

	/* avail_event: the index of the next one that is to be told of (2.7.10). */
	driver_init(&d, 8, SPLIT | EVENT);
	driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 4, 0 }, 1);
	virtq_push(&d.queue, virtq_pop(&d.queue), 0);
	assert_false(virtq_enable_notification(&d.queue));
	assert_int_equal(get16(&d, DRIVER_DEVICE_AREA + 4 + 8 * 8), 1);
	driver_finish(&d);

	driver_init(&d, 3, PACKED | EVENT);
	for (unsigned i = 0; i < 4; i++) {
		driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 4, 0 }, 1);
		virtq_push(&d.queue, virtq_pop(&d.queue), 0);
	}
	virtq_disable_notification(&d.queue);
	assert_int_equal(get16(&d, DRIVER_DEVICE_AREA + 2), VIRTQ_EVENT_DISABLE);
	assert_false(virtq_enable_notification(&d.queue));
	/* Position 1 of the second round: the wrap counter is 0. */
	assert_int_equal(get16(&d, DRIVER_DEVICE_AREA), 1);
	assert_int_equal(get16(&d, DRIVER_DEVICE_AREA + 2), VIRTQ_EVENT_DESC);
	driver_finish(&d);
}

/* One is there and does not suffice: the driver has to tell of the second, of which it had not to
 * tell if the first were meant. */
static void test_await_more(void **state)
{
	const struct piece piece = { DRIVER_BUFFERS, 4, VIRTQ_DESC_WRITE };

	(void)state;
	for (unsigned format = 0; format < 2 * NR_FORMATS; format++) {
		bool event = format >= NR_FORMATS;
		struct driver d;
		struct virtq_request *request;

		driver_init(&d, 8, formats[format % NR_FORMATS] | (event ? EVENT : 0));
		driver_add(&d, &piece, 1);
		virtq_disable_notification(&d.queue);
		virtq_unpop(&d.queue, virtq_pop(&d.queue));
		/* What came before it asked was perhaps not seen. */
		assert_true(virtq_await_more(&d.queue));
		assert_false(virtq_await_more(&d.queue));
		if (d.packed)
			assert_int_equal(get16(&d, DRIVER_DEVICE_AREA + 2), VIRTQ_EVENT_ENABLE);
		else if (event)
			assert_int_equal(get16(&d, DRIVER_DEVICE_AREA + 4 + 8 * 8), 1);
		else
			assert_int_equal(get16(&d, DRIVER_DEVICE_AREA), 0);
		driver_add(&d, &piece, 1);
		/* With event indexes it told of the second, and does not of the third. */
		assert_int_equal(virtq_await_more(&d.queue), !d.packed && event);
		assert_false(virtq_await_more(&d.queue));
		for (unsigned i = 0; i < 2; i++) {
			request = virtq_pop(&d.queue);
			virtq_push(&d.queue, request, 4);
		}
		assert_false(virtq_enable_notification(&d.queue));
		driver_finish(&d);
	}
}

static void test_unpop(void **state)
{
	(void)state;
	for (unsigned format = 0; format < NR_FORMATS; format++) {
		struct driver d;
		struct virtq_request *request;
		const struct piece two[] = { { DRIVER_BUFFERS, 4, 0 }, { DRIVER_BUFFERS, 4, 0 } };

		driver_init(&d, 4, formats[format]);
		for (unsigned i = 0; i < 7; i++) {
			uint16_t id, taken;
			uint32_t length;

			id = driver_add(&d, two, 2);
			request = virtq_pop(&d.queue);
			assert_int_equal(request->id, id);
			virtq_unpop(&d.queue, request);
			request = virtq_pop(&d.queue);
			assert_int_equal(request->id, id);
			virtq_push(&d.queue, request, 0);
			assert_true(driver_take(&d, &taken, &length));
		}
		driver_finish(&d);
	}
}

/* The driver changes a descriptor after it was looked at: the request does not follow. */
static void test_copied_once(void **state)
{
	(void)state;
	for (unsigned format = 0; format < NR_FORMATS; format++) {
		struct driver d;
		struct virtq_request *request;

		driver_init(&d, 4, formats[format]);
		driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 8, VIRTQ_DESC_WRITE }, 1);
		request = virtq_pop(&d.queue);
		memset(d.ram + DRIVER_DESCRIPTORS, 0xff, 16);
		assert_ptr_equal(request->writable[0].iov_base, d.ram + DRIVER_BUFFERS);
		assert_int_equal(request->writable[0].iov_len, 8);
		virtq_push(&d.queue, request, 8);
		driver_finish(&d);
	}
}

struct hostile {
	const char *what;
	unsigned count;
	struct piece pieces[3];
	bool indirect; /* the pieces are a table's */
};

static const struct hostile hostile_chains[] = {
	{ "beyond RAM", 1, { { DRIVER_MEMORY, 1, 0 } }, false },
	{ "over the end of RAM", 1, { { DRIVER_MEMORY - 8, 9, 0 } }, false },
	{ "address wraps", 1, { { UINT64_MAX - 7, 16, 0 } }, false },
	{ "IOAPIC", 1, { { 0xfec00000, 4, VIRTQ_DESC_WRITE } }, false },
	{ "readable after writable", 2,
		{ { DRIVER_BUFFERS, 4, VIRTQ_DESC_WRITE }, { DRIVER_BUFFERS, 4, 0 } }, false },
	{ "longer than 4 GiB", 2, { { DRIVER_BUFFERS, 4, 0 }, { DRIVER_BUFFERS, UINT32_MAX, 0 } },
		false },
	{ "table of no length", 1, { { DRIVER_TABLES, 0, VIRTQ_DESC_INDIRECT } }, false },
	{ "table of half a descriptor", 1, { { DRIVER_TABLES, 24, VIRTQ_DESC_INDIRECT } }, false },
	{ "table beyond RAM", 1, { { DRIVER_MEMORY - 16, 32, VIRTQ_DESC_INDIRECT } }, false },
	{ "table too long", 1,
		{ { DRIVER_TABLES, 16 * (VIRTQ_MAX_SIZE + 1), VIRTQ_DESC_INDIRECT } }, false },
	{ "table in a chain", 2,
		{ { DRIVER_TABLES, 16, VIRTQ_DESC_INDIRECT }, { DRIVER_BUFFERS, 4, 0 } }, false },
	{ "table in a table", 1, { { DRIVER_TABLES, 16, VIRTQ_DESC_INDIRECT } }, true },
};

static void test_hostile_chains(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NR_FORMATS * ARRAY_SIZE(hostile_chains); i++) {
		const struct hostile *hostile = &hostile_chains[i / NR_FORMATS];
		struct driver d;

		driver_init(&d, 8, formats[i % NR_FORMATS] | INDIRECT);
		if (hostile->indirect) {
			put_table(&d, hostile->pieces, hostile->count);
			driver_add(&d,
				&(struct piece){
					DRIVER_TABLES, 16 * hostile->count, VIRTQ_DESC_INDIRECT },
				1);
		} else {
			driver_add(&d, hostile->pieces, hostile->count);
		}
		if (virtq_pop(&d.queue) || !d.queue.state.broken)
			fail_msg("%s was accepted (format %u)", hostile->what, i % NR_FORMATS);
		assert_false(virtq_enable_notification(&d.queue));

		/* A reset mends it. */
		virtq_reset(&d.queue);
		driver_start(&d, 8, formats[i % NR_FORMATS]);
		driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 4, 0 }, 1);
		virtq_push(&d.queue, virtq_pop(&d.queue), 0);
		assert_false(d.queue.state.broken);
		driver_finish(&d);
	}
}

static void test_loops(void **state)
{
	const struct piece whole[] = { { DRIVER_BUFFERS, 4, 0 }, { DRIVER_BUFFERS, 4, 0 },
		{ DRIVER_BUFFERS, 4, 0 }, { DRIVER_BUFFERS, 4, VIRTQ_DESC_NEXT } };
	struct driver d;

	(void)state;
	for (unsigned format = 0; format < NR_FORMATS; format++) {
		driver_init(&d, 4, formats[format]);
		driver_add(&d, whole, 4);
		assert_null(virtq_pop(&d.queue));
		assert_true(d.queue.state.broken);
		driver_finish(&d);
	}
	/* A table whose first descriptor follows itself. */
	driver_init(&d, 4, SPLIT | INDIRECT);
	put_split(&d, DRIVER_TABLES, &whole[0], VIRTQ_DESC_NEXT, 0);
	driver_add(&d, &(struct piece){ DRIVER_TABLES, 16, VIRTQ_DESC_INDIRECT }, 1);
	assert_null(virtq_pop(&d.queue));
	assert_true(d.queue.state.broken);
	driver_finish(&d);
}

static void test_hostile_indexes(void **state)
{
	struct virtq_request *kept[4];
	struct driver d;

	(void)state;
	/* The available index jumps by more than the ring holds. */
	driver_init(&d, 4, SPLIT);
	put16(&d, DRIVER_AREA + 2, 5);
	assert_null(virtq_pop(&d.queue));
	assert_true(d.queue.state.broken);
	driver_finish(&d);

	/* A head outside the table; a chain that leaves it. */
	driver_init(&d, 4, SPLIT);
	put16(&d, DRIVER_AREA + 4, 4);
	put16(&d, DRIVER_AREA + 2, 1);
	assert_null(virtq_pop(&d.queue));
	assert_true(d.queue.state.broken);
	driver_finish(&d);
	driver_init(&d, 4, SPLIT);
	put_split(&d, DRIVER_DESCRIPTORS, &(struct piece){ DRIVER_BUFFERS, 4, 0 }, VIRTQ_DESC_NEXT,
		0x8000);
	put16(&d, DRIVER_AREA + 2, 1);
	assert_null(virtq_pop(&d.queue));
	assert_true(d.queue.state.broken);
	driver_finish(&d);

	/* The same chain again and again, never given back. */
	driver_init(&d, 4, SPLIT);
	for (unsigned i = 0; i < 4; i++) {
		driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 4, 0 }, 1);
		kept[i] = virtq_pop(&d.queue);
		assert_non_null(kept[i]);
	}
	driver_add(&d, &(struct piece){ DRIVER_BUFFERS, 4, 0 }, 1);
	assert_null(virtq_pop(&d.queue));
	assert_true(d.queue.state.broken);
	assert_int_equal(d.queue.in_flight, 4);
	for (unsigned i = 0; i < 4; i++)
		virtq_drop(&d.queue, kept[i]);
	driver_finish(&d);
}

static void test_impossible_rings(void **state)
{
	static const struct {
		uint16_t size;
		uint64_t descriptors, driver_area, device_area;
		bool split_only;
	} rings[] = {
		{ 0, 0x1000, 0x2000, 0x3000, false },
		{ 3, 0x1000, 0x2000, 0x3000, true },
		{ 2048, 0x1000, 0x20000, 0x40000, false },
		{ 4, 0x1008, 0x2000, 0x3000, false },
		{ 4, 0x1000, 0x2001, 0x3000, false },
		{ 4, 0x1000, 0x2000, 0x3002, false },
		{ 4, DRIVER_MEMORY - 48, 0x2000, 0x3000, false },
		{ 4, 0x1000, DRIVER_MEMORY, 0x3000, false },
		{ 4, 0x1000, 0x2000, UINT64_MAX - 3, false },
	};

	(void)state;
	for (unsigned i = 0; i < NR_FORMATS * ARRAY_SIZE(rings); i++) {
		struct driver d;

		if (i % NR_FORMATS && rings[i / NR_FORMATS].split_only)
			continue;
		driver_init(&d, 4, formats[i % NR_FORMATS]);
		virtq_reset(&d.queue);
		d.queue.state.size = rings[i / NR_FORMATS].size;
		d.queue.state.descriptors = rings[i / NR_FORMATS].descriptors;
		d.queue.state.driver_area = rings[i / NR_FORMATS].driver_area;
		d.queue.state.device_area = rings[i / NR_FORMATS].device_area;
		assert_false(virtq_enable(&d.queue, formats[i % NR_FORMATS]));
		assert_true(d.queue.state.broken);
		assert_null(virtq_pop(&d.queue));
		driver_finish(&d);
	}
}

static void test_read_only_memory(void **state)
{
	struct driver d;

	(void)state;
	driver_init(&d, 8, SPLIT);
	assert_int_equal(guest_memory_add(&d.memory, DRIVER_MEMORY, 4096, true, NULL), 0);
	/* A buffer over two regions becomes two pieces; ROM can be read, not written. */
	driver_add(&d, &(struct piece){ DRIVER_MEMORY - 8, 16, 0 }, 1);
	struct virtq_request *request = virtq_pop(&d.queue);

	assert_int_equal(request->nr_readable, 2);
	virtq_push(&d.queue, request, 0);
	driver_add(&d, &(struct piece){ DRIVER_MEMORY - 8, 16, VIRTQ_DESC_WRITE }, 1);
	assert_null(virtq_pop(&d.queue));
	assert_true(d.queue.state.broken);
	driver_finish(&d);
}

static void test_state(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_true(state_covers(&virtq_state_table, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_rounds),
		cmocka_unit_test(test_packed_rounds),
		cmocka_unit_test(test_index_wraps),
		cmocka_unit_test(test_indirect),
		cmocka_unit_test(test_interrupt_suppression),
		cmocka_unit_test(test_requests_that_belong_together),
		cmocka_unit_test(test_notification_suppression),
		cmocka_unit_test(test_await_more),
		cmocka_unit_test(test_unpop),
		cmocka_unit_test(test_copied_once),
		cmocka_unit_test(test_hostile_chains),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_hostile_indexes),
		cmocka_unit_test(test_impossible_rings),
		cmocka_unit_test(test_read_only_memory),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
