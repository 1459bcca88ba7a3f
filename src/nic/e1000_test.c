/*
 * The 82540EM as its driver sees it: EEPROM, PHY, descriptors of all kinds, filters, interrupts and
 * their throttling, statistics. Numbers are those of the manual (317453).
 */
#include "nic/nic_fixture.h"

#include "nic/e1000_internal.h"

#define TX_RING   0x10000u
#define RX_RING   0x11000u
#define BUFFERS   0x20000u
#define RING_SIZE 8u
#define MAC                                                                                        \
	{                                                                                          \
		0x52, 0x54, 0, 1, 2, 3                                                             \
	}

struct fixture {
	struct nic_fixture nic;
	struct e1000 *card;
	gpa_t bar, ports;
};

static uint32_t get(struct fixture *f, uint32_t offset)
{
	return (uint32_t)machine_mmio_read(&f->nic.pci.machine, f->bar + offset, 4);
}

static void set(struct fixture *f, uint32_t offset, uint32_t value)
{
	machine_mmio_write(&f->nic.pci.machine, f->bar + offset, 4, value);
}

static void serve(struct fixture *f)
{
	machine_lock(&f->nic.pci.machine);
	f->card->cable.ops->serve(f->card);
	machine_unlock(&f->nic.pci.machine);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct nic_config config = { .name = "net0", .address = MAC };

	nic_fixture_init(&f->nic);
	config.machine = &f->nic.pci.machine;
	config.backend = &f->nic.cable->backend;
	assert_int_equal(e1000_create(&f->card, &config, NULL), 0);
	nic_fixture_plug(&f->nic, e1000_function(f->card));
	f->bar = f->card->function.bars[0].address;
	f->ports = f->card->function.bars[2].address;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	nic_fixture_unplug(&f->nic, &f->card->function);
	e1000_destroy(f->card);
	fixture_finish(&f->nic.pci);
	free(f);
	return 0;
}

static void start(struct fixture *f, uint32_t rctl)
{
	set(f, 0x3800, TX_RING);
	set(f, 0x3808, RING_SIZE * 16);
	set(f, 0x0400, 0x0004010a); /* TCTL: enabled, padding */
	set(f, 0x2800, RX_RING);
	set(f, 0x2808, RING_SIZE * 16);
	for (unsigned i = 0; i < RING_SIZE; i++) {
		uint64_t descriptor[2] = { BUFFERS + 0x10000 + i * 0x1000, 0 };

		ram_write(&f->nic, RX_RING + i * 16, descriptor, sizeof(descriptor));
	}
	set(f, 0x2818, RING_SIZE - 1);
	set(f, 0x0100, rctl);
}

static void put_descriptor(
	struct fixture *f, unsigned at, uint64_t address, uint32_t command, uint32_t status)
{
	uint32_t words[4] = { (uint32_t)address, (uint32_t)(address >> 32), command, status };

	ram_write(&f->nic, TX_RING + at * 16, words, sizeof(words));
}

static uint8_t tx_status(struct fixture *f, unsigned at)
{
	uint8_t status;

	ram_read(&f->nic, TX_RING + at * 16 + 12, &status, 1);
	return status;
}

static void registers_after_reset(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(config_get(&f->nic.pci, 1, PCI_VENDOR_ID, 4), 0x100e8086);
	assert_int_equal(get(f, 0x0008) & 0xc3, 0x83); /* link, full duplex, 1000 Mb/s */
	assert_int_equal(get(f, 0x5400), 0x01005452);
	assert_int_equal(get(f, 0x5404), 0x80000302);
	assert_int_equal(get(f, 0x0038), 0x8100);
	set(f, 0x5400, 0);
	set(f, 0x0000, BIT(26));
	assert_int_equal(get(f, 0x5400), 0x01005452);
	assert_int_equal(get(f, 0x0000) & BIT(26), 0);
}

static void ports_reach_registers(void **state)
{
	struct fixture *f = *state;
	struct machine *machine = &f->nic.pci.machine;

	machine_pio_write(machine, (uint16_t)f->ports, 4, 0x5400);
	assert_int_equal(machine_pio_read(machine, (uint16_t)f->ports + 4, 4), 0x01005452);
	machine_pio_write(machine, (uint16_t)f->ports + 4, 4, 0x11223344);
	assert_int_equal(get(f, 0x5400), 0x11223344);
}

/* Reads a word through the four pins (5.3.1). */
static uint16_t eeprom_serial(struct fixture *f, unsigned address)
{
	const uint32_t selected = 0x42; /* request, chip select */
	unsigned instruction = 6u << 6 | address;
	uint16_t word = 0;

	set(f, 0x10, 0x40);
	assert_true(get(f, 0x10) & 0x80);
	set(f, 0x10, selected);
	for (int bit = 8; bit >= 0; bit--) {
		uint32_t in = instruction >> bit & 1 ? 4 : 0;

		set(f, 0x10, selected | in);
		set(f, 0x10, selected | in | 1);
		set(f, 0x10, selected | in);
	}
	assert_false(get(f, 0x10) & 8);
	for (unsigned bit = 0; bit < 16; bit++) {
		set(f, 0x10, selected | 1);
		word = (uint16_t)(word << 1 | (get(f, 0x10) >> 3 & 1));
		set(f, 0x10, selected);
	}
	set(f, 0x10, 0);
	return word;
}

static void eeprom(void **state)
{
	struct fixture *f = *state;
	uint16_t sum = 0;

	for (unsigned i = 0; i < 64; i++) {
		set(f, 0x14, i << 8 | 1);
		assert_true(get(f, 0x14) & BIT(4));
		sum = (uint16_t)(sum + (get(f, 0x14) >> 16));
		assert_int_equal(eeprom_serial(f, i), get(f, 0x14) >> 16);
	}
	assert_int_equal(sum, 0xbaba);
	assert_int_equal(eeprom_serial(f, 0), 0x5452);
}

static void phy(void **state)
{
	struct fixture *f = *state;

	set(f, 0x20, 2u << 26 | 1u << 21 | 2u << 16);
	assert_int_equal(get(f, 0x20) & (BIT(28) | BIT(30) | 0xffff), BIT(28) | 0x0141);
	set(f, 0x20, 2u << 26 | 5u << 21 | 2u << 16); /* nobody's address */
	assert_true(get(f, 0x20) & BIT(30));
	get(f, 0xc0);
	set(f, 0x20, 1u << 26 | 1u << 21 | BIT(29) | BIT(15)); /* resets it */
	assert_int_equal(get(f, 0xc0), BIT(2) | BIT(9));
}

static void sends_legacy(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[64];

	start(f, 0);
	memset(frame, 0x11, sizeof(frame));
	ram_write(&f->nic, BUFFERS, frame, sizeof(frame));
	put_descriptor(f, 0, BUFFERS, 10, 0);
	put_descriptor(f, 1, BUFFERS + 10, 10 | BIT(24) | BIT(27), 0);
	set(f, 0x3818, 1);
	assert_int_equal(f->nic.cable->nr_sent, 0); /* its end is not there */
	set(f, 0x3818, 2);
	assert_int_equal(f->nic.cable->nr_sent, 1);
	assert_int_equal(f->nic.cable->sent_size, 60); /* padded */
	assert_int_equal(f->nic.cable->sent[19], 0x11);
	assert_int_equal(f->nic.cable->sent[20], 0);
	assert_int_equal(tx_status(f, 0), 0);
	assert_int_equal(tx_status(f, 1), 1);
	assert_int_equal(get(f, 0x3810), 2);
	assert_int_equal(get(f, 0xc0), BIT(0) | BIT(1));
	assert_int_equal(get(f, 0x4080), 1); /* GPTC */
	assert_int_equal(get(f, 0x4080), 0); /* cleared by reading */
	assert_int_equal(get(f, 0x40d8), 1); /* PTC64 */
}

static void a_full_cable_is_waited_for(void **state)
{
	struct fixture *f = *state;

	start(f, 0);
	f->nic.cable->is_full = true;
	put_descriptor(f, 0, BUFFERS, 100 | BIT(24) | BIT(27), 0);
	set(f, 0x3818, 1);
	assert_int_equal(get(f, 0x3810), 0);
	f->nic.cable->is_full = false;
	serve(f);
	assert_int_equal(get(f, 0x3810), 1);
	assert_int_equal(f->nic.cable->nr_sent, 1);
}

/* IPv4 and TCP with 3000 bytes of payload, lengths and sums left to the card. */
static void make_large(struct fixture *f)
{
	uint8_t frame[54] = {
		[12] = 8, [14] = 0x45, [23] = 6, [26] = 10, 0, 0, 1, 10, 0, 0, 2, [46] = 5 << 4
	};

	ram_write(&f->nic, BUFFERS, frame, sizeof(frame));
	put_descriptor(f, 0, 14 | 24 << 8 | 33 << 16 | (uint64_t)(34 | 50 << 8) << 32,
		3000 | BIT(24) | BIT(25) | BIT(26) | BIT(29), 54 << 8 | 1000u << 16);
	put_descriptor(f, 1, BUFFERS, 54 | 1 << 20 | BIT(26) | BIT(29), 3 << 8);
	put_descriptor(
		f, 2, BUFFERS + 54, 3000 | 1 << 20 | BIT(24) | BIT(26) | BIT(27) | BIT(29), 0);
}

static void sends_large_segments(void **state)
{
	struct fixture *f = *state;
	struct fixture_cable *cable = f->nic.cable;

	start(f, 0);
	make_large(f);
	set(f, 0x3818, 3);
	assert_int_equal(cable->nr_sent, 1);
	assert_int_equal(cable->sent_size, 3054);
	assert_int_equal(cable->sent_header.gso_type, NET_GSO_TCPV4);
	assert_int_equal(cable->sent_header.gso_size, 1000);
	assert_int_equal(cable->sent_header.checksum_start, 34);
	assert_int_equal(cable->sent[16] << 8 | cable->sent[17], 3040);
	assert_int_equal(offload_sum(cable->sent + 14, 20), 0xffff);
	/* 10.0.0.1 + 10.0.0.2 + 6 + 3020 */
	assert_int_equal(cable->sent[50] << 8 | cable->sent[51], 0x0a00 * 2 + 3 + 6 + 3020);
	assert_int_equal(get(f, 0x40f8), 1); /* TSCTC */
}

static void sums_as_the_context_says(void **state)
{
	struct fixture *f = *state;
	struct fixture_cable *cable = f->nic.cable;
	uint8_t frame[100] = { [12] = 8, [14] = 0x45, [40] = 0x12, 0x34 };

	start(f, 0);
	ram_write(&f->nic, BUFFERS, frame, sizeof(frame));
	put_descriptor(f, 0, 14 | 24 << 8 | 33 << 16 | (uint64_t)(34 | 50 << 8) << 32, BIT(29), 0);
	put_descriptor(f, 1, BUFFERS, 100 | 1 << 20 | BIT(24) | BIT(29), 3 << 8);
	set(f, 0x3818, 2);
	assert_int_equal(cable->sent[24] << 8 | cable->sent[25], 0xffff - 0x4500);
	assert_int_equal(cable->sent_header.flags, NET_HEADER_NEEDS_CHECKSUM);
	assert_int_equal(cable->sent_header.checksum_start, 34);
	assert_int_equal(cable->sent_header.checksum_offset, 16);
	/* Legacy: from CSS (40) to the end, at CSO (60). */
	put_descriptor(f, 2, BUFFERS, 100 | 60 << 16 | BIT(24) | BIT(26), 40 << 8);
	set(f, 0x3818, 3);
	assert_int_equal(cable->sent[60] << 8 | cable->sent[61], 0xffff - 0x1234);
}

static void tags(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[64] = { 0x52, 0x54, 0, 1, 2, 3, [12] = 0x81, 0, 0x20, 0x05, 8, 6 };
	uint64_t descriptor[2];

	start(f, 0x04008002);
	set(f, 0x0000, BIT(30)); /* VME */
	put_descriptor(f, 0, BUFFERS, 64 | BIT(24) | BIT(30), 0x2007u << 16);
	set(f, 0x3818, 1);
	assert_int_equal(f->nic.cable->sent_size, 68);
	assert_memory_equal(f->nic.cable->sent + 12, "\x81\x00\x20\x07", 4);
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	serve(f);
	ram_read(&f->nic, RX_RING, descriptor, sizeof(descriptor));
	assert_int_equal(descriptor[1] & 0xffff, 60);
	assert_int_equal(descriptor[1] >> 48, 0x2005);
	assert_true(descriptor[1] >> 32 & BIT(3)); /* VP */
	/* VLAN 5 is filtered out, then let in. */
	set(f, 0x0100, 0x04048002);
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	serve(f);
	assert_int_equal(get(f, 0x2810), 1);
	set(f, 0x5600, BIT(5));
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	serve(f);
	assert_int_equal(get(f, 0x2810), 2);
}

static void receives(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[1500] = MAC, seen[1500];
	uint64_t descriptor[2];

	memset(frame + 12, 0x77, sizeof(frame) - 12);
	start(f, 0x04008002 | 3 << 16); /* stripped CRC, buffers of 256 bytes */
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	serve(f);
	assert_int_equal(get(f, 0x2810), 6);
	ram_read(&f->nic, RX_RING, descriptor, sizeof(descriptor));
	assert_int_equal(descriptor[1] & 0xffff, 256);
	assert_int_equal(descriptor[1] >> 32 & 3, 1); /* done, not the end */
	ram_read(&f->nic, RX_RING + 5 * 16, descriptor, sizeof(descriptor));
	assert_int_equal(descriptor[1] & 0xffff, 1500 - 5 * 256);
	assert_int_equal(descriptor[1] >> 32 & 3, 3);
	ram_read(&f->nic, BUFFERS + 0x10000, seen, 256);
	assert_memory_equal(seen, frame, 256);
	assert_int_equal(get(f, 0xc0), BIT(7) | BIT(4)); /* RXT0, few descriptors */
	assert_int_equal(get(f, 0x4074), 1);             /* GPRC */
	assert_int_equal(get(f, 0x4088), 1504);          /* GORCL, with the CRC */
	/* One more waits for descriptors. */
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	serve(f);
	assert_int_equal(get(f, 0x2810), 6);
	set(f, 0x2818, 5);
	serve(f);
	assert_int_equal(get(f, 0x2810), 4);
}

static void keeps_the_crc(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[60] = MAC, seen[64];

	start(f, 0x00008002);
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	serve(f);
	ram_read(&f->nic, BUFFERS + 0x10000, seen, sizeof(seen));
	/* The FCS of these bytes, computed with Python's zlib. */
	assert_memory_equal(seen, frame, 60);
	assert_int_equal(
		seen[60] | seen[61] << 8 | seen[62] << 16 | (uint32_t)seen[63] << 24, 0xad0d72fe);
}

static void filters(void **state)
{
	static const struct {
		uint8_t address[6];
		uint32_t rctl;
		bool passes;
	} cases[] = {
		{ MAC, 0, true }, { { 0x52, 0x54, 0, 1, 2, 4 }, 0, false },
		{ { 0x52, 0x54, 0, 1, 2, 4 }, BIT(3), true },
		{ { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, 0, false },
		{ { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, BIT(15), true },
		{ { 1, 0, 0x5e, 0, 0, 1 }, 0, false }, { { 1, 0, 0x5e, 0, 0, 1 }, BIT(4), true },
		{ { 1, 0, 0x5e, 0, 0x12, 0x34 }, 0, true }, /* by hash, below */
	};
	struct fixture *f = *state;
	unsigned expected = 0;

	start(f, 2);
	/* 13.4.x: bits 47:36 of the address: 0x341 -> doubleword 0x1a, bit 1. */
	set(f, 0x5200 + 0x1a * 4, BIT(1));
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t frame[60] = { 0 };

		memcpy(frame, cases[i].address, 6);
		set(f, 0x0100, 2 | cases[i].rctl);
		nic_fixture_come(&f->nic, frame, sizeof(frame));
		serve(f);
		expected += cases[i].passes;
		if (get(f, 0x2810) != expected)
			fail_msg("case %u", i);
	}
}

static void checks_sums(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[60] = MAC;
	uint64_t descriptor[2];

	frame[12] = 8;
	frame[14] = 0x45;
	frame[17] = 46;
	frame[23] = 6;
	start(f, 0x04008002);
	set(f, 0x5000, BIT(8) | BIT(9));
	/* 4500 + 002e + 0006 + ck = ffff */
	frame[24] = (0xffff - 0x4500 - 0x2e - 6) >> 8;
	frame[25] = (0xffff - 0x4500 - 0x2e - 6) & 0xff;
	frame[46] = 5 << 4;
	/* TCP: 5000 + 6 + 26 of the pseudo header + ck = ffff */
	frame[50] = (0xffff - 0x5000 - 6 - 26) >> 8;
	frame[51] = (0xffff - 0x5000 - 6 - 26) & 0xff;
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	frame[55] ^= 1;
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	serve(f);
	ram_read(&f->nic, RX_RING, descriptor, sizeof(descriptor));
	assert_int_equal(descriptor[1] >> 32 & 0xffff, 0x63); /* IPCS, TCPCS, EOP, DD; no error */
	ram_read(&f->nic, RX_RING + 16, descriptor, sizeof(descriptor));
	assert_int_equal(descriptor[1] >> 32 & 0xffff, 0x2063); /* TCPE */
}

static void interrupts(void **state)
{
	struct fixture *f = *state;
	bool *line = &f->nic.pci.intx[1]; /* INTA of device 1 */

	set(f, 0xc8, BIT(2));
	assert_false(*line);
	set(f, 0xd0, BIT(2));
	assert_true(*line);
	set(f, 0xd8, BIT(2));
	assert_false(*line);
	set(f, 0xd0, BIT(2));
	assert_true(*line);
	assert_int_equal(get(f, 0xc0), BIT(2));
	assert_false(*line);
	assert_int_equal(get(f, 0xc0), 0);
}

static ns_t fake_now(void *context)
{
	return *(ns_t *)context;
}

static void throttles(void **state)
{
	struct fixture *f = *state;
	struct machine *machine = &f->nic.pci.machine;
	bool *line = &f->nic.pci.intx[1];
	ns_t now = 1000000;

	machine_lock(machine);
	clock_init_source(&machine->clock, fake_now, &now);
	machine_unlock(machine);
	set(f, 0xc4, 1000); /* 256 us */
	set(f, 0xd0, BIT(2));
	now += 1000;
	set(f, 0xc8, BIT(2));
	assert_true(*line);
	get(f, 0xc0);
	now += 255000;
	set(f, 0xc8, BIT(2));
	assert_false(*line);
	now += 1000;
	machine_lock(machine);
	clock_run(&machine->clock);
	machine_unlock(machine);
	assert_true(*line);
}

static void survives_hostile_rings(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	start(f, 0x04008002);
	set(f, 0x3800, 0xfee00000); /* not RAM */
	set(f, 0x2800, 0xfee00000);
	set(f, 0x3818, 7);
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	serve(f);
	assert_int_equal(f->nic.cable->nr_sent, 0);
	/* A tail beyond the ring. */
	set(f, 0x3800, TX_RING);
	set(f, 0x3818, 0xffff);
	serve(f);
	assert_int_equal(f->nic.cable->nr_sent, 0);
	/* A frame without an end, round and round; the next one works. */
	set(f, 0x3810, 0);
	for (unsigned i = 0; i < RING_SIZE; i++)
		put_descriptor(f, i, BUFFERS, 0xffff, 0);
	set(f, 0x3818, 7);
	put_descriptor(f, 7, BUFFERS, 100 | BIT(24), 0);
	put_descriptor(f, 0, BUFFERS, 100 | BIT(24), 0);
	set(f, 0x3818, 1);
	serve(f);
	assert_int_equal(f->nic.cable->nr_sent, 1);
}

static void state_is_described(void **state)
{
	struct error err = { 0 };

	(void)state;
	if (!state_covers(e1000_type.state, &err))
		fail_msg("%s", err.text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers_after_reset),
		TEST(ports_reach_registers),
		TEST(eeprom),
		TEST(phy),
		TEST(sends_legacy),
		TEST(a_full_cable_is_waited_for),
		TEST(sends_large_segments),
		TEST(sums_as_the_context_says),
		TEST(tags),
		TEST(receives),
		TEST(keeps_the_crc),
		TEST(filters),
		TEST(checks_sums),
		TEST(interrupts),
		TEST(throttles),
		TEST(survives_hostile_rings),
		cmocka_unit_test(state_is_described),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
