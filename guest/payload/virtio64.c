/*
 * A hostile virtio driver: chains that loop, point at devices or wrap, tables in tables, indexes
 * that jump, registers changed after they were taken, resets with requests in flight. The device
 * asks for a reset, the neighbour queue goes on, and nothing is written where it must not be. Needs
 * `--disk /proc/self/exe,format=raw,readonly=on,queues=2`: any image whose beginning is an ELF
 * file.
 */
#include "virtio.h"

#define DISK 1

#define F_INDIRECT   BIT(28)
#define F_VERSION_1  BIT(32)
#define F_RING_RESET BIT(40)

#define NR_QUEUES 2
#define BUFFER    (6ull << 20)
#define BIG       (7ull << 20)
#define BIG_BYTES 0x40000u
#define DISK_READ 0

struct request {
	u32 type, reserved;
	u64 sector;
	volatile u8 status;
};

static struct ring rings[NR_QUEUES] __attribute__((aligned(4096)));
static struct desc table[SIZE] __attribute__((aligned(16)));
static struct request requests[NR_QUEUES * SIZE] __attribute__((aligned(64)));

static volatile u32 *config(unsigned offset)
{
	return (volatile u32 *)(word)(ECAM + (DISK << 15) + offset);
}

static void negotiate(void)
{
	put8(DEVICE_STATUS, 0);
	await_status(0xff, 0);
	put8(DEVICE_STATUS, ACKNOWLEDGE);
	put8(DEVICE_STATUS, ACKNOWLEDGE | DRIVER);
	set_driver_features(F_VERSION_1 | F_INDIRECT | F_RING_RESET);
	put8(DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
}

static void start(void)
{
	negotiate();
	for (unsigned queue = 0; queue < NR_QUEUES; queue++)
		set_up_queue(queue, &rings[queue]);
	put8(DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

static void make_available(unsigned queue, u16 head)
{
	struct ring *ring = &rings[queue];

	ring->avail[ring->avail_index % SIZE] = head;
	asm volatile("" ::: "memory");
	ring->avail_index++;
}

/* Three descriptors from `first` on: header, `bytes` to `address`, status. */
static struct request *put_read(unsigned queue, unsigned first, u64 address, u32 bytes)
{
	struct request *request = &requests[queue * SIZE + first];
	struct desc *desc = &rings[queue].desc[first];

	*request = (struct request){ .type = DISK_READ, .status = 0xff };
	desc[0] = (struct desc){ (word)request, 16, NEXT, (u16)(first + 1) };
	desc[1] = (struct desc){ address, bytes, NEXT | WRITE, (u16)(first + 2) };
	desc[2] = (struct desc){ (word)&request->status, 1, WRITE, 0 };
	return request;
}

static bool await_used(unsigned queue, u16 index)
{
	for (unsigned i = 0; i < 20 * SPINS; i++) {
		if (rings[queue].used_index == index)
			return true;
		if (i % 20000 == 0)
			get8(DEVICE_STATUS); /* lets other threads of the host run */
	}
	return false;
}

/* A proper read of the first sector, which begins with 7f 'E' 'L' 'F'. */
static bool reads(unsigned queue)
{
	u16 expected = (u16)(rings[queue].used_index + 1);
	struct request *request = put_read(queue, 0, BUFFER, 512);

	*(volatile u32 *)BUFFER = 0;
	make_available(queue, 0);
	notify(queue);
	return await_used(queue, expected) && request->status == 0 &&
	       *(volatile u32 *)BUFFER == 0x464c457f;
}

/* What queue 0 is given, behind a proper request at descriptors 0 to 2. */
struct attack {
	const char *name;
	void (*prepare)(struct desc *desc);
};

static void loops(struct desc *desc)
{
	desc[1].next = 0;
	desc[0].flags = desc[1].flags = WRITE | NEXT;
}

static void loops_on_itself(struct desc *desc)
{
	desc[0].next = 0;
}

static void leaves_table(struct desc *desc)
{
	desc[0].next = SIZE;
}

static void at_ioapic(struct desc *desc)
{
	desc[1].address = IOAPIC;
}

static void at_own_registers(struct desc *desc)
{
	desc[1].address = BAR_ADDRESS;
}

static void beyond_memory(struct desc *desc)
{
	desc[1].address = 1ull << 46;
}

static void wraps(struct desc *desc)
{
	desc[1].address = 0ull - 256;
}

static void is_too_long(struct desc *desc)
{
	desc[1].length = 0xffffffff;
}

static void mixes_directions(struct desc *desc)
{
	desc[2].flags = 0;
}

static void has_no_status(struct desc *desc)
{
	desc[0].flags = 0;
}

static void has_half_a_header(struct desc *desc)
{
	desc[0].length = 8;
}

static void nests_tables(struct desc *desc)
{
	table[0] = (struct desc){ (word)table, 32, INDIRECT, 0 };
	desc[0] = (struct desc){ (word)table, 32, INDIRECT, 0 };
}

static void chains_table(struct desc *desc)
{
	desc[0] = (struct desc){ (word)table, 32, INDIRECT | NEXT, 1 };
}

static void table_at_device(struct desc *desc)
{
	desc[0] = (struct desc){ IOAPIC, 32, INDIRECT, 0 };
}

static void table_is_odd(struct desc *desc)
{
	desc[0] = (struct desc){ (word)table, 33, INDIRECT, 0 };
}

static void table_loops(struct desc *desc)
{
	table[0] = (struct desc){ BUFFER, 16, NEXT, 0 };
	desc[0] = (struct desc){ (word)table, 32, INDIRECT, 0 };
}

static void index_jumps(struct desc *desc)
{
	(void)desc;
	rings[0].avail_index += SIZE + 1;
}

static void head_is_outside(struct desc *desc)
{
	(void)desc;
	rings[0].avail[0] = 0x8000;
}

static const struct attack attacks[] = {
	{ "a chain that loops", loops },
	{ "a chain that loops on itself", loops_on_itself },
	{ "a chain that leaves the table", leaves_table },
	{ "a buffer at the IOAPIC", at_ioapic },
	{ "a buffer at the device's registers", at_own_registers },
	{ "a buffer beyond memory", beyond_memory },
	{ "a buffer that wraps", wraps },
	{ "a buffer of 4 GiB", is_too_long },
	{ "a buffer to read after one to write", mixes_directions },
	{ "a request without a status", has_no_status },
	{ "a request with half a header", has_half_a_header },
	{ "a table in a table", nests_tables },
	{ "a table in a chain", chains_table },
	{ "a table at a device", table_at_device },
	{ "a table of a length that is odd", table_is_odd },
	{ "a table that loops", table_loops },
	{ "an index that jumps", index_jumps },
	{ "a head outside the table", head_is_outside },
};

static void attack(const struct attack *attack)
{
	start();
	put_read(0, 0, BUFFER, 512);
	/* A device may look without being told: nothing is available before all is prepared. */
	rings[0].avail[0] = 0;
	attack->prepare(rings[0].desc);
	asm volatile("" ::: "memory");
	rings[0].avail_index++;
	notify(0);
	check(await_status(NEEDS_RESET, NEEDS_RESET), attack->name);
	check(reads(1), "and the other queue goes on");
	start();
	check(reads(0) && reads(1), "and a reset mends it");
}

static void rings_at_devices(void)
{
	static const unsigned registers[] = { QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE };

	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++) {
		negotiate();
		set_up_queue(1, &rings[1]);
		__builtin_memset(&rings[0], 0, sizeof(rings[0]));
		put16(QUEUE_SELECT, 0);
		put16(QUEUE_SIZE, SIZE);
		put64(QUEUE_DESC, (word)rings[0].desc);
		put64(QUEUE_DRIVER, (word)&rings[0].avail_flags);
		put64(QUEUE_DEVICE, (word)&rings[0].used_flags);
		put64(registers[i], IOAPIC);
		put16(QUEUE_ENABLE, 1);
		put8(DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
		check(await_status(NEEDS_RESET, NEEDS_RESET), "a ring at the IOAPIC");
		check(reads(1), "and the other queue goes on");
	}
}

static void registers(void)
{
	start();
	put16(QUEUE_SELECT, 0);
	put64(QUEUE_DESC, IOAPIC);
	put16(QUEUE_SIZE, 2);
	check_equal(get32(QUEUE_DESC), (u32)(word)rings[0].desc, "a ring in use does not move");
	check_equal(get16(QUEUE_SIZE), SIZE, "nor does its size change");
	check(reads(0), "and it works");
	put8(DEVICE_STATUS, 0);
	await_status(0xff, 0);
	put8(DEVICE_STATUS, ACKNOWLEDGE | DRIVER);
	set_driver_features(~0ull);
	put8(DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	check_equal(get8(DEVICE_STATUS), ACKNOWLEDGE | DRIVER, "features that were not offered");
	put8(DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	check_equal(get8(DEVICE_STATUS), ACKNOWLEDGE | DRIVER, "and no start without them");
	put16(QUEUE_SELECT, 77);
	check_equal(get16(QUEUE_SIZE), 0, "there is no queue 77");
	put16(QUEUE_ENABLE, 1);
	for (unsigned offset = 0; offset < 0x4000; offset += offset < 64 ? 1 : 61) {
		put8(offset, 0xff);
		put16(offset & ~1u, 0xffff);
		put32(offset & ~3u, 0xffffffff);
		get8(offset);
		get32(offset & ~3u);
	}
	start();
	check(reads(0) && reads(1), "after writes everywhere");
}

static void queue_reset(void)
{
	start();
	check(reads(0), "before a queue's reset");
	put16(QUEUE_SELECT, 0);
	put16(QUEUE_RESET, 1);
	for (unsigned i = 0; i < SPINS && get16(QUEUE_RESET); i++)
		;
	check_equal(get16(QUEUE_ENABLE), 0, "a queue that was reset is disabled");
	check(reads(1), "the other one goes on");
	set_up_queue(0, &rings[0]);
	check(reads(0), "and it can be enabled again");
}

/* Many large reads in flight, and a reset: nothing is written once the status reads 0. */
static void reset_in_flight(void)
{
	unsigned changed = 0;

	for (unsigned round = 0; round < 50; round++) {
		start();
		for (unsigned queue = 0; queue < NR_QUEUES; queue++) {
			put_read(queue, 0, BIG, BIG_BYTES);
			put_read(queue, 3, BIG, BIG_BYTES);
			make_available(queue, 0);
			make_available(queue, 3);
			notify(queue);
		}
		put8(DEVICE_STATUS, 0);
		if (!await_status(0xff, 0))
			changed++;
		__builtin_memset((void *)BIG, 0xa5, BIG_BYTES);
		for (unsigned i = 0; i < 2000; i++)
			get8(DEVICE_STATUS);
		for (unsigned i = 0; i < BIG_BYTES; i++)
			changed += ((volatile u8 *)BIG)[i] != 0xa5;
	}
	check_equal(changed, 0, "nothing is written after a reset");
	start();
	check(reads(0) && reads(1), "and the queues work again");
}

void payload(void)
{
	*config(4) = 0;
	*config(BAR4) = BAR_ADDRESS;
	*config(BAR4 + 4) = 0;
	*config(4) = 2 | 4; /* memory, bus master */
	check_equal(*config(0), 0x10421af4, "the disk");
	check_equal(get16(NUM_QUEUES), NR_QUEUES, "its queues");
	start();
	check(reads(0) && reads(1), "a proper driver");
	for (unsigned i = 0; i < ARRAY_SIZE(attacks); i++)
		attack(&attacks[i]);
	rings_at_devices();
	registers();
	queue_reset();
	reset_in_flight();
	*config(4) = 2;
	start();
	check(!reads(0), "no bus master, no access to memory");
	*config(4) = 2 | 4;
	check(await_used(0, 1), "and it goes on when there is one");
}
