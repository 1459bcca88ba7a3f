/*
 * The RTL8139C+ as its drivers see it: EEPROM, four buffers, the ring of bytes, descriptors,
 * filters, interrupts. Numbers are those of the data sheet.
 */
#include "nic/nic_fixture.h"

#include "nic/rtl8139_internal.h"

#define TX_RING 0x10000u
#define RX_RING 0x20000u
#define BUFFERS 0x40000u
#define MAC                                                                                        \
	{                                                                                          \
		0x52, 0x54, 0, 1, 2, 3                                                             \
	}

struct fixture {
	struct nic_fixture nic;
	struct rtl8139 *card;
	gpa_t bar;
};

static uint32_t get(struct fixture *f, uint32_t offset, unsigned size)
{
	return (uint32_t)machine_mmio_read(&f->nic.pci.machine, f->bar + offset, size);
}

static void set(struct fixture *f, uint32_t offset, unsigned size, uint32_t value)
{
	machine_mmio_write(&f->nic.pci.machine, f->bar + offset, size, value);
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
	assert_int_equal(rtl8139_create(&f->card, &config, NULL), 0);
	nic_fixture_plug(&f->nic, rtl8139_function(f->card));
	f->bar = f->card->function.bars[1].address;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	nic_fixture_unplug(&f->nic, &f->card->function);
	rtl8139_destroy(f->card);
	fixture_finish(&f->nic.pci);
	free(f);
	return 0;
}

static void registers_after_reset(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(config_get(&f->nic.pci, 1, PCI_VENDOR_ID, 4), 0x813910ec);
	assert_int_equal(get(f, 0x00, 4), 0x01005452);
	assert_int_equal(get(f, 0x04, 2), 0x0302);
	assert_int_equal(get(f, 0x40, 4) & 0x7cc00000, 0x74800000); /* 8139C+ */
	assert_int_equal(get(f, 0x37, 1), 1);                       /* nothing received */
	assert_int_equal(get(f, 0x64, 2) & 4, 4);                   /* link */
	set(f, 0x37, 1, 0x0c);
	set(f, 0x37, 1, 0x10);
	assert_int_equal(get(f, 0x37, 1), 1);
}

static void sends_buffers(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[100];

	memset(frame, 0x33, sizeof(frame));
	ram_write(&f->nic, BUFFERS, frame, sizeof(frame));
	set(f, 0x3c, 2, 4);
	set(f, 0x37, 1, 4);
	for (unsigned i = 0; i < 5; i++) {
		set(f, 0x20 + i % 4 * 4, 4, BUFFERS);
		set(f, 0x10 + i % 4 * 4, 4, 100);
		assert_int_equal(f->nic.cable->nr_sent, i + 1);
		assert_int_equal(get(f, 0x10 + i % 4 * 4, 4) & 0xa000, 0xa000); /* OWN, TOK */
	}
	assert_memory_equal(f->nic.cable->sent, frame, sizeof(frame));
	assert_int_equal(get(f, 0x60, 2), 0xf00f);
	assert_true(f->nic.pci.intx[1]);
	set(f, 0x3e, 2, 4);
	assert_false(f->nic.pci.intx[1]);
	/* One that the network refuses keeps its buffer. */
	f->nic.cable->is_full = true;
	set(f, 0x14, 4, 100);
	assert_int_equal(get(f, 0x14, 4) & 0x2000, 0);
	f->nic.cable->is_full = false;
	serve(f);
	assert_int_equal(get(f, 0x14, 4) & 0x2000, 0x2000);
}

static void receives_into_the_ring(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[1500] = MAC;
	unsigned received = 0;
	uint32_t header;

	memset(frame + 12, 0x77, sizeof(frame) - 12);
	set(f, 0x30, 4, RX_RING);
	set(f, 0x44, 4, 0x02); /* own address, 8 KiB */
	set(f, 0x37, 1, 8);
	/* 1508 bytes each: five fit. */
	for (unsigned i = 0; i < 6; i++) {
		nic_fixture_come(&f->nic, frame, sizeof(frame));
		serve(f);
		received += get(f, 0x3a, 2) == (i + 1) * 1508;
	}
	assert_int_equal(received, 5);
	ram_read(&f->nic, RX_RING, &header, sizeof(header));
	assert_int_equal(header, 1504u << 16 | 0x4001);
	assert_int_equal(get(f, 0x37, 1) & 1, 0);
	/* The driver has read two: the sixth, which waited, wraps. */
	set(f, 0x38, 2, 2 * 1508 - 16);
	serve(f);
	assert_int_equal(get(f, 0x3a, 2), 6 * 1508 - 8192);
}

static void put_descriptor(
	struct fixture *f, gpa_t at, uint32_t command, uint32_t vlan, uint64_t address)
{
	struct {
		uint32_t command, vlan;
		uint64_t address;
	} descriptor = { command, vlan, address };

	ram_write(&f->nic, at, &descriptor, sizeof(descriptor));
}

static void descriptors(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[100] = { 0x52, 0x54, 0, 1, 2,
		3, [12] = 8, [14] = 0x45, [17] = 86, [23] = 6, [46] = 5 << 4 };
	uint32_t command;

	set(f, 0xe0, 2, 3);
	set(f, 0x20, 4, TX_RING);
	set(f, 0x24, 4, 0);
	set(f, 0xe4, 4, RX_RING);
	set(f, 0x44, 4, 0x02);
	set(f, 0x37, 1, 0x0c);
	ram_write(&f->nic, BUFFERS, frame, sizeof(frame));
	put_descriptor(f, TX_RING, 40 | BIT(31) | BIT(29) | BIT(18) | BIT(16), 0, BUFFERS);
	put_descriptor(
		f, TX_RING + 16, 60 | BIT(31) | BIT(30) | BIT(28) | BIT(18), 0, BUFFERS + 40);
	set(f, 0xd9, 1, 0x40);
	assert_int_equal(f->nic.cable->nr_sent, 1);
	assert_int_equal(f->nic.cable->sent_size, 100);
	assert_int_equal(offload_sum(f->nic.cable->sent + 14, 20), 0xffff);
	/* TCP's: its 66 bytes and protocol 6; no addresses. */
	assert_int_equal(
		f->nic.cable->sent[50] << 8 | f->nic.cable->sent[51], 0xffff - 0x5000 - 66 - 6);
	ram_read(&f->nic, TX_RING + 16, &command, sizeof(command));
	assert_int_equal(command >> 31, 0);
	/* Received: one descriptor, then none. */
	put_descriptor(f, RX_RING, 2048 | BIT(31) | BIT(30), 0, BUFFERS + 0x1000);
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	serve(f);
	ram_read(&f->nic, RX_RING, &command, sizeof(command));
	assert_int_equal(command, BIT(30) | BIT(29) | BIT(28) | BIT(25) | 104);
	assert_int_equal(get(f, 0x3e, 2) & 0x11, 0x11); /* ROK, no descriptor */
	put_descriptor(f, RX_RING, 2048 | BIT(31) | BIT(30), 0, BUFFERS + 0x1000);
	set(f, 0x3e, 2, 0x11);
	serve(f);
	ram_read(&f->nic, RX_RING, &command, sizeof(command));
	assert_int_equal(command >> 31, 0);
}

static void survives_hostile_rings(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[60] = MAC;

	set(f, 0x44, 4, 0x02);
	set(f, 0x30, 4, 0xfee00000);
	set(f, 0x37, 1, 0x0c);
	nic_fixture_come(&f->nic, frame, sizeof(frame));
	set(f, 0x20, 4, 0xfee00000);
	set(f, 0x10, 4, 100);
	serve(f);
	assert_int_equal(f->nic.cable->nr_sent, 0);
	/* Every descriptor of the ring is a piece of one frame. */
	set(f, 0xe0, 2, 1);
	set(f, 0x20, 4, TX_RING);
	put_descriptor(f, TX_RING, 0xffff | BIT(31) | BIT(30), 0, BUFFERS);
	set(f, 0xd9, 1, 0x40);
	serve(f);
	assert_int_equal(f->nic.cable->nr_sent, 0);
}

static void state_is_described(void **state)
{
	struct error err = { 0 };

	(void)state;
	if (!state_covers(rtl8139_type.state, &err))
		fail_msg("%s", err.text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers_after_reset),
		TEST(sends_buffers),
		TEST(receives_into_the_ring),
		TEST(descriptors),
		TEST(survives_hostile_rings),
		cmocka_unit_test(state_is_described),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
