#include "vmm/controllers.h"

#include "storage/ahci.h"
#include "storage/ide.h"

#include <stdio.h>
#include <string.h>

/* What the two kinds have in common. */
struct kind {
	enum disk_bus bus;
	const char *name;
	int (*create)(void **object, struct pci_function **function, const char *name,
		struct machine *machine, struct error *err);
	void (*destroy)(void *object);
	int (*free_port)(const void *object);
	int (*attach)(void *object, unsigned port, const char *name,
		const struct ata_identity *identity, struct block_device *image, struct error *err);
	struct ata_device *(*device)(void *object, unsigned port);
};

static int create_ahci(void **object, struct pci_function **function, const char *name,
	struct machine *machine, struct error *err)
{
	struct ahci *ahci;
	int rc = ahci_create(&ahci, name, machine, err);

	if (rc < 0)
		return rc;
	*object = ahci;
	*function = ahci_function(ahci);
	return 0;
}

static void destroy_ahci(void *object)
{
	ahci_destroy(object);
}

static int free_ahci_port(const void *object)
{
	return ahci_free_port(object);
}

static int attach_ahci(void *object, unsigned port, const char *name,
	const struct ata_identity *identity, struct block_device *image, struct error *err)
{
	return ahci_attach(object, port, name, identity, image, err);
}

static struct ata_device *device_of_ahci(void *object, unsigned port)
{
	return ahci_device(object, port);
}

static int create_ide(void **object, struct pci_function **function, const char *name,
	struct machine *machine, struct error *err)
{
	struct ide *ide;
	int rc = ide_create(&ide, name, machine, NULL, err);

	if (rc < 0)
		return rc;
	*object = ide;
	*function = ide_function(ide);
	return 0;
}

static void destroy_ide(void *object)
{
	ide_destroy(object);
}

static int free_ide_port(const void *object)
{
	return ide_free_unit(object);
}

static int attach_ide(void *object, unsigned port, const char *name,
	const struct ata_identity *identity, struct block_device *image, struct error *err)
{
	return ide_attach(object, port, name, identity, image, err);
}

static struct ata_device *device_of_ide(void *object, unsigned port)
{
	return ide_device(object, port);
}

static const struct kind kinds[] = {
	{ DISK_BUS_AHCI, "ahci", create_ahci, destroy_ahci, free_ahci_port, attach_ahci,
		device_of_ahci },
	{ DISK_BUS_IDE, "ide", create_ide, destroy_ide, free_ide_port, attach_ide, device_of_ide },
};

static const struct kind *kind_of(enum disk_bus bus)
{
	return &kinds[bus == DISK_BUS_IDE];
}

static int add(struct controllers *controllers, struct board *board, const struct kind *kind,
	struct controller **added, struct error *err)
{
	struct controller *controller = controllers->items;
	unsigned number = 0;
	int rc;

	while (controller < controllers->items + CONTROLLERS_MAX && controller->function) {
		number += controller->bus == kind->bus;
		controller++;
	}
	if (controller == controllers->items + CONTROLLERS_MAX)
		return error_set(err, EXIT_CODE_CONFIG,
			"there are too many drives for bus=%s; a machine has %u controllers at "
			"most, use bus=virtio",
			kind->name, CONTROLLERS_MAX);
	snprintf(controller->name, sizeof(controller->name), "%s%u", kind->name, number);
	controller->bus = kind->bus;
	rc = kind->create(
		&controller->object, &controller->function, controller->name, board->machine, err);
	if (rc < 0)
		return rc;
	machine_lock(board->machine);
	rc = pci_plug(board_pci(board), controller->function, PCI_ANY_DEVICE, false, err);
	machine_unlock(board->machine);
	if (rc < 0) {
		kind->destroy(controller->object);
		memset(controller, 0, sizeof(*controller));
		return rc;
	}
	*added = controller;
	return 0;
}

int controllers_attach(struct controllers *controllers, struct board *board, enum disk_bus bus,
	const char *name, const struct ata_identity *identity, struct block_device *image,
	struct ata_device **device, const struct controller **of, struct error *err)
{
	const struct kind *kind = kind_of(bus);
	struct controller *controller = NULL;
	int port, rc;

	for (unsigned i = 0; i < CONTROLLERS_MAX && !controller; i++) {
		struct controller *at = &controllers->items[i];

		if (at->function && at->bus == bus && kind->free_port(at->object) >= 0)
			controller = at;
	}
	if (!controller) {
		rc = add(controllers, board, kind, &controller, err);
		if (rc < 0)
			return rc;
	}
	port = kind->free_port(controller->object);
	rc = kind->attach(controller->object, (unsigned)port, name, identity, image, err);
	if (rc < 0)
		return rc;
	*device = kind->device(controller->object, (unsigned)port);
	*of = controller;
	return 0;
}

void controllers_destroy(struct controllers *controllers, struct machine *machine)
{
	for (unsigned i = 0; i < CONTROLLERS_MAX; i++) {
		struct controller *controller = &controllers->items[i];

		if (!controller->function)
			continue;
		machine_lock(machine);
		if (controller->function->host)
			pci_unplug(controller->function);
		machine_unlock(machine);
		kind_of(controller->bus)->destroy(controller->object);
		memset(controller, 0, sizeof(*controller));
	}
}
