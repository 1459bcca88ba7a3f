/*
 * The devices that can be booted from, as Open Firmware's paths: what SeaBIOS compares with its
 * own, and OVMF translates (QemuBootOrderLib). Names of nodes are those that both know, whatever
 * the device is called elsewhere; only numbers tell devices apart.
 *
 * First come those with boot=N, then the others by the order's letters. OVMF forgets a device that
 * is not listed, so all are once one is.
 */
#include "vmm/boot_order.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL_LETTERS "cadn"
#define WAIT_MS     5000

int boot_order_parse(struct boot_order *order, const char *value, struct error *err)
{
	struct properties properties;
	const char *letters;
	uint64_t wait_ms = WAIT_MS;
	int rc;

	memset(order, 0, sizeof(*order));
	if (properties_parse(&properties, "boot", value, err))
		return -EINVAL;
	letters = properties_take(&properties, "order");
	rc = properties_take_bool(&properties, "menu", &order->menu, err);
	if (rc == 0)
		rc = properties_take_number(&properties, "wait", 0, UINT16_MAX, &wait_ms, err);
	order->wait_ms = (uint16_t)wait_ms;
	if (rc == 0 && properties.word)
		rc = error_set(err, EXIT_CODE_USAGE,
			"--boot does not know '%s'; use order=cadn, menu=on, wait=MILLISECONDS",
			properties.word);
	if (rc == 0 && letters) {
		size_t length = strspn(letters, ALL_LETTERS);

		if (letters[length] || length == 0 || length >= sizeof(order->letters))
			rc = error_set(err, EXIT_CODE_USAGE,
				"--boot cannot use order=%s; give some of: c (disk), a (floppy), d "
				"(disc), n (network)",
				letters);
		else
			memcpy(order->letters, letters, length + 1);
	}
	if (rc == 0)
		rc = properties_check(&properties, "order, menu, wait", err);
	properties_finish(&properties);
	return rc;
}

bool boot_order_has_network(const char *value)
{
	struct boot_order order;

	return value && boot_order_parse(&order, value, NULL) == 0 && strchr(order.letters, 'n');
}

struct candidate {
	char letter;
	unsigned index; /* boot=N; 0: none */
	char path[80];
};

#define MAX_CANDIDATES (VM_MAX_DISKS + VM_MAX_FLOPPIES + DEVICES_MAX)

struct candidates {
	struct candidate items[MAX_CANDIDATES];
	unsigned count;
};

/* "3", or "1f,2". */
static void address(char text[8], const struct pci_function *function)
{
	if (function->sub_number)
		snprintf(text, 8, "%x,%x", function->number & 0x1f, function->sub_number & 7);
	else
		snprintf(text, 8, "%x", function->number & 0x1f);
}

static void add_disk(struct candidates *candidates, const struct disk *disk)
{
	struct candidate *candidate = &candidates->items[candidates->count++];
	char at[8];

	candidate->letter = disk->options.is_optical ? 'd' : 'c';
	candidate->index = disk->options.boot;
	address(at, disk->function);
	switch (disk->options.bus) {
	case DISK_BUS_NVME:
		snprintf(candidate->path, sizeof(candidate->path),
			"/pci@i0cf8/pci8086,5845@%s/namespace@1,0", at);
		break;
	case DISK_BUS_AHCI:
		snprintf(candidate->path, sizeof(candidate->path),
			"/pci@i0cf8/pci8086,2922@%s/drive@%x/disk@0", at, disk->port);
		break;
	case DISK_BUS_IDE:
		snprintf(candidate->path, sizeof(candidate->path),
			"/pci@i0cf8/ide@%s/drive@%x/disk@%x", at, disk->port / 2, disk->port % 2);
		break;
	default:
		snprintf(candidate->path, sizeof(candidate->path), "/pci@i0cf8/scsi@%s/disk@0,0",
			at);
	}
}

static void add_nic(struct candidates *candidates, const struct devices_entry *entry)
{
	struct candidate *candidate = &candidates->items[candidates->count++];
	char at[8];

	candidate->letter = 'n';
	candidate->index = entry->boot;
	address(at, entry->function);
	snprintf(candidate->path, sizeof(candidate->path), "/pci@i0cf8/ethernet@%s/ethernet-phy@0",
		at);
}

/* On the ISA bus behind the chipset's bridge, whose number is the board's. */
static void add_floppy(struct candidates *candidates, const struct floppies *floppies, unsigned i)
{
	struct candidate *candidate = &candidates->items[candidates->count++];

	candidate->letter = 'a';
	candidate->index = floppies->items[i].options.boot;
	snprintf(candidate->path, sizeof(candidate->path), "/pci@i0cf8/isa@%x/fdc@03f0/floppy@%x",
		board_isa_bridge(floppies->board), i);
}

static bool gather(struct candidates *candidates, const struct devices *devices,
	const struct floppies *floppies)
{
	bool said = false;

	candidates->count = 0;
	for (unsigned i = 0; i < VM_MAX_DISKS; i++) {
		if (devices->disks[i].function)
			add_disk(candidates, &devices->disks[i]);
	}
	for (unsigned i = 0; i < floppies->count; i++)
		add_floppy(candidates, floppies, i);
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		if (devices->entries[i].function && devices->entries[i].is_nic)
			add_nic(candidates, &devices->entries[i]);
	}
	for (unsigned i = 0; i < candidates->count; i++)
		said |= candidates->items[i].index > 0;
	return said;
}

static void append(char *text, const struct candidate *candidate)
{
	if (*text)
		strcat(text, "\n");
	strcat(text, candidate->path);
}

int boot_order_text(const struct boot_order *order, const struct devices *devices,
	const struct floppies *floppies, char **text, struct error *err)
{
	struct candidates *candidates = malloc(sizeof(*candidates));
	const char *letters = order->letters[0] ? order->letters : ALL_LETTERS;

	*text = NULL;
	if (!candidates)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for the boot order");
	if (!gather(candidates, devices, floppies) && !order->letters[0]) {
		free(candidates);
		return 0;
	}
	*text = calloc(candidates->count + 1, sizeof(candidates->items[0].path) + 1);
	if (!*text) {
		free(candidates);
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for the boot order");
	}
	for (unsigned index = 1; index < 100; index++) {
		for (unsigned i = 0; i < candidates->count; i++) {
			if (candidates->items[i].index == index)
				append(*text, &candidates->items[i]);
		}
	}
	for (; *letters; letters++) {
		for (unsigned i = 0; i < candidates->count; i++) {
			if (!candidates->items[i].index && candidates->items[i].letter == *letters)
				append(*text, &candidates->items[i]);
		}
	}
	free(candidates);
	return 0;
}
