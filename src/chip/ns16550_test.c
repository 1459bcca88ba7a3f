/*
 * The 16550 against its data sheet: interrupt identities and their priority, FIFOs, the timeout,
 * loopback, and that nothing is lost in either direction.
 */
#include "chip/chip_fixture.h"
#include "chip/ns16550.h"
#include "chip/ns16550_regs.h"

struct fixture {
	struct fake_clock fake;
	struct line_probe probe;
	struct ns16550 uart;
	size_t outside_room; /* bytes that the outside takes */
	uint8_t sent[64];
	size_t nr_sent;
	unsigned room_calls;
};

static size_t outside_write(void *context, const uint8_t *bytes, size_t size)
{
	struct fixture *f = context;
	size_t taken = size < f->outside_room ? size : f->outside_room;

	for (size_t i = 0; i < taken; i++)
		f->sent[f->nr_sent++ % sizeof(f->sent)] = bytes[i];
	f->outside_room -= taken;
	return taken;
}

static void outside_room(void *context)
{
	((struct fixture *)context)->room_calls++;
}

static void write_reg(struct fixture *f, unsigned reg, uint64_t value)
{
	ns16550_write(&f->uart, reg, (uint8_t)value);
}

static uint8_t read_reg(struct fixture *f, unsigned reg)
{
	return ns16550_read(&f->uart, reg);
}

static uint8_t read_iir(struct fixture *f)
{
	return read_reg(f, NS16550_IIR_FCR);
}

/* 115200 8N1, ready to receive, FIFOs off. */
static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct char_line line = { .write = outside_write, .room = outside_room, .context = f };

	f->outside_room = SIZE_MAX;
	fake_clock_init(&f->fake);
	ns16550_init(&f->uart, &f->fake.clock, line_probe_line(&f->probe), line);
	write_reg(f, NS16550_LCR, LCR_DLAB);
	write_reg(f, NS16550_RBR_THR, 1);
	write_reg(f, NS16550_LCR, 3);
	write_reg(f, NS16550_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static size_t receive(struct fixture *f, const char *text)
{
	return ns16550_receive(&f->uart, (const uint8_t *)text, strlen(text));
}

static void test_registers_hold(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_SCR, 0xa5);
	assert_int_equal(read_reg(f, NS16550_SCR), 0xa5);
	write_reg(f, NS16550_IER, 0xff);
	assert_int_equal(read_reg(f, NS16550_IER), 0x0f);
	write_reg(f, NS16550_MCR, 0xef);
	assert_int_equal(read_reg(f, NS16550_MCR), 0x0f);
	write_reg(f, NS16550_LCR, LCR_DLAB | 3);
	write_reg(f, NS16550_IER, 0x12);
	assert_int_equal(read_reg(f, NS16550_RBR_THR), 1);
	assert_int_equal(read_reg(f, NS16550_IER), 0x12);
	write_reg(f, NS16550_LCR, 3);
	assert_int_equal(read_reg(f, NS16550_IER), 0x0f);
	assert_int_equal(read_reg(f, NS16550_LSR), 0x60);
	assert_int_equal(read_reg(f, NS16550_MSR), 0xb0);
}

static void test_fifo_enable_shows(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(read_iir(f), 0x01);
	write_reg(f, NS16550_IIR_FCR, 0xc0); /* the other bits need the enable bit */
	assert_int_equal(read_iir(f), 0x01);
	write_reg(f, NS16550_IIR_FCR, 0xc1);
	assert_int_equal(read_iir(f), 0xc1);
}

static void test_transmit(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_RBR_THR, 'h');
	write_reg(f, NS16550_RBR_THR, 'i');
	assert_int_equal(f->nr_sent, 2);
	assert_memory_equal(f->sent, "hi", 2);
	assert_int_equal(read_reg(f, NS16550_LSR), 0x60);
}

static void test_transmit_interrupt(void **context)
{
	struct fixture *f = *context;

	assert_false(f->probe.level);
	write_reg(f, NS16550_IER, IER_THR); /* enabling finds the transmitter empty */
	assert_true(f->probe.level);
	assert_int_equal(read_iir(f), IIR_THR);
	assert_int_equal(read_iir(f), IIR_NONE); /* reading took it */
	assert_false(f->probe.level);
	write_reg(f, NS16550_RBR_THR, 'x');
	assert_int_equal(read_iir(f), IIR_THR);

	write_reg(f, NS16550_IER, 0);
	write_reg(f, NS16550_IER, IER_THR);
	assert_int_equal(read_iir(f), IIR_THR);
}

static void test_out2_gates_the_interrupt(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_MCR, MCR_RTS);
	write_reg(f, NS16550_IER, IER_THR);
	assert_false(f->probe.level);
	write_reg(f, NS16550_MCR, MCR_RTS | MCR_OUT2);
	assert_true(f->probe.level);
}

/* While the outside takes nothing the transmitter stays busy; nothing is lost. */
static void test_back_pressure(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_IIR_FCR, FCR_ENABLE);
	write_reg(f, NS16550_IER, IER_THR);
	read_iir(f);
	f->outside_room = 3;
	for (unsigned i = 0; i < 10; i++)
		write_reg(f, NS16550_RBR_THR, '0' + i);
	assert_int_equal(f->nr_sent, 3);
	assert_int_equal(read_reg(f, NS16550_LSR), 0);
	assert_false(f->probe.level);

	f->outside_room = 5;
	ns16550_writable(&f->uart);
	assert_int_equal(f->nr_sent, 8);
	assert_int_equal(read_reg(f, NS16550_LSR), 0);

	f->outside_room = SIZE_MAX;
	ns16550_writable(&f->uart);
	assert_memory_equal(f->sent, "0123456789", 10);
	assert_int_equal(read_reg(f, NS16550_LSR), 0x60);
	assert_true(f->probe.level);
	assert_int_equal(read_iir(f) & 0x0f, IIR_THR);
}

static void test_receive_without_fifo(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_IER, IER_RECEIVED);
	assert_int_equal(receive(f, "ab"), 1);
	assert_true(f->probe.level);
	assert_int_equal(read_iir(f), IIR_RECEIVED);
	assert_int_equal(read_reg(f, NS16550_LSR), 0x61);
	assert_int_equal(f->room_calls, 0);
	assert_int_equal(read_reg(f, NS16550_RBR_THR), 'a');
	assert_int_equal(f->room_calls, 1);
	assert_false(f->probe.level);
	assert_int_equal(receive(f, "b"), 1);
}

static void test_trigger_levels(void **context)
{
	struct fixture *f = *context;
	static const unsigned levels[] = { 1, 4, 8, 14 };

	write_reg(f, NS16550_IER, IER_RECEIVED);
	for (unsigned i = 0; i < 4; i++) {
		write_reg(f, NS16550_IIR_FCR, FCR_ENABLE | FCR_CLEAR_RX | i << 6);
		for (unsigned n = 1; n < levels[i]; n++) {
			receive(f, "x");
			assert_int_equal(read_iir(f), 0xc0 | IIR_NONE);
		}
		receive(f, "x");
		assert_int_equal(read_iir(f), 0xc0 | IIR_RECEIVED);
		read_reg(f, NS16550_RBR_THR);
		assert_int_equal(read_iir(f), 0xc0 | IIR_NONE);
	}
}

/* Four character times (10 bits at 115200 baud: 86.8 us each) without a receive or a read. */
static void test_character_timeout(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_IIR_FCR, FCR_ENABLE | 2 << 6);
	write_reg(f, NS16550_IER, IER_RECEIVED);
	receive(f, "ab");
	fake_clock_advance(&f->fake, 340 * NS_PER_US);
	assert_false(f->probe.level);
	receive(f, "c");
	fake_clock_advance(&f->fake, 340 * NS_PER_US);
	assert_false(f->probe.level);
	fake_clock_advance(&f->fake, 10 * NS_PER_US);
	assert_true(f->probe.level);
	assert_int_equal(read_iir(f), 0xc0 | IIR_TIMEOUT);

	assert_int_equal(read_reg(f, NS16550_RBR_THR), 'a');
	assert_false(f->probe.level);
	fake_clock_advance(&f->fake, 350 * NS_PER_US);
	assert_true(f->probe.level);
	read_reg(f, NS16550_RBR_THR);
	read_reg(f, NS16550_RBR_THR);
	fake_clock_advance(&f->fake, NS_PER_S);
	assert_false(f->probe.level); /* empty */
}

static void test_interrupt_priority(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_IIR_FCR, FCR_ENABLE);
	write_reg(f, NS16550_MCR, MCR_LOOP | MCR_RTS); /* DSR and DCD change */
	write_reg(f, NS16550_MCR, MCR_RTS | MCR_OUT2);
	ns16550_receive_break(&f->uart);
	write_reg(f, NS16550_IER, IER_WRITABLE);

	assert_int_equal(read_iir(f), 0xc0 | IIR_LINE);
	assert_int_equal(read_reg(f, NS16550_LSR), LSR_FIFO | 0x60 | LSR_BREAK | LSR_READY);
	assert_int_equal(read_iir(f), 0xc0 | IIR_RECEIVED);
	assert_int_equal(read_reg(f, NS16550_RBR_THR), 0);
	assert_int_equal(read_iir(f), 0xc0 | IIR_THR);
	assert_int_equal(read_iir(f), 0xc0 | IIR_MODEM);
	assert_int_equal(read_reg(f, NS16550_MSR), 0xb0 | MSR_DELTA_DSR | MSR_DELTA_DCD);
	assert_int_equal(read_iir(f), 0xc0 | IIR_NONE);
}

/* An error belongs to its character: it shows when that comes to the top. */
static void test_break_waits_its_turn(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_IIR_FCR, FCR_ENABLE);
	receive(f, "a");
	ns16550_receive_break(&f->uart);
	assert_int_equal(read_reg(f, NS16550_LSR), LSR_FIFO | 0x60 | LSR_READY);
	assert_int_equal(read_reg(f, NS16550_RBR_THR), 'a');
	assert_int_equal(read_reg(f, NS16550_LSR), LSR_FIFO | 0x60 | LSR_BREAK | LSR_READY);
	assert_int_equal(read_reg(f, NS16550_LSR), 0x60 | LSR_READY);
}

static void test_loopback(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_MCR, MCR_LOOP | MCR_RTS | MCR_OUT2);
	assert_int_equal(read_reg(f, NS16550_MSR) & MSR_INPUTS, MSR_CTS | MSR_DCD);
	write_reg(f, NS16550_MCR, MCR_LOOP | MCR_DTR | MCR_OUT1);
	assert_int_equal(read_reg(f, NS16550_MSR),
		MSR_DSR | MSR_RI | MSR_DELTA_CTS | MSR_DELTA_DSR | MSR_DELTA_DCD);
	write_reg(f, NS16550_MCR, MCR_LOOP);
	assert_int_equal(read_reg(f, NS16550_MSR), MSR_DELTA_DSR | MSR_TRAILING_RI);

	write_reg(f, NS16550_RBR_THR, 'z');
	assert_int_equal(f->nr_sent, 0);
	assert_int_equal(read_reg(f, NS16550_LSR), 0x61);
	assert_int_equal(read_reg(f, NS16550_RBR_THR), 'z');
}

static void test_overrun(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_IIR_FCR, FCR_ENABLE);
	write_reg(f, NS16550_MCR, MCR_LOOP);
	for (unsigned i = 0; i < 17; i++)
		write_reg(f, NS16550_RBR_THR, 'a' + i);
	assert_int_equal(read_reg(f, NS16550_LSR), 0x61 | LSR_OVERRUN);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(read_reg(f, NS16550_RBR_THR), 'a' + i);
	assert_int_equal(read_reg(f, NS16550_LSR), 0x60);
}

/* The other end of the cable waits for RTS. */
static void test_input_waits_for_rts(void **context)
{
	struct fixture *f = *context;

	write_reg(f, NS16550_MCR, MCR_OUT2);
	assert_int_equal(receive(f, "a"), 0);
	write_reg(f, NS16550_MCR, MCR_OUT2 | MCR_RTS);
	assert_int_equal(f->room_calls, 1);
	assert_int_equal(receive(f, "a"), 1);
}

/* A driver that empties the FIFO at every interrupt gets a megabyte whole and in order. */
static void test_a_megabyte_through(void **context)
{
	struct fixture *f = *context;
	const size_t size = 1 << 20;
	uint8_t *text = malloc(size), *got = malloc(size);
	size_t offered = 0, received = 0;

	for (size_t i = 0; i < size; i++)
		text[i] = (uint8_t)(i * 2654435761u >> 13);
	write_reg(f, NS16550_IIR_FCR, FCR_ENABLE | 2 << 6);
	write_reg(f, NS16550_IER, IER_RECEIVED);
	while (received < size) {
		offered += ns16550_receive(&f->uart, text + offered, size - offered);
		if (!f->probe.level)
			fake_clock_advance(&f->fake, NS_PER_MS);
		assert_true(f->probe.level);
		assert_int_not_equal(read_iir(f) & IIR_NONE, IIR_NONE);
		while (read_reg(f, NS16550_LSR) & LSR_READY)
			got[received++] = read_reg(f, NS16550_RBR_THR);
	}
	assert_int_equal(received, size);
	assert_memory_equal(text, got, size);
	free(text);
	free(got);
}

#define uart_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		uart_test(test_registers_hold),
		uart_test(test_fifo_enable_shows),
		uart_test(test_transmit),
		uart_test(test_transmit_interrupt),
		uart_test(test_out2_gates_the_interrupt),
		uart_test(test_back_pressure),
		uart_test(test_receive_without_fifo),
		uart_test(test_trigger_levels),
		uart_test(test_character_timeout),
		uart_test(test_interrupt_priority),
		uart_test(test_break_waits_its_turn),
		uart_test(test_loopback),
		uart_test(test_overrun),
		uart_test(test_input_waits_for_rts),
		uart_test(test_a_megabyte_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
