/*
 * What the tests of src/storage stand on: a machine with a bus, RAM, and an image of random bytes.
 */
#ifndef STORAGE_STORAGE_FIXTURE_H
#define STORAGE_STORAGE_FIXTURE_H

#include "pci/pci_fixture.h"
#include "storage/ahci.h"
#include "storage/ide.h"
#include "storage/nvme.h"

#include <unistd.h>

#define FIXTURE_RAM   (2u << 20)
#define FIXTURE_IMAGE (1u << 20)

struct storage_fixture {
	struct pci_fixture pci;
	struct block_device *image;
	uint8_t content[FIXTURE_IMAGE];
};

static inline struct machine *fixture_machine(struct storage_fixture *f)
{
	return &f->pci.machine;
}

static inline void storage_fixture_init(struct storage_fixture *f)
{
	char path[] = "/tmp/atoll-storage-XXXXXX";
	struct block_options options = { .path = path, .format = "raw", .aio = BLOCK_AIO_THREADS };
	int fd = mkstemp(path);
	uint32_t seed = 1;

	fixture_init(&f->pci);
	for (size_t i = 0; i < sizeof(f->content); i++)
		f->content[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
	if (fd < 0 || write(fd, f->content, sizeof(f->content)) != sizeof(f->content) ||
		guest_memory_add(&f->pci.machine.memory, 0, FIXTURE_RAM, false, NULL) ||
		block_device_open(&f->image, &options, NULL, NULL))
		abort();
	close(fd);
	unlink(path);
}

static inline void storage_fixture_finish(struct storage_fixture *f)
{
	block_device_close(f->image);
	fixture_finish(&f->pci);
}

static inline void fixture_plug(struct storage_fixture *f, struct pci_function *function)
{
	machine_lock(&f->pci.machine);
	if (pci_plug(f->pci.host, function, PCI_ANY_DEVICE, false, NULL))
		abort();
	machine_reset(&f->pci.machine);
	machine_unlock(&f->pci.machine);
	config_set(&f->pci, function->number, PCI_COMMAND, 2, 7);
}

static inline void fixture_unplug(struct storage_fixture *f, struct pci_function *function)
{
	machine_lock(&f->pci.machine);
	if (function->host)
		pci_unplug(function);
	machine_unlock(&f->pci.machine);
}

/* Registers, as a vCPU reaches them. */
static inline uint32_t bar_get(struct storage_fixture *f, struct pci_function *function,
	unsigned bar, unsigned offset, unsigned size)
{
	uint32_t value;

	machine_lock(&f->pci.machine);
	value = (uint32_t)pci_bar_read(function, bar, offset, size);
	machine_unlock(&f->pci.machine);
	return value;
}

static inline void bar_set(struct storage_fixture *f, struct pci_function *function, unsigned bar,
	unsigned offset, unsigned size, uint64_t value)
{
	machine_lock(&f->pci.machine);
	pci_bar_write(function, bar, offset, size, value);
	machine_unlock(&f->pci.machine);
}

static inline void settle(struct storage_fixture *f, struct drive *drive)
{
	machine_lock(&f->pci.machine);
	drive_drain(drive, false);
	machine_unlock(&f->pci.machine);
}

static inline uint8_t *ram(struct storage_fixture *f, gpa_t address)
{
	return guest_memory_host(&f->pci.machine.memory, address, 1);
}

#endif
