#include "vmm/devices.h"

#include "base/properties.h"
#include "virtio/virtio_balloon.h"
#include "virtio/virtio_net.h"
#include "virtio/virtio_rng.h"
#include "virtio/virtio_vsock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool devices_need_pci(const struct vm_config *config)
{
	return config->pci || config->test_card || config->nr_nets > 0 || config->nr_disks > 0 ||
	       config->balloon || config->rng || config->vsock;
}

static int create_test_cards(struct devices *devices, struct board *board, struct error *err)
{
	struct pci_test_card *cards = calloc(2, sizeof(*cards));

	if (!cards)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for a test card");
	devices->test_cards = cards;
	pci_test_card_init(&cards[0], "test-card", &cards[1]);
	pci_test_card_init(&cards[1], "other-test-card", NULL);
	return pci_plug(board_pci(board), &cards[0].function, PCI_ANY_DEVICE, false, err);
}

static int create_disks(struct devices *devices, const struct vm_config *config,
	struct board *board, const struct devices_events *events, struct error *err)
{
	while (devices->nr_disks < config->nr_disks) {
		unsigned index = devices->nr_disks++;

		if (disk_create(&devices->disks[index], index, config->disks[index], board,
			    events->disk_stopped, events->context, err))
			return -EINVAL;
	}
	return 0;
}

/* The entry that the next device will have, with its name; NULL, and `err`, if all are taken. */
static struct devices_entry *next_entry(
	struct devices *devices, const char *kind, unsigned number, struct error *err)
{
	struct devices_entry *entry = &devices->entries[devices->count];

	if (devices->count == DEVICES_MAX) {
		error_set(err, EXIT_CODE_CONFIG,
			"there are too many devices; a machine has room for %u", DEVICES_MAX);
		return NULL;
	}
	snprintf(entry->name, sizeof(entry->name), "%s%u", kind, number);
	return entry;
}

/* Puts the entry's device, which it owns from now on, on the bus. */
static int plug(struct devices *devices, struct devices_entry *entry, struct board *board,
	void (*destroy)(struct virtio_device *device), struct error *err)
{
	entry->destroy = destroy;
	devices->count++;
	if (virtio_pci_create(&entry->transport, entry->device, true, err))
		return -EINVAL;
	return pci_plug(board_pci(board), &entry->transport->function, PCI_ANY_DEVICE, false, err);
}

static int create_nics(struct devices *devices, const struct vm_config *config,
	struct machine *machine, struct board *board, struct error *err)
{
	for (unsigned i = 0; i < config->nr_nets; i++) {
		struct devices_entry *entry = next_entry(devices, "net", i, err);

		if (!entry ||
			nic_create(&entry->device, entry->name, config->nets[i], machine, err) ||
			plug(devices, entry, board, virtio_net_destroy, err))
			return -EINVAL;
	}
	return 0;
}

/* What the guest may take from the host's random numbers. */
#define RNG_BYTES_PER_S (1 << 20)

static int create_rng(
	struct devices *devices, struct machine *machine, struct board *board, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "rng", 0, err);

	if (!entry || virtio_rng_create(&entry->device, entry->name, machine, RNG_BYTES_PER_S, err))
		return -EINVAL;
	return plug(devices, entry, board, virtio_rng_destroy, err);
}

static int create_balloon(
	struct devices *devices, struct machine *machine, struct board *board, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "balloon", 0, err);
	struct virtio_balloon_config config = { .machine = machine };
	struct virtio_balloon *balloon;

	if (!entry)
		return -EINVAL;
	config.name = entry->name;
	if (virtio_balloon_create(&balloon, &config, err))
		return -EINVAL;
	entry->device = virtio_balloon_device(balloon);
	return plug(devices, entry, board, virtio_balloon_destroy, err);
}

/* PATH[,cid=N] */
static int create_vsock(struct devices *devices, const char *value, struct machine *machine,
	struct board *board, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "vsock", 0, err);
	struct virtio_vsock_config config = { .machine = machine };
	uint64_t cid = VIRTIO_VSOCK_MIN_CID;
	struct properties properties;
	struct virtio_vsock *vsock;
	int ret;

	if (!entry || properties_parse(&properties, "vsock", value, err))
		return -EINVAL;
	ret = properties_take_number(
		&properties, "cid", VIRTIO_VSOCK_MIN_CID, UINT32_MAX - 1, &cid, err);
	if (!ret)
		ret = properties_check(&properties, "cid", err);
	config.name = entry->name;
	config.cid = (uint32_t)cid;
	config.path = properties.word ? properties.word : "";
	if (!ret)
		ret = virtio_vsock_create(&vsock, &config, err);
	properties_finish(&properties);
	if (ret)
		return ret;
	entry->device = virtio_vsock_device(vsock);
	return plug(devices, entry, board, virtio_vsock_destroy, err);
}

int devices_create(struct devices *devices, const struct vm_config *config, struct machine *machine,
	struct board *board, const struct devices_events *events, struct error *err)
{
	if (config->test_card && create_test_cards(devices, board, err))
		return -EINVAL;
	if (create_disks(devices, config, board, events, err))
		return -EINVAL;
	if (create_nics(devices, config, machine, board, err))
		return -EINVAL;
	if (config->rng && create_rng(devices, machine, board, err))
		return -EINVAL;
	if (config->balloon && create_balloon(devices, machine, board, err))
		return -EINVAL;
	if (config->vsock && create_vsock(devices, config->vsock, machine, board, err))
		return -EINVAL;
	return 0;
}

static void destroy_entry(struct devices_entry *entry)
{
	if (entry->transport)
		virtio_pci_unplug(entry->transport);
	/* Ends its threads, which call the transport. */
	virtio_device_finish(entry->device);
	virtio_pci_destroy(entry->transport);
	entry->destroy(entry->device);
}

void devices_destroy(struct devices *devices)
{
	for (unsigned i = 0; i < devices->nr_disks; i++)
		disk_destroy(&devices->disks[i]);
	while (devices->count)
		destroy_entry(&devices->entries[--devices->count]);
	if (!devices->test_cards)
		return;
	pci_test_card_finish(&devices->test_cards[1]);
	pci_test_card_finish(&devices->test_cards[0]);
	free(devices->test_cards);
}
