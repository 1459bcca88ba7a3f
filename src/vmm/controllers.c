#include "vmm/controllers.h"

#include "storage/ahci.h"
#include "storage/ide.h"

#include <stdio.h>
#include <string.h>

/* What the two kinds have in common. */
struct kind {
	enum disk_bus bus;
	const char *name;
	enum board_storage storage;
	/* `place`: that of the chipset, NULL: on a card. */
	int (*create)(void **object, struct pci_function **function, const char *name,
		struct machine *machine, const struct board_storage_place *place,
		struct error *err);
	void (*destroy)(void *object);
	int (*free_port)(const void *object);
	int (*attach)(void *object, unsigned port, const char *name,
		const struct ata_identity *identity, struct block_device *image, struct error *err);
	struct ata_device *(*device)(void *object, unsigned port);
};

static int create_ahci(void **object, struct pci_function **function, const char *name,
	struct machine *machine, const struct board_storage_place *place, struct error *err)
{
	struct ahci *ahci;
	int rc = ahci_create(&ahci, name, machine, place ? place->interrupt_pin : 1, err);

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
	struct machine *machine, const struct board_storage_place *place, struct error *err)
{
	struct ide *ide;
	struct ide_legacy legacy;
	int rc;

	for (unsigned i = 0; place && i < IDE_NR_CHANNELS; i++) {
		legacy.command_port[i] = place->command_port[i];
		legacy.control_port[i] = place->control_port[i];
		legacy.irq[i] = place->irq[i];
	}
	rc = ide_create(&ide, name, machine, place ? &legacy : NULL, err);

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
	{ DISK_BUS_AHCI, "ahci", BOARD_STORAGE_AHCI, create_ahci, destroy_ahci, free_ahci_port,
		attach_ahci, device_of_ahci },
	{ DISK_BUS_IDE, "ide", BOARD_STORAGE_IDE, create_ide, destroy_ide, free_ide_port,
		attach_ide, device_of_ide },
};

static const struct kind *kind_of(enum disk_bus bus)
{
	return &kinds[bus == DISK_BUS_IDE];
}

/* Into its place in the chipset, or into a free slot if `place` is NULL. */
static int plug(struct board *board, struct pci_function *function,
	const struct board_storage_place *place, struct error *err)
{
	int rc = 0;

	machine_lock(board->machine);
	if (place)
		pci_plug_built_in(board_pci(board), function, place->device, place->sub_number);
	else
		rc = pci_plug(board_pci(board), function, PCI_ANY_DEVICE, false, err);
	machine_unlock(board->machine);
	return rc;
}

enum disk_bus controllers_bus(struct board *board, enum disk_bus bus)
{
	struct board_storage_place chipset;

	if (bus != DISK_BUS_CHIPSET)
		return bus;
	board_storage_place(board, &chipset);
	return chipset.kind == BOARD_STORAGE_IDE ? DISK_BUS_IDE : DISK_BUS_AHCI;
}

static int add(struct controllers *controllers, struct board *board, const struct kind *kind,
	struct controller **added, struct error *err)
{
	struct controller *controller = controllers->items;
	const struct board_storage_place *place = NULL;
	struct board_storage_place chipset;
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
	board_storage_place(board, &chipset);
	if (number == 0 && chipset.kind == kind->storage)
		place = &chipset;
	snprintf(controller->name, sizeof(controller->name), "%s%u", kind->name, number);
	controller->bus = kind->bus;
	rc = kind->create(&controller->object, &controller->function, controller->name,
		board->machine, place, err);
	if (rc < 0)
		return rc;
	rc = plug(board, controller->function, place, err);
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
	struct ata_device **device, const struct controller **of, unsigned *port, struct error *err)
{
	const struct kind *kind = kind_of(bus);
	struct controller *controller = NULL;
	int rc;

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
	*port = (unsigned)kind->free_port(controller->object);
	rc = kind->attach(controller->object, *port, name, identity, image, err);
	if (rc < 0)
		return rc;
	*device = kind->device(controller->object, *port);
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
