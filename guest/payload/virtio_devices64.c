/*
 * A hostile driver for every virtio device on the bus (virtio64 is the one that goes deep into a
 * disk): each queue gets chains that loop, wrap, leave their table, nest tables, or point at
 * devices and beyond memory. The device asks for a reset, its other queues go on, and a reset mends
 * it. Then rings that move, writes everywhere in the registers, and resets with buffers in flight,
 * after which nothing is written any more; all of it again and again, so that memory that is lost
 * would be seen.
 *
 * Which devices there are is the options' matter (tests/guest/payloads.py); at least MIN_KINDS.
 */
#include "virtio.h"

#define NR_SLOTS  32
#define MIN_KINDS 9

#define F_PACKED BIT(34)

#define MAX_QUEUES 16
#define BUFFERS    (6ull << 20)
#define BUFFER     0x2000ull
#define BIG        (8ull << 20)
#define BIG_BYTES  0x100000u
#define ROUNDS     10

/*
 * A queue that takes whatever it is given at once, and what a proper request to it looks like:
 * bytes that the device reads, and how many it may write. A queue that is not here waits for
 * something to happen outside.
 */
struct taker {
	u16 type;
	u16 queue; /* LAST_QUEUE: the device's last */
	const u8 *bytes;
	u16 nr_bytes, nr_writable;
};

#define LAST_QUEUE 0xffff

static const u8 frame[26] = { [12] = 2, [17] = 9, [18] = 2, [23] = 8, [24] = 8 };
static const u8 net_command[3] = { 0, 0, 1 };                         /* promiscuous */
static const u8 disk_flush[16] = { 4 };                               /* VIRTIO_BLK_T_FLUSH */
static const u8 console_open[8] = { [4] = 6, [6] = 1 };               /* port 0 is open */
static const u8 text[] = "hello";                                     /* for whoever listens */
static const u8 page_number[4] = { 0xff, 0x20 };                      /* a page that nobody uses */
static const u8 led[8] = { 0x11, 0, 1, 0, 1 };                        /* caps lock */
static const u8 vsock_reset[44] = { 3, [8] = 2, [28] = 1, [30] = 3 }; /* of no connection */
static const u8 fuse_statfs[40] = { 40, [4] = 17, [8] = 1, [16] = 1 };
static const u8 flush[4] = { 0 };
static const u8 mem_state[24] = { 3 };

#define NET     1
#define BLOCK   2
#define CONSOLE 3
#define ENTROPY 4
#define BALLOON 5
#define INPUT   18
#define VSOCK   19
#define MEM     24
#define FS      26
#define PMEM    27

#define BYTES(array) array, sizeof(array)

static const struct taker takers[] = {
	{ NET, 1, BYTES(frame), 0 },
	{ NET, LAST_QUEUE, BYTES(net_command), 1 },
	{ BLOCK, 0, BYTES(disk_flush), 1 },
	{ BLOCK, 1, BYTES(disk_flush), 1 },
	{ CONSOLE, 1, BYTES(text), 0 },
	{ CONSOLE, 3, BYTES(console_open), 0 },
	{ CONSOLE, 5, BYTES(text), 0 },
	{ ENTROPY, 0, NULL, 0, 16 },
	{ BALLOON, 0, BYTES(page_number), 0 },
	{ BALLOON, 1, BYTES(page_number), 0 },
	{ BALLOON, LAST_QUEUE, NULL, 0, 4096 },
	{ INPUT, 1, BYTES(led), 0 },
	{ VSOCK, 1, BYTES(vsock_reset), 0 },
	{ MEM, 0, BYTES(mem_state), 10 },
	{ FS, 1, BYTES(fuse_statfs), 112 },
	{ PMEM, 0, BYTES(flush), 4 },
};

static const char *const names[] = {
	[NET] = "net",
	[BLOCK] = "disk",
	[CONSOLE] = "console",
	[ENTROPY] = "rng",
	[BALLOON] = "balloon",
	[INPUT] = "input",
	[VSOCK] = "vsock",
	[MEM] = "mem",
	[FS] = "fs",
	[PMEM] = "pmem",
};

static struct ring rings[MAX_QUEUES] __attribute__((aligned(4096)));
static struct desc table[SIZE] __attribute__((aligned(16)));

/* The device that is looked at. */
static unsigned slot, type, nr_queues;
static u64 features;

static volatile u32 *config(unsigned offset)
{
	return (volatile u32 *)(word)(ECAM + (slot << 15) + offset);
}

static u16 queue_of(const struct taker *taker)
{
	return taker->queue == LAST_QUEUE ? (u16)(nr_queues - 1) : taker->queue;
}

/* A driver. */

static bool start(void)
{
	bool was_reset;

	put8(DEVICE_STATUS, 0);
	was_reset = await_status(0xff, 0);
	put8(DEVICE_STATUS, ACKNOWLEDGE | DRIVER);
	set_driver_features(features & ~F_PACKED);
	put8(DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	for (unsigned queue = 0; queue < nr_queues; queue++)
		set_up_queue(queue, &rings[queue]);
	put8(DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	return was_reset;
}

static u64 buffer_of(unsigned queue)
{
	return BUFFERS + queue * BUFFER;
}

/* Two descriptors: what the device reads, and what it may write; or one of them. */
static void put_request(unsigned queue, const struct taker *taker)
{
	struct desc *desc = rings[queue].desc;
	u64 buffer = buffer_of(queue);
	unsigned count = 0;

	if (taker->nr_bytes > 0) {
		__builtin_memcpy((void *)buffer, taker->bytes, taker->nr_bytes);
		desc[count++] = (struct desc){ buffer, taker->nr_bytes, 0, 1 };
	}
	if (taker->nr_writable > 0)
		desc[count++] = (struct desc){ buffer + 4096, taker->nr_writable, WRITE, 0 };
	if (count == 2)
		desc[0].flags |= NEXT;
}

static void make_available(unsigned queue)
{
	struct ring *ring = &rings[queue];

	ring->avail[ring->avail_index % SIZE] = 0;
	barrier();
	ring->avail_index++;
}

static bool works(const struct taker *taker)
{
	unsigned queue = queue_of(taker);
	u16 expected = (u16)(rings[queue].used_index + 1);

	put_request(queue, taker);
	make_available(queue);
	notify(queue);
	for (unsigned i = 0; i < 20 * SPINS; i++) {
		if (rings[queue].used_index == expected)
			return true;
		if (i % 20000 == 0)
			get8(DEVICE_STATUS); /* lets other threads of the host run */
	}
	return false;
}

static bool all_work(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(takers); i++) {
		if (takers[i].type == type && queue_of(&takers[i]) < nr_queues &&
			!works(&takers[i]))
			return false;
	}
	return true;
}

/* Another queue of the device that works, or the device has no other. */
static bool a_neighbour_works(unsigned queue)
{
	for (unsigned i = 0; i < ARRAY_SIZE(takers); i++) {
		unsigned other = queue_of(&takers[i]);

		if (takers[i].type == type && other != queue && other < nr_queues)
			return works(&takers[i]);
	}
	return true;
}

/* Attacks: what becomes of the descriptors of a proper request. */

static void loops(struct desc *desc)
{
	desc[0].flags |= NEXT;
	desc[0].next = 1;
	desc[1] = desc[0];
	desc[1].next = 0;
}

static void loops_on_itself(struct desc *desc)
{
	desc[0].flags |= NEXT;
	desc[0].next = 0;
}

static void leaves_table(struct desc *desc)
{
	desc[0].flags |= NEXT;
	desc[0].next = SIZE;
}

static void at_ioapic(struct desc *desc)
{
	desc[0].address = IOAPIC;
}

static void at_own_registers(struct desc *desc)
{
	desc[0].address = BAR_ADDRESS;
}

static void beyond_memory(struct desc *desc)
{
	desc[0].address = 1ull << 46;
}

static void wraps(struct desc *desc)
{
	desc[0].address = 0ull - 2;
}

static void is_too_long(struct desc *desc)
{
	desc[0].length = 0xffffffff;
}

static void mixes_directions(struct desc *desc)
{
	desc[0] = (struct desc){ BIG, 16, WRITE | NEXT, 1 };
	desc[1] = (struct desc){ BIG, 16, 0, 0 };
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
	table[0] = (struct desc){ BIG, 16, NEXT, 0 };
	desc[0] = (struct desc){ (word)table, 32, INDIRECT, 0 };
}

typedef void attack_on(struct desc *desc);

static attack_on *const attacks[] = {
	loops,
	loops_on_itself,
	leaves_table,
	at_ioapic,
	at_own_registers,
	beyond_memory,
	wraps,
	is_too_long,
	mixes_directions,
	nests_tables,
	chains_table,
	table_at_device,
	table_is_odd,
	table_loops,
};

static void give_attack(unsigned queue, const struct taker *taker, attack_on *attack)
{
	if (taker)
		put_request(queue, taker);
	else
		rings[queue].desc[0] = (struct desc){ buffer_of(queue), 4096, WRITE, 0 };
	attack(rings[queue].desc);
	make_available(queue);
	notify(queue);
}

static void index_jumps(unsigned queue)
{
	rings[queue].avail_index += SIZE + 1;
	notify(queue);
}

static void head_is_outside(unsigned queue)
{
	rings[queue].avail[0] = 0x8000;
	barrier();
	rings[queue].avail_index++;
	notify(queue);
}

static void attack_queue(const struct taker *taker)
{
	unsigned queue = queue_of(taker), unnoticed = 0, stopped = 0, broken = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(attacks) + 2; i++) {
		start();
		if (i < ARRAY_SIZE(attacks))
			give_attack(queue, taker, attacks[i]);
		else if (i == ARRAY_SIZE(attacks))
			index_jumps(queue);
		else
			head_is_outside(queue);
		unnoticed += !await_status(NEEDS_RESET, NEEDS_RESET);
		stopped += !a_neighbour_works(queue);
		broken += !start() || !all_work();
	}
	print("# %s queue %u\n", names[type], queue);
	check_equal(unnoticed, 0, "attacks ask for a reset");
	check_equal(stopped, 0, "another queue goes on");
	check_equal(broken, 0, "a reset mends it");
}

static bool takes_at_once(unsigned queue)
{
	for (unsigned i = 0; i < ARRAY_SIZE(takers); i++) {
		if (takers[i].type == type && queue_of(&takers[i]) == queue)
			return true;
	}
	return false;
}

/* Queues that wait: whether they look now or later, the others go on. */
static void attack_others(void)
{
	unsigned stopped = 0, broken = 0;

	for (unsigned queue = 0; queue < nr_queues; queue++) {
		if (takes_at_once(queue))
			continue;
		for (unsigned i = 0; i < ARRAY_SIZE(attacks); i++) {
			start();
			give_attack(queue, NULL, attacks[i]);
			stopped += !a_neighbour_works(queue);
			broken += !start() || !all_work();
		}
	}
	check_equal(stopped, 0, "queues that wait: the others go on");
	check_equal(broken, 0, "and a reset mends the device");
}

/* What a driver may not do to registers in use, and what is written where nothing is. */
static void attack_registers(void)
{
	unsigned moved = 0;

	start();
	for (unsigned queue = 0; queue < nr_queues; queue++) {
		put16(QUEUE_SELECT, (u16)queue);
		put64(QUEUE_DESC, IOAPIC);
		put64(QUEUE_DRIVER, IOAPIC);
		put64(QUEUE_DEVICE, IOAPIC);
		put16(QUEUE_SIZE, 2);
		moved += get32(QUEUE_DESC) != (u32)(word)rings[queue].desc;
		moved += get16(QUEUE_SIZE) != SIZE;
	}
	check_equal(moved, 0, "rings in use do not move");
	check(all_work(), "and work");
	for (unsigned offset = 0; offset < BAR_BYTES; offset += offset < 64 ? 1 : 61) {
		put8(offset, 0xff);
		put16(offset & ~1u, 0xffff);
		put32(offset & ~3u, 0xffffffff);
		get8(offset);
		get32(offset & ~3u);
	}
	check(start() && all_work(), "writes everywhere, and a reset");
}

/* Buffers in every queue, and a reset: nothing is written once the status reads 0. */
static void reset_in_flight(void)
{
	unsigned changed = 0;

	for (unsigned round = 0; round < 10; round++) {
		start();
		for (unsigned queue = 0; queue < nr_queues; queue++) {
			for (unsigned i = 0; i < SIZE; i++) {
				rings[queue].desc[i] =
					(struct desc){ BIG + i * 0x1000, 0x1000, WRITE, 0 };
				rings[queue].avail[i] = (u16)i;
			}
			barrier();
			rings[queue].avail_index = SIZE;
			notify(queue);
		}
		put8(DEVICE_STATUS, 0);
		changed += !await_status(0xff, 0);
		__builtin_memset((void *)BIG, 0xa5, SIZE * 0x1000);
		for (unsigned i = 0; i < 200; i++)
			get8(DEVICE_STATUS);
		for (unsigned i = 0; i < SIZE * 0x1000; i++)
			changed += ((volatile u8 *)BIG)[i] != 0xa5;
	}
	check_equal(changed, 0, "nothing is written after a reset");
	check(start() && all_work(), "and the queues work again");
}

/* A chain that changes while the device looks at it. */
static void change_in_flight(void)
{
	for (unsigned round = 0; round < 20; round++) {
		start();
		for (unsigned queue = 0; queue < nr_queues; queue++) {
			volatile struct desc *desc = rings[queue].desc;

			desc->length = 64;
			desc->flags = WRITE;
			desc->address = BIG;
			make_available(queue);
			notify(queue);
			for (unsigned i = 0; i < 50; i++) {
				desc->address = i & 1 ? IOAPIC : BIG;
				desc->flags = i & 2 ? INDIRECT : WRITE;
				desc->length = i & 4 ? 0xffffffff : 64;
			}
		}
	}
	check(start() && all_work(), "chains that change in flight");
}

/* Nothing is checked: what would be lost adds up. */
static void again_and_again(void)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < ARRAY_SIZE(attacks); i++) {
			start();
			for (unsigned queue = 0; queue < nr_queues; queue++)
				give_attack(queue, NULL, attacks[i]);
		}
	}
	check(start() && all_work(), "again and again");
}

static void look_at_device(void)
{
	*config(4) = 0;
	*config(BAR4) = BAR_ADDRESS;
	*config(BAR4 + 4) = 0;
	*config(4) = 2 | 4; /* memory, bus master */
	nr_queues = get16(NUM_QUEUES);
	if (nr_queues > MAX_QUEUES)
		nr_queues = MAX_QUEUES;
	features = 0;
	for (unsigned half = 0; half < 2; half++) {
		put32(DEVICE_FEATURE_SELECT, half);
		features |= (u64)get32(DEVICE_FEATURE) << (32 * half);
	}
	print("# %s, %u queues\n", names[type], nr_queues);
	check(start() && all_work(), names[type]);
	for (unsigned i = 0; i < ARRAY_SIZE(takers); i++) {
		if (takers[i].type == type && queue_of(&takers[i]) < nr_queues)
			attack_queue(&takers[i]);
	}
	attack_others();
	attack_registers();
	reset_in_flight();
	change_in_flight();
	again_and_again();
	put8(DEVICE_STATUS, 0);
	await_status(0xff, 0);
	*config(4) = 0;
}

void payload(void)
{
	unsigned kinds = 0;
	u32 seen = 0;

	for (slot = 0; slot < NR_SLOTS; slot++) {
		u32 id = *config(0);

		if ((id & 0xffff) != 0x1af4)
			continue;
		/* A transitional device has its type in the subsystem's number. */
		type = id >> 16 >= 0x1040 ? (id >> 16) - 0x1040 : *config(0x2c) >> 16;
		if (type >= ARRAY_SIZE(names) || !names[type])
			continue;
		kinds += !(seen >> type & 1);
		seen |= 1u << type;
		look_at_device();
	}
	check(kinds >= MIN_KINDS, "all kinds of devices");
}
