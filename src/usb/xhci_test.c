/*
 * The xHCI as a driver uses it (xHCI 1.2, 4.2 and 4.3): bring-up, a slot, control transfers to a
 * keyboard and a tablet, reports, a disk; and what a driver must not be able to do to it.
 */
#include "pci/pci_fixture.h"
#include "storage/storage_fixture.h"
#include "usb/scsi_disk.h"
#include "usb/usb_hid.h"
#include "usb/xhci.h"

#include <linux/input-event-codes.h>

#define SLOT 5
#define BASE UINT64_C(0xd0000000)

/* Where things lie in memory. */
#define DCBAA    0x1000
#define COMMANDS 0x2000
#define EVENTS   0x3000
#define SEGMENTS 0x4000
#define INPUT    0x5000
#define OUTPUT   0x6000
#define EP0      0x7000
#define EP_IN    0x8000
#define EP_OUT   0x9000
#define DATA     0x10000

#define NR_EVENTS 64

struct fixture {
	struct storage_fixture storage;
	struct xhci *xhci;
	struct usb_hid keyboard, tablet;
	struct usb_storage *disk;
	unsigned command_at, event_at, ep0_at, in_at, out_at;
	bool event_cycle;
};

static struct machine *machine_of(struct fixture *f)
{
	return &f->storage.pci.machine;
}

static uint32_t get(struct fixture *f, unsigned reg)
{
	return (uint32_t)machine_mmio_read(machine_of(f), BASE + reg, 4);
}

static void set(struct fixture *f, unsigned reg, uint32_t value)
{
	machine_mmio_write(machine_of(f), BASE + reg, 4, value);
}

static void set64(struct fixture *f, unsigned reg, uint64_t value)
{
	set(f, reg, (uint32_t)value);
	set(f, reg + 4, (uint32_t)(value >> 32));
}

static void store(struct fixture *f, gpa_t at, const void *bytes, uint64_t size)
{
	assert_int_equal(guest_memory_write(&machine_of(f)->memory, at, bytes, size), 0);
}

static void load(struct fixture *f, gpa_t at, void *bytes, uint64_t size)
{
	assert_int_equal(guest_memory_read(&machine_of(f)->memory, at, bytes, size), 0);
}

static void put_word(struct fixture *f, gpa_t at, uint32_t value)
{
	store(f, at, &value, sizeof(value));
}

static void put_trb(struct fixture *f, gpa_t at, uint64_t parameter, uint32_t status, unsigned type,
	uint32_t flags)
{
	struct xhci_trb trb = { parameter, status, type << 10 | flags | 1 };

	store(f, at, &trb, sizeof(trb));
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct {
		uint64_t base;
		uint32_t size, reserved;
	} segment = { EVENTS, NR_EVENTS, 0 };

	storage_fixture_init(&f->storage);
	assert_int_equal(xhci_create(&f->xhci, "usb", machine_of(f), NULL), 0);
	assert_int_equal(pci_plug(f->storage.pci.host, &f->xhci->function, SLOT, false, NULL), 0);
	usb_hid_init(&f->keyboard, USB_HID_KEYBOARD);
	usb_hid_init(&f->tablet, USB_HID_TABLET);
	assert_int_equal(
		usb_storage_create(&f->disk, "disk0", "S-1", machine_of(f), f->storage.image, NULL),
		0);
	assert_true(xhci_plug(f->xhci, &f->keyboard.device));
	assert_true(xhci_plug(f->xhci, &f->tablet.device));
	assert_true(xhci_plug(f->xhci, &f->disk->device));
	config_set(&f->storage.pci, SLOT, PCI_BAR0, 4, BASE);
	config_set(&f->storage.pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	/* 4.2 */
	set(f, XHCI_OPERATIONAL + XHCI_CONFIG, XHCI_NR_SLOTS);
	set64(f, XHCI_OPERATIONAL + XHCI_DCBAAP, DCBAA);
	set64(f, XHCI_OPERATIONAL + XHCI_CRCR, COMMANDS | 1);
	store(f, SEGMENTS, &segment, sizeof(segment));
	set(f, XHCI_RUNTIME + XHCI_ERSTSZ, 1);
	set64(f, XHCI_RUNTIME + XHCI_ERDP, EVENTS);
	set64(f, XHCI_RUNTIME + XHCI_ERSTBA, SEGMENTS);
	set(f, XHCI_RUNTIME + XHCI_IMAN, 2);
	f->event_cycle = true;
	set(f, XHCI_OPERATIONAL + XHCI_USBCMD, 1 | 4);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	machine_lock(machine_of(f));
	pci_unplug(&f->xhci->function);
	xhci_unplug(&f->disk->device);
	machine_unlock(machine_of(f));
	usb_storage_destroy(f->disk);
	xhci_destroy(f->xhci);
	storage_fixture_finish(&f->storage);
	free(f);
	return 0;
}

/* The next event, of the type; fails if there is none. */
static struct xhci_trb next_event(struct fixture *f, unsigned type)
{
	struct xhci_trb trb;

	load(f, EVENTS + f->event_at * sizeof(trb), &trb, sizeof(trb));
	assert_int_equal(trb.control & 1, f->event_cycle);
	if (++f->event_at == NR_EVENTS) {
		f->event_at = 0;
		f->event_cycle = !f->event_cycle;
	}
	set64(f, XHCI_RUNTIME + XHCI_ERDP, EVENTS + f->event_at * sizeof(trb));
	assert_int_equal(trb.control >> 10 & 0x3f, type);
	return trb;
}

static bool has_event(struct fixture *f)
{
	struct xhci_trb trb;

	load(f, EVENTS + f->event_at * sizeof(trb), &trb, sizeof(trb));
	return (trb.control & 1) == f->event_cycle;
}

static unsigned code_of(struct xhci_trb event)
{
	return event.status >> 24;
}

/* Returns the completion code; the event's slot in `*slot`. */
static unsigned command(struct fixture *f, unsigned type, uint64_t parameter, unsigned slot,
	uint32_t flags, unsigned *got)
{
	struct xhci_trb event;
	gpa_t at = COMMANDS + 16 * f->command_at++;

	put_trb(f, at, parameter, 0, type, slot << 24 | flags);
	set(f, XHCI_DOORBELLS, 0);
	event = next_event(f, XHCI_TRB_COMMAND_EVENT);
	assert_int_equal(event.parameter, at);
	if (got)
		*got = event.control >> 24;
	return code_of(event);
}

static void drop_port_events(struct fixture *f)
{
	while (has_event(f))
		next_event(f, XHCI_TRB_PORT_EVENT);
}

/* A slot for the device at a port, addressed, with its endpoint 0. */
static unsigned address(struct fixture *f, unsigned port, unsigned speed)
{
	uint32_t context[24] = { 0, 3 };
	unsigned slot;

	drop_port_events(f);
	assert_int_equal(command(f, XHCI_TRB_ENABLE_SLOT, 0, 0, 0, &slot), XHCI_SUCCESS);
	context[8] = speed << 20 | 1 << 27;
	context[9] = port << 16;
	context[16 + 1] = 512 << 16 | XHCI_EP_CONTROL << 3;
	context[16 + 2] = EP0 | 1;
	store(f, INPUT, context, sizeof(context));
	put_word(f, DCBAA + 8 * slot, OUTPUT);
	f->ep0_at = 0;
	assert_int_equal(command(f, XHCI_TRB_ADDRESS_DEVICE, INPUT, slot, 0, NULL), XHCI_SUCCESS);
	return slot;
}

/* A control transfer; the code of its last event. The data go to DATA or come from there. */
static unsigned control(struct fixture *f, unsigned slot, const struct usb_setup *setup)
{
	uint64_t packet;
	bool in = setup->type & USB_TYPE_IN;
	struct xhci_trb event;

	memcpy(&packet, setup, sizeof(packet));
	put_trb(f, EP0 + 16 * f->ep0_at++, packet, 8, XHCI_TRB_SETUP, 0x40);
	if (setup->length)
		put_trb(f, EP0 + 16 * f->ep0_at++, DATA, setup->length, XHCI_TRB_DATA,
			in ? 0x10000 : 0);
	put_trb(f, EP0 + 16 * f->ep0_at++, 0, 0, XHCI_TRB_STATUS, 0x20);
	set(f, XHCI_DOORBELLS + 4 * slot, 1);
	event = next_event(f, XHCI_TRB_TRANSFER_EVENT);
	assert_int_equal(event.control >> 24, slot);
	return code_of(event);
}

static unsigned configure(
	struct fixture *f, unsigned slot, unsigned dci, unsigned type, unsigned packet, gpa_t ring)
{
	const struct usb_setup set_configuration = { 0, 9, 1, 0, 0 };
	uint32_t context[8];

	assert_int_equal(control(f, slot, &set_configuration), XHCI_SUCCESS);
	put_word(f, INPUT, 0);
	put_word(f, INPUT + 4, 1 | 1u << dci);
	put_word(f, INPUT + 32, 31u << 27);
	memset(context, 0, sizeof(context));
	context[1] = packet << 16 | type << 3;
	context[2] = (uint32_t)ring | 1;
	store(f, INPUT + 32 * (dci + 1), context, sizeof(context));
	return command(f, XHCI_TRB_CONFIGURE_ENDPOINT, INPUT, slot, 0, NULL);
}

static void test_capabilities(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(get(f, 0), 0x01000040);
	assert_int_equal(get(f, 4), 8 << 24 | 1 << 8 | 16);
	/* The protocols of the ports. */
	assert_int_equal(get(f, (get(f, 0x10) >> 16) * 4), 0x02000402);
	assert_int_equal(get(f, 0x800 + 16 + 8), 4 << 8 | 5);
	/* Not halted, no error. */
	assert_int_equal(get(f, XHCI_OPERATIONAL + XHCI_USBSTS) & 0x1005, 0);
}

static void test_ports(void **context)
{
	struct fixture *f = *context;

	/* Connected, high speed, not enabled; a USB 3 port enables itself. */
	assert_int_equal(get(f, XHCI_PORTS) & 0x3c03, 0x0c01);
	assert_int_equal(get(f, XHCI_PORTS + 0x40) & 0x3c03, 0x1003);
	assert_int_equal(get(f, XHCI_PORTS + 0x20) & 0x3c03, 0);
	assert_int_equal(next_event(f, XHCI_TRB_PORT_EVENT).parameter, 1 << 24);
	assert_int_equal(next_event(f, XHCI_TRB_PORT_EVENT).parameter, 2 << 24);
	assert_int_equal(next_event(f, XHCI_TRB_PORT_EVENT).parameter, 5 << 24);
	assert_false(has_event(f));
	set(f, XHCI_PORTS, XHCI_PORT_POWER | XHCI_PORT_CONNECT_CHG);
	set(f, XHCI_PORTS, XHCI_PORT_POWER | XHCI_PORT_RESET);
	assert_int_equal(get(f, XHCI_PORTS) & 0x3c1e3, 0x0c03 & 0x3c1e3);
	assert_int_equal(get(f, XHCI_PORTS) & XHCI_PORT_CHANGES, XHCI_PORT_RESET_CHG);
	assert_int_equal(next_event(f, XHCI_TRB_PORT_EVENT).parameter, 1 << 24);
	/* Writing 1 disables. */
	set(f, XHCI_PORTS, XHCI_PORT_POWER | XHCI_PORT_ENABLED);
	assert_int_equal(get(f, XHCI_PORTS) & XHCI_PORT_ENABLED, 0);
}

static void test_commands(void **context)
{
	struct fixture *f = *context;
	unsigned slot;

	drop_port_events(f);
	assert_int_equal(command(f, XHCI_TRB_NOOP_COMMAND, 0, 0, 0, NULL), XHCI_SUCCESS);
	assert_int_equal(command(f, 40, 0, 0, 0, NULL), XHCI_TRB_ERROR);
	assert_int_equal(command(f, XHCI_TRB_DISABLE_SLOT, 0, 3, 0, NULL), XHCI_SLOT_NOT_ENABLED);
	assert_int_equal(command(f, XHCI_TRB_DISABLE_SLOT, 0, 200, 0, NULL), XHCI_SLOT_NOT_ENABLED);
	for (unsigned i = 1; i <= XHCI_NR_SLOTS; i++) {
		assert_int_equal(command(f, XHCI_TRB_ENABLE_SLOT, 0, 0, 0, &slot), XHCI_SUCCESS);
		assert_int_equal(slot, i);
	}
	assert_int_equal(command(f, XHCI_TRB_ENABLE_SLOT, 0, 0, 0, &slot), XHCI_NO_SLOTS);
	assert_int_equal(command(f, XHCI_TRB_DISABLE_SLOT, 0, 7, 0, NULL), XHCI_SUCCESS);
	assert_int_equal(command(f, XHCI_TRB_ENABLE_SLOT, 0, 0, 0, &slot), XHCI_SUCCESS);
	assert_int_equal(slot, 7);
	/* No device at port 3; and no such port. */
	put_word(f, INPUT + 4, 3);
	put_word(f, INPUT + 36, 3 << 16);
	put_word(f, DCBAA + 8, OUTPUT);
	assert_int_equal(
		command(f, XHCI_TRB_ADDRESS_DEVICE, INPUT, 1, 0, NULL), XHCI_TRANSACTION_ERROR);
	put_word(f, INPUT + 36, 9 << 16);
	assert_int_equal(
		command(f, XHCI_TRB_ADDRESS_DEVICE, INPUT, 1, 0, NULL), XHCI_PARAMETER_ERROR);
	assert_int_equal(
		command(f, XHCI_TRB_ADDRESS_DEVICE, UINT64_C(1) << 50, 1, 0, NULL), XHCI_TRB_ERROR);
}

static void test_descriptors(void **context)
{
	struct fixture *f = *context;
	unsigned slot = address(f, 1, 3);
	uint8_t bytes[64];

	/* Device descriptor: 18 bytes, USB 2.0. */
	assert_int_equal(
		control(f, slot, &(struct usb_setup){ 0x80, 6, 0x100, 0, 18 }), XHCI_SUCCESS);
	load(f, DATA, bytes, 18);
	assert_int_equal(bytes[0], 18);
	assert_int_equal(bytes[3], 2);
	/* String 2, in UTF-16. */
	assert_int_equal(
		control(f, slot, &(struct usb_setup){ 0x80, 6, 0x302, 0x409, 26 }), XHCI_SUCCESS);
	load(f, DATA, bytes, 26);
	assert_memory_equal(bytes, "\x1a\x03U\0S\0B\0 \0k\0e\0y\0b\0o\0a\0r\0d", 26);
	/* One that is not there stalls, and the endpoint halts until it is reset. */
	assert_int_equal(
		control(f, slot, &(struct usb_setup){ 0x80, 6, 0x2000, 0, 4 }), XHCI_STALL_ERROR);
	load(f, OUTPUT + 32, bytes, 4);
	assert_int_equal(bytes[0] & 7, XHCI_EP_HALTED);
	assert_int_equal(command(f, XHCI_TRB_RESET_ENDPOINT, 0, slot, 1 << 16, NULL), XHCI_SUCCESS);
	assert_int_equal(
		command(f, XHCI_TRB_SET_DEQUEUE, EP0 | 1, slot, 1 << 16, NULL), XHCI_SUCCESS);
	f->ep0_at = 0;
	assert_int_equal(
		control(f, slot, &(struct usb_setup){ 0x80, 6, 0x100, 0, 18 }), XHCI_SUCCESS);
}

static void test_keyboard_reports(void **context)
{
	struct fixture *f = *context;
	unsigned slot = address(f, 1, 3);
	uint8_t report[8];
	struct xhci_trb event;

	assert_int_equal(configure(f, slot, 3, XHCI_EP_INTERRUPT_IN, 8, EP_IN), XHCI_SUCCESS);
	put_trb(f, EP_IN, DATA, 8, XHCI_TRB_NORMAL, 0x24);
	put_trb(f, EP_IN + 16, DATA + 8, 8, XHCI_TRB_NORMAL, 0x24);
	set(f, XHCI_DOORBELLS + 4 * slot, 3);
	assert_false(has_event(f));
	assert_true(usb_hid_key(&f->keyboard, KEY_LEFTSHIFT, true));
	event = next_event(f, XHCI_TRB_TRANSFER_EVENT);
	assert_int_equal(code_of(event), XHCI_SUCCESS);
	assert_int_equal(event.parameter, EP_IN);
	load(f, DATA, report, 8);
	assert_memory_equal(report, "\x02\0\0\0\0\0\0\0", 8);
	assert_true(usb_hid_key(&f->keyboard, KEY_A, true));
	next_event(f, XHCI_TRB_TRANSFER_EVENT);
	load(f, DATA + 8, report, 8);
	assert_memory_equal(report, "\x02\0\x04\0\0\0\0\0", 8);
	/* The LEDs, and what waits for a guest that does not look. */
	put_word(f, DATA, 0x02);
	assert_int_equal(
		control(f, slot, &(struct usb_setup){ 0x21, 9, 0x200, 0, 1 }), XHCI_SUCCESS);
	assert_int_equal(f->keyboard.state.leds, 2);
	for (unsigned i = 0; i < USB_HID_KEPT; i++)
		assert_true(usb_hid_key(&f->keyboard, KEY_B, i % 2 == 0));
	assert_false(usb_hid_key(&f->keyboard, KEY_C, true));
}

static void test_tablet_report(void **context)
{
	struct fixture *f = *context;
	unsigned slot = address(f, 2, 3);
	uint8_t report[6];

	assert_int_equal(configure(f, slot, 3, XHCI_EP_INTERRUPT_IN, 8, EP_IN), XHCI_SUCCESS);
	put_trb(f, EP_IN, DATA, 8, XHCI_TRB_NORMAL, 0x24);
	set(f, XHCI_DOORBELLS + 4 * slot, 3);
	assert_true(usb_hid_point(&f->tablet, 0x1234, 0x7fff, -1, 5));
	/* Six bytes of eight: a short packet. */
	assert_int_equal(
		next_event(f, XHCI_TRB_TRANSFER_EVENT).status, XHCI_SHORT_PACKET << 24 | 2);
	load(f, DATA, report, 6);
	assert_memory_equal(report, "\x05\x34\x12\xff\x7f\xff", 6);
}

static void bulk(struct fixture *f, unsigned slot, bool in, gpa_t at, uint32_t length)
{
	unsigned *where = in ? &f->in_at : &f->out_at;

	put_trb(f, (in ? EP_IN : EP_OUT) + 16 * (*where)++, at, length, XHCI_TRB_NORMAL, 0x24);
	set(f, XHCI_DOORBELLS + 4 * slot, in ? 3 : 4);
	for (unsigned i = 0; i < 5000 && !has_event(f); i++)
		usleep(1000);
}

/* A command with its wrappers; its status. */
static unsigned scsi(struct fixture *f, unsigned slot, const uint8_t command[16], bool in, gpa_t at,
	uint32_t length)
{
	uint8_t wrapper[31] = "USBC\1\2\3\4";

	memcpy(wrapper + 8, &length, 4);
	wrapper[12] = in ? 0x80 : 0;
	wrapper[14] = 16;
	memcpy(wrapper + 15, command, 16);
	store(f, 0x20000, wrapper, sizeof(wrapper));
	bulk(f, slot, false, 0x20000, sizeof(wrapper));
	next_event(f, XHCI_TRB_TRANSFER_EVENT);
	if (length) {
		bulk(f, slot, in, at, length);
		next_event(f, XHCI_TRB_TRANSFER_EVENT);
	}
	bulk(f, slot, true, 0x20000, 13);
	assert_int_equal(code_of(next_event(f, XHCI_TRB_TRANSFER_EVENT)), XHCI_SUCCESS);
	load(f, 0x20000, wrapper, 13);
	assert_memory_equal(wrapper, "USBS\1\2\3\4", 8);
	return wrapper[12];
}

static unsigned address_disk(struct fixture *f)
{
	unsigned slot = address(f, 5, 4);

	assert_int_equal(configure(f, slot, 3, XHCI_EP_BULK_IN, 1024, EP_IN), XHCI_SUCCESS);
	assert_int_equal(configure(f, slot, 4, XHCI_EP_BULK_OUT, 1024, EP_OUT), XHCI_SUCCESS);
	return slot;
}

static void test_disk(void **context)
{
	struct fixture *f = *context;
	unsigned slot = address_disk(f);
	uint8_t bytes[4096];

	assert_int_equal(scsi(f, slot, (uint8_t[16]){ 0x12, 0, 0, 0, 36 }, true, DATA, 36), 0);
	load(f, DATA, bytes, 36);
	assert_memory_equal(bytes + 8, "ATOLL   USB disk", 16);
	assert_int_equal(scsi(f, slot, (uint8_t[16]){ 0x25 }, true, DATA, 8), 0);
	load(f, DATA, bytes, 8);
	assert_memory_equal(bytes, "\0\0\x07\xff\0\0\2\0", 8); /* 2048 blocks of 512 */
	assert_int_equal(
		scsi(f, slot, (uint8_t[16]){ 0x28, 0, 0, 0, 0, 3, 0, 0, 8 }, true, DATA, 4096), 0);
	load(f, DATA, bytes, 4096);
	assert_memory_equal(bytes, f->storage.content + 3 * 512, 4096);
	/* A write, and it is there when it is read back. */
	memset(bytes, 0x5a, 1024);
	store(f, DATA, bytes, 1024);
	assert_int_equal(
		scsi(f, slot, (uint8_t[16]){ 0x2a, 0, 0, 0, 0, 1, 0, 0, 2 }, false, DATA, 1024), 0);
	assert_int_equal(scsi(f, slot, (uint8_t[16]){ 0x35 }, false, 0, 0), 0);
	memset(bytes, 0, 1024);
	store(f, DATA, bytes, 1024);
	assert_int_equal(
		scsi(f, slot, (uint8_t[16]){ 0x28, 0, 0, 0, 0, 1, 0, 0, 2 }, true, DATA, 1024), 0);
	load(f, DATA, bytes, 1024);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(bytes[i], 0x5a);
	/* Beyond its end; and why it failed. */
	assert_int_equal(
		scsi(f, slot, (uint8_t[16]){ 0x28, 0, 0, 0, 8, 0, 0, 0, 1 }, true, DATA, 512), 1);
	assert_int_equal(scsi(f, slot, (uint8_t[16]){ 3, 0, 0, 0, 18 }, true, DATA, 18), 0);
	load(f, DATA, bytes, 18);
	assert_int_equal(bytes[2], 5);
	assert_int_equal(bytes[12], 0x21);
}

/* Rings that lead to themselves end, and so do those that lead nowhere. */
static void test_hostile_rings(void **context)
{
	struct fixture *f = *context;
	unsigned slot = address(f, 1, 3);

	put_trb(f, EP0 + 16 * f->ep0_at, EP0 + 16 * f->ep0_at, 0, XHCI_TRB_LINK, 0);
	set(f, XHCI_DOORBELLS + 4 * slot, 1);
	assert_int_equal(code_of(next_event(f, XHCI_TRB_TRANSFER_EVENT)), XHCI_TRB_ERROR);
	/* It stands still until the driver has seen to it. */
	set(f, XHCI_DOORBELLS + 4 * slot, 1);
	assert_false(has_event(f));
	assert_int_equal(
		command(f, XHCI_TRB_SET_DEQUEUE, EP0 | 1, slot, 1 << 16, NULL), XHCI_SUCCESS);
	f->ep0_at = 0;
	assert_int_equal(
		control(f, slot, &(struct usb_setup){ 0x80, 6, 0x100, 0, 18 }), XHCI_SUCCESS);
}

static void test_a_ring_without_end(void **context)
{
	struct fixture *f = *context;
	unsigned slot = address(f, 1, 3);

	assert_int_equal(configure(f, slot, 3, XHCI_EP_INTERRUPT_IN, 8, EP_IN), XHCI_SUCCESS);
	put_trb(f, EP_IN, 0, 0, XHCI_TRB_NOOP, 0);
	put_trb(f, EP_IN + 16, EP_IN, 0, XHCI_TRB_LINK, 0);
	set(f, XHCI_DOORBELLS + 4 * slot, 3);
	assert_true(timer_is_armed(&f->xhci->timer));
	assert_false(has_event(f));
	/* A ring, and data, where there is no RAM. */
	assert_int_equal(command(f, XHCI_TRB_STOP_ENDPOINT, 0, slot, 3 << 16, NULL), XHCI_SUCCESS);
	assert_int_equal(
		command(f, XHCI_TRB_SET_DEQUEUE, UINT64_C(1) << 40 | 1, slot, 3 << 16, NULL),
		XHCI_SUCCESS);
	set(f, XHCI_DOORBELLS + 4 * slot, 3);
	assert_int_equal(code_of(next_event(f, XHCI_TRB_TRANSFER_EVENT)), XHCI_TRB_ERROR);
}

/* While the event ring is full nothing is begun, and nothing is lost. */
static void test_full_event_ring(void **context)
{
	struct fixture *f = *context;
	unsigned seen = 0;

	drop_port_events(f);
	for (unsigned i = 0; i < 100; i++)
		put_trb(f, COMMANDS + 16 * i, 0, 0, XHCI_TRB_NOOP_COMMAND, 0);
	set(f, XHCI_DOORBELLS, 0);
	while (has_event(f)) {
		assert_int_equal(code_of(next_event(f, XHCI_TRB_COMMAND_EVENT)), XHCI_SUCCESS);
		seen++;
	}
	assert_int_equal(seen, 100);
}

static void test_state_tables(void **context)
{
	struct error err = { 0 };

	(void)context;
	if (!state_covers(xhci_type.state, &err) || !state_covers(usb_hid_type.state, &err) ||
		!state_covers(usb_device_type.state, &err) ||
		!state_covers(usb_storage_type.state, &err))
		fail_msg("%s", err.text);
}

#define xhci_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		xhci_test(test_capabilities),
		xhci_test(test_ports),
		xhci_test(test_commands),
		xhci_test(test_descriptors),
		xhci_test(test_keyboard_reports),
		xhci_test(test_tablet_report),
		xhci_test(test_disk),
		xhci_test(test_hostile_rings),
		xhci_test(test_a_ring_without_end),
		xhci_test(test_full_event_ring),
		xhci_test(test_state_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
