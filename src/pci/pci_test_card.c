/*
 * The test card. Its scratch register is not guest state worth saving: it has no device_type of its
 * own. Under the machine lock.
 */
#include "pci/pci_test_card.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define REGISTERS_BAR  0
#define REGISTERS_SIZE 0x1000
#define MSIX_BAR       2
#define MSIX_SIZE      0x2000
#define PORTS_BAR      4
#define PORTS_SIZE     32
#define MSI_VECTORS    4

static void collect_rings(struct pci_test_card *card)
{
	uint64_t count;

	if (read(card->doorbell.doorbell.fd, &count, sizeof(count)) == sizeof(count))
		card->rings += (uint32_t)count;
}

static uint64_t card_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_test_card *card = device;
	uint32_t value = 0;

	switch (offset & ~UINT64_C(3)) {
	case PCI_TEST_CARD_ID: value = PCI_TEST_CARD_MAGIC; break;
	case PCI_TEST_CARD_SCRATCH: value = card->scratch; break;
	case PCI_TEST_CARD_RINGS:
		collect_rings(card);
		value = card->rings;
		break;
	case PCI_TEST_CARD_OTHER: value = card->other && card->other->function.host; break;
	}
	return (value >> (8 * (offset & 3))) & byte_mask(size);
}

static void raise_vector(struct pci_test_card *card, uint32_t vector)
{
	struct pci_function *function = &card->function;

	if (pci_msix_is_enabled(function))
		pci_msix_notify(function, vector);
	else if (pci_msi_is_enabled(function))
		pci_msi_notify(function, vector);
	else
		pci_set_intx(function, true);
}

static void raise_by_eventfd(struct pci_test_card *card, uint32_t vector)
{
	struct pci_function *function = &card->function;
	const uint64_t one = 1;

	if (vector >= PCI_TEST_CARD_VECTORS || card->event_fd < 0)
		return;
	if (vector != card->event_vector)
		pci_msix_set_irqfd(function, card->event_vector, -1);
	card->event_vector = vector;
	if (function->msix_irqfd[vector] < 0 &&
		pci_msix_set_irqfd(function, vector, card->event_fd) < 0)
		pci_msix_notify(function, vector);
	else if (write(card->event_fd, &one, sizeof(one)) < 0)
		return; /* full: it is waiting */
}

static void order_other(struct pci_test_card *card, uint8_t order)
{
	struct pci_function *other = card->other ? &card->other->function : NULL;

	if (!other)
		return;
	if (order == 1 && !other->host)
		pci_plug(card->function.host, other, PCI_ANY_DEVICE, true, NULL);
	else if (order == 2 && other->host)
		pci_request_unplug(other);
	else if (order == 3 && other->host)
		pci_unplug(other);
}

static void card_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_test_card *card = device;

	if (offset == PCI_TEST_CARD_DOORBELL)
		card->rings++;
	if (offset == PCI_TEST_CARD_OTHER)
		order_other(card, (uint8_t)value);
	if (size != 4)
		return;
	switch (offset) {
	case PCI_TEST_CARD_SCRATCH: card->scratch = (uint32_t)value; break;
	case PCI_TEST_CARD_RAISE: raise_vector(card, (uint32_t)value); break;
	case PCI_TEST_CARD_EVENT: raise_by_eventfd(card, (uint32_t)value); break;
	case PCI_TEST_CARD_LOWER: pci_set_intx(&card->function, false); break;
	}
}

/* BAR 2 beside the MSI-X table: nothing. */
static uint64_t nothing_read(void *device, uint64_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return 0;
}

static void card_reset(void *device)
{
	struct pci_test_card *card = device;

	collect_rings(card);
	card->scratch = 0;
	card->rings = 0;
}

static void card_ejected(void *device)
{
	struct pci_test_card *card = device;

	card->nr_ejects++;
}

void pci_test_card_init(struct pci_test_card *card, const char *name, struct pci_test_card *other)
{
	static const struct pci_identity identity = {
		.vendor_id = PCI_TEST_CARD_VENDOR,
		.device_id = PCI_TEST_CARD_DEVICE,
		.class_code = 0xff0000,
		.subsystem_vendor_id = PCI_TEST_CARD_VENDOR,
		.subsystem_id = 1,
		.interrupt_pin = 1,
	};
	static const struct pci_function_ops function_ops = { .reset = card_reset,
		.ejected = card_ejected };
	static const struct io_ops register_ops = { card_read, card_write, 4 };
	static const struct io_ops nothing_ops = { nothing_read, NULL, 8 };
	static const struct pci_bar registers = { .kind = PCI_BAR_MEMORY32,
		.size = REGISTERS_SIZE,
		.ops = &register_ops,
		.name = "test-card" };
	static const struct pci_bar msix = { .kind = PCI_BAR_MEMORY64,
		.prefetchable = true,
		.size = MSIX_SIZE,
		.ops = &nothing_ops,
		.name = "test-card-msix" };
	static const struct pci_bar ports = { .kind = PCI_BAR_IO,
		.size = PORTS_SIZE,
		.ops = &register_ops,
		.name = "test-card-ports" };

	memset(card, 0, sizeof(*card));
	card->other = other;
	pci_function_init(&card->function, name, &identity, &function_ops, card);
	pci_add_bar(&card->function, REGISTERS_BAR, &registers);
	pci_add_bar(&card->function, MSIX_BAR, &msix);
	pci_add_bar(&card->function, PORTS_BAR, &ports);
	pci_add_express(&card->function);
	pci_add_msi(&card->function, MSI_VECTORS);
	pci_add_msix(&card->function, PCI_TEST_CARD_VECTORS, MSIX_BAR, PCI_TEST_CARD_MSIX_TABLE,
		PCI_TEST_CARD_MSIX_PBA);
	card->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	card->doorbell = (struct pci_doorbell){
		.doorbell = { .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) },
		.bar = REGISTERS_BAR,
		.offset = PCI_TEST_CARD_DOORBELL,
	};
	pci_attach_doorbell(&card->function, &card->doorbell);
}

void pci_test_card_finish(struct pci_test_card *card)
{
	if (card->function.host)
		pci_unplug(&card->function);
	pci_function_finish(&card->function);
	if (card->event_fd >= 0)
		close(card->event_fd);
	if (card->doorbell.doorbell.fd >= 0)
		close(card->doorbell.doorbell.fd);
}
