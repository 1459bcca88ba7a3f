#include "vmm/devices.h"

#include "base/properties.h"
#include "virtio/virtio_fs.h"
#include "virtio/virtio_gpu.h"
#include "virtio/virtio_input.h"
#include "virtio/virtio_net.h"
#include "virtio/virtio_pmem.h"
#include "virtio/virtio_rng.h"
#include "virtio/virtio_vsock.h"
#include "vmm/boot_order.h"
#include "vmm/memory.h"
#include "vmm/screen.h"
#include "vmm/watchdog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool devices_need_pci(const struct vm_config *config)
{
	return config->pci || config->test_card || config->nr_shares > 0 || config->nr_nets > 0 ||
	       config->nr_disks > 0 || config->nr_cdroms > 0 || ports_are_wanted(config) ||
	       config->balloon || config->rng || config->vsock || config->agent ||
	       config->virtio_keyboard || config->usb || config->usb_keyboard ||
	       config->usb_tablet || config->watchdog || config->sound || config->nr_pmems > 0 ||
	       config->memory_max_bytes > config->memory_bytes || config->tablet ||
	       (config->display_device && strcmp(config->display_device, "none") != 0);
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

/* On a vCPU's thread, under the machine lock. */
static void device_ejected(void *owner)
{
	struct devices *devices = owner;

	atomic_store(&devices->ejection, true);
	if (devices->events.ejected)
		devices->events.ejected(devices->events.context);
}

static void watch_ejection(struct devices *devices, struct pci_function *function)
{
	function->ejected = device_ejected;
	function->owner = devices;
}

struct disk *devices_disk(struct devices *devices, const char *id)
{
	for (unsigned i = 0; i < VM_MAX_DISKS; i++) {
		if (devices->disks[i].function && strcmp(devices->disks[i].name, id) == 0)
			return &devices->disks[i];
	}
	return NULL;
}

static int add_disk(struct devices *devices, bool is_optical, const char *value, const char **id,
	struct error *err)
{
	unsigned index = 0, number = 0;
	struct disk *disk;
	char name[16];
	int rc;

	while (index < VM_MAX_DISKS && devices->disks[index].function)
		index++;
	if (index == VM_MAX_DISKS)
		return error_set(err, EXIT_CODE_CONFIG,
			"there are too many disks; a machine has room for %u", VM_MAX_DISKS);
	disk = &devices->disks[index];
	do
		snprintf(name, sizeof(name), "%s%u", is_optical ? "cdrom" : "disk", number++);
	while (devices_disk(devices, name));
	rc = disk_create(disk, name, is_optical, value, devices->board, &devices->controllers,
		devices->running, devices->events.disk_stopped, devices->events.context, err);
	if (rc < 0) {
		disk_destroy(disk);
		return rc;
	}
	if (!disk_shares_function(disk))
		watch_ejection(devices, disk->function);
	*id = disk->name;
	return 0;
}

static bool is_taken(const struct devices *devices, const char *name)
{
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		if (devices->entries[i].function && strcmp(devices->entries[i].name, name) == 0)
			return true;
	}
	return false;
}

/* A free entry with the first free name of its kind; NULL, and `err`, if there is none. */
static struct devices_entry *next_entry(
	struct devices *devices, const char *kind, struct error *err)
{
	struct devices_entry *entry = devices->entries;
	unsigned number = 0;

	while (entry < devices->entries + DEVICES_MAX && entry->function)
		entry++;
	if (entry == devices->entries + DEVICES_MAX) {
		error_set(err, EXIT_CODE_CONFIG,
			"there are too many devices; a machine has room for %u", DEVICES_MAX);
		return NULL;
	}
	do
		snprintf(entry->name, sizeof(entry->name), "%s%u", kind, number++);
	while (is_taken(devices, entry->name));
	return entry;
}

static void destroy_virtio(struct devices_entry *entry)
{
	if (entry->transport)
		virtio_pci_unplug(entry->transport);
	/* Ends its threads, which call the transport. */
	virtio_device_finish(entry->device);
	virtio_pci_destroy(entry->transport);
	entry->destroy(entry->device);
}

static void destroy_card(struct machine *machine, const struct devices_card *card)
{
	machine_lock(machine);
	if (card->function->host)
		pci_unplug(card->function);
	machine_unlock(machine);
	card->destroy(card->object);
}

static void destroy_entry(struct devices *devices, struct devices_entry *entry)
{
	if (entry->device && entry->device == devices->keyboard)
		devices->keyboard = NULL;
	if (entry->device && entry->device == devices->gpu)
		devices->gpu = NULL;
	if (entry->device && entry->device == devices->tablet)
		devices->tablet = NULL;
	if (entry->device && entry->device == devices->console)
		devices->console = NULL;
	if (entry->card.object && entry->card.object == devices->vga)
		devices->vga = NULL;
	if (devices->mem && entry->device == virtio_mem_device(devices->mem))
		devices->mem = NULL;
	if (devices->balloon && entry->device == virtio_balloon_device(devices->balloon))
		devices->balloon = NULL;
	if (entry->device)
		destroy_virtio(entry);
	else
		destroy_card(devices->machine, &entry->card);
	memset(entry, 0, sizeof(*entry));
}

/* Puts the entry's device on the bus, or destroys it. */
static int plug(struct devices *devices, struct devices_entry *entry,
	void (*destroy)(struct virtio_device *device), struct error *err)
{
	int rc;

	entry->destroy = destroy;
	rc = virtio_pci_create(&entry->transport, entry->device, true, err);
	if (rc == 0) {
		entry->function = &entry->transport->function;
		watch_ejection(devices, entry->function);
		rc = virtio_pci_plug(entry->transport, board_pci(devices->board), PCI_ANY_DEVICE,
			devices->running, err);
	}
	if (rc < 0)
		destroy_entry(devices, entry);
	return rc;
}

int devices_add_card(struct devices *devices, const char *kind, devices_create_card *create,
	const char *value, unsigned device, const char **id, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, kind, err);
	int rc;

	if (!entry || create(&entry->card, entry->name, value, devices->machine, err))
		return -EINVAL;
	entry->function = entry->card.function;
	watch_ejection(devices, entry->function);
	machine_lock(devices->machine);
	rc = pci_plug(board_pci(devices->board), entry->function, device, devices->running, err);
	machine_unlock(devices->machine);
	if (rc < 0)
		destroy_entry(devices, entry);
	else
		*id = entry->name;
	return rc;
}

void *devices_card_object(struct devices *devices, const char *id)
{
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		if (devices->entries[i].function && strcmp(devices->entries[i].name, id) == 0)
			return devices->entries[i].card.object;
	}
	return NULL;
}

static int add_nic(struct devices *devices, const char *value, const char **id, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "net", err);
	unsigned boot = 0;
	bool is_card;

	if (!entry || nic_is_card(value, &is_card, err) || nic_boot(value, &boot, err))
		return -EINVAL;
	/* A card takes the same entry. */
	if (is_card &&
		devices_add_card(devices, "net", nic_create_card, value, PCI_ANY_DEVICE, id, err))
		return -EINVAL;
	if (!is_card && (nic_create(&entry->device, entry->name, value, devices->machine, err) ||
				plug(devices, entry, virtio_net_destroy, err)))
		return -EINVAL;
	/* Firmware has looked already if the guest runs. */
	if (!devices->running && nic_add_rom(entry->function, value, devices->network_boot || boot,
					 devices->uefi, err))
		return -EINVAL;
	entry->is_nic = true;
	entry->boot = boot;
	*id = entry->name;
	return 0;
}

static int create_share(struct devices *devices, const char *value, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "share", err);

	if (!entry || share_create(&entry->device, entry->name, value, devices->machine, err))
		return -EINVAL;
	return plug(devices, entry, virtio_fs_destroy, err);
}

/* What the guest may take from the host's random numbers. */
#define RNG_BYTES_PER_S (1 << 20)

static int create_rng(struct devices *devices, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "rng", err);

	if (!entry || virtio_rng_create(
			      &entry->device, entry->name, devices->machine, RNG_BYTES_PER_S, err))
		return -EINVAL;
	return plug(devices, entry, virtio_rng_destroy, err);
}

static int create_console(
	struct devices *devices, const struct vm_config *config, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "console", err);

	if (!entry || ports_create(&devices->ports, &entry->device, entry->name, config,
			      devices->machine, err))
		return -EINVAL;
	if (config->console)
		devices->console = entry->device;
	return plug(devices, entry, virtio_console_destroy, err);
}

static int create_balloon(struct devices *devices, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "balloon", err);
	struct virtio_balloon_config config = { .machine = devices->machine };

	if (!entry)
		return -EINVAL;
	config.name = entry->name;
	if (virtio_balloon_create(&devices->balloon, &config, err))
		return -EINVAL;
	entry->device = virtio_balloon_device(devices->balloon);
	return plug(devices, entry, virtio_balloon_destroy, err);
}

static int create_mem(struct devices *devices, const struct vm_config *config, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "mem", err);

	if (!entry || memory_create(&devices->mem, entry->name, config, devices->board, err))
		return -EINVAL;
	entry->device = virtio_mem_device(devices->mem);
	return plug(devices, entry, virtio_mem_destroy, err);
}

static int create_pmem(struct devices *devices, const char *value, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "pmem", err);

	if (!entry || memory_create_pmem(&entry->device, entry->name, value, devices->board, err))
		return -EINVAL;
	return plug(devices, entry, virtio_pmem_destroy, err);
}

/* PATH[,cid=N] */
static int create_vsock(struct devices *devices, const char *value, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "vsock", err);
	struct virtio_vsock_config config = { .machine = devices->machine };
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
	return plug(devices, entry, virtio_vsock_destroy, err);
}

/* The line to the guest's agent, a socket in the VM's directory. */
static int create_agent(struct devices *devices, const struct vm_config *config, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "agent", err);
	struct virtio_console_port_config port = {
		.name = "org.qemu.guest_agent.0", .takes_turns = true, .in_fd = -1, .out_fd = -1
	};
	struct virtio_console_config console = {
		.machine = devices->machine, .ports = &port, .nr_ports = 1
	};

	if (!entry)
		return -EINVAL;
	if (!config->bundle)
		return error_set(err, EXIT_CODE_CONFIG,
			"--agent is for a VM with a name; give it one with --name NAME");
	console.name = entry->name;
	port.listen_fd = bundle_listen(config->bundle, BUNDLE_AGENT);
	if (port.listen_fd < 0)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, -port.listen_fd,
			"cannot listen on %s/" BUNDLE_AGENT, config->bundle->path);
	if (virtio_console_create(&entry->device, &console, err))
		return -EINVAL;
	return plug(devices, entry, virtio_console_destroy, err);
}

static int create_input(struct devices *devices, enum virtio_input_kind kind,
	struct virtio_device **device, struct error *err)
{
	struct devices_entry *entry =
		next_entry(devices, kind == VIRTIO_INPUT_TABLET ? "tablet" : "keyboard", err);

	if (!entry || virtio_input_create(&entry->device, entry->name, devices->machine, kind, err))
		return -EINVAL;
	*device = entry->device;
	if (plug(devices, entry, virtio_input_destroy, err) == 0)
		return 0;
	*device = NULL;
	return -EINVAL;
}

static int create_gpu(struct devices *devices, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "gpu", err);

	if (!entry || virtio_gpu_create(&entry->device, entry->name, devices->machine, err))
		return -EINVAL;
	devices->gpu = entry->device;
	if (plug(devices, entry, virtio_gpu_destroy, err) == 0)
		return 0;
	devices->gpu = NULL;
	return -EINVAL;
}

static int create_screen_and_input(
	struct devices *devices, const struct vm_config *config, struct error *err)
{
	const char *kind = config->display_device;

	if (!kind)
		kind = devices->board->type->display_device;
	if (kind && strcmp(kind, "virtio-gpu") == 0 && create_gpu(devices, err))
		return -EINVAL;
	if (kind && strcmp(kind, "vga") == 0 && screen_create(devices, err))
		return -EINVAL;
	if (config->virtio_keyboard &&
		create_input(devices, VIRTIO_INPUT_KEYBOARD, &devices->keyboard, err))
		return -EINVAL;
	if (config->tablet && create_input(devices, VIRTIO_INPUT_TABLET, &devices->tablet, err))
		return -EINVAL;
	if (config->usb && usb_create(&devices->controllers.usb, devices->board, err))
		return -EINVAL;
	if (config->usb_keyboard &&
		usb_add_hid(&devices->controllers.usb, devices->board, USB_HID_KEYBOARD, err))
		return -EINVAL;
	if (config->usb_tablet &&
		usb_add_hid(&devices->controllers.usb, devices->board, USB_HID_TABLET, err))
		return -EINVAL;
	return 0;
}

static void destroy_sound(void *object)
{
	hda_destroy(object);
}

static int create_sound(struct devices *devices, struct error *err)
{
	struct devices_entry *entry = next_entry(devices, "sound", err);
	struct hda *hda;
	int rc;

	if (!entry || hda_create(&hda, entry->name, devices->machine, &devices->sound, err))
		return -EINVAL;
	entry->card = (struct devices_card){ &hda->function, hda, destroy_sound };
	entry->function = &hda->function;
	watch_ejection(devices, entry->function);
	machine_lock(devices->machine);
	rc = pci_plug(board_pci(devices->board), entry->function, PCI_ANY_DEVICE, false, err);
	machine_unlock(devices->machine);
	if (rc < 0)
		destroy_entry(devices, entry);
	return rc;
}

int devices_create(struct devices *devices, const struct vm_config *config, struct machine *machine,
	struct board *board, const struct devices_events *events, struct error *err)
{
	const char *id;

	devices->machine = machine;
	devices->board = board;
	devices->events = *events;
	devices->uefi = config->firmware && strcmp(config->firmware, "uefi") == 0;
	devices->network_boot = boot_order_has_network(config->boot);
	if (config->test_card && create_test_cards(devices, board, err))
		return -EINVAL;
	if (create_screen_and_input(devices, config, err))
		return -EINVAL;
	/* Memory first: shares give it to other processes. */
	if (config->memory_max_bytes > config->memory_bytes && create_mem(devices, config, err))
		return -EINVAL;
	for (unsigned i = 0; i < config->nr_pmems; i++) {
		if (create_pmem(devices, config->pmems[i], err))
			return -EINVAL;
	}
	for (unsigned i = 0; i < config->nr_disks; i++) {
		if (add_disk(devices, false, config->disks[i], &id, err))
			return -EINVAL;
	}
	for (unsigned i = 0; i < config->nr_cdroms; i++) {
		if (add_disk(devices, true, config->cdroms[i], &id, err))
			return -EINVAL;
	}
	for (unsigned i = 0; i < config->nr_nets; i++) {
		if (add_nic(devices, config->nets[i], &id, err))
			return -EINVAL;
	}
	for (unsigned i = 0; i < config->nr_shares; i++) {
		if (create_share(devices, config->shares[i], err))
			return -EINVAL;
	}
	if (config->watchdog && devices_add_card(devices, "watchdog", watchdog_create,
					config->watchdog, PCI_ANY_DEVICE, &id, err))
		return -EINVAL;
	if (config->sound && create_sound(devices, err))
		return -EINVAL;
	if (config->rng && create_rng(devices, err))
		return -EINVAL;
	if (config->agent && create_agent(devices, config, err))
		return -EINVAL;
	if (config->balloon && create_balloon(devices, err))
		return -EINVAL;
	if (config->vsock && create_vsock(devices, config->vsock, err))
		return -EINVAL;
	if (ports_are_wanted(config) && create_console(devices, config, err))
		return -EINVAL;
	devices->running = true;
	return 0;
}

int devices_add(struct devices *devices, const char *kind, const char *value, const char **id,
	struct error *err)
{
	if (!board_pci(devices->board))
		return error_set(err, EXIT_CODE_CONFIG,
			"this machine has no PCI bus to plug a device into; start it with --pci");
	if (strcmp(kind, "disk") == 0)
		return add_disk(devices, false, value, id, err);
	if (strcmp(kind, "net") == 0)
		return add_nic(devices, value, id, err);
	return error_set(err, EXIT_CODE_USAGE,
		"a device of the kind '%.40s' cannot be plugged; use one of: disk net", kind);
}

/* A device of either array; one of `disk` and `entry` is not NULL. */
struct found {
	const char *id;
	struct pci_function *function;
	struct disk *disk;
	struct devices_entry *entry;
};

static void destroy(struct devices *devices, const struct found *found)
{
	if (found->disk)
		disk_destroy(found->disk);
	else
		destroy_entry(devices, found->entry);
}

/* Calls `visit` for every device until it returns true. */
typedef bool devices_visit(void *context, const struct found *found);

static bool for_each(struct devices *devices, devices_visit *visit, void *context)
{
	for (unsigned i = 0; i < VM_MAX_DISKS; i++) {
		struct disk *disk = &devices->disks[i];

		if (disk->function && visit(context, &(struct found){ .id = disk->name,
							     .function = disk->function,
							     .disk = disk }))
			return true;
	}
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		struct devices_entry *entry = &devices->entries[i];

		if (entry->function && visit(context, &(struct found){ .id = entry->name,
							      .function = entry->function,
							      .entry = entry }))
			return true;
	}
	return false;
}

struct removal {
	struct devices *devices;
	const char *id;
	bool by_force;
	struct error *err;
};

static bool remove_one(void *context, const struct found *found)
{
	const struct removal *removal = context;
	struct machine *machine = removal->devices->machine;

	if (strcmp(found->id, removal->id) != 0)
		return false;
	if (found->disk && found->disk->ata) {
		error_set(removal->err, EXIT_CODE_USAGE,
			"%s shares its controller, which stays; only disks with bus=virtio or "
			"bus=nvme can be unplugged",
			found->id);
		return true;
	}
	/* A USB disk is pulled out, which the guest is told of. */
	if (removal->by_force || (found->disk && found->disk->usb)) {
		destroy(removal->devices, found);
		return true;
	}
	machine_lock(machine);
	if (found->function->host)
		pci_request_unplug(found->function);
	machine_unlock(machine);
	return true;
}

int devices_remove(struct devices *devices, const char *id, bool by_force, struct error *err)
{
	struct removal removal = { .devices = devices, .id = id, .by_force = by_force, .err = err };

	if (for_each(devices, remove_one, &removal))
		return err && err->exit_code ? -EINVAL : 0;
	return error_set(err, EXIT_CODE_CONFIG, "this machine has no device '%.40s'", id);
}

struct sweep {
	struct devices *devices;
	void (*gone)(void *context, const char *id);
	void *context;
};

static bool sweep_one(void *context, const struct found *found)
{
	const struct sweep *sweep = context;
	bool is_plugged;

	if (found->disk && disk_shares_function(found->disk))
		return false;
	/* The vCPU that ejected it has let go of the lock by then. */
	machine_lock(sweep->devices->machine);
	is_plugged = found->function->host;
	machine_unlock(sweep->devices->machine);
	if (is_plugged)
		return false;
	sweep->gone(sweep->context, found->id);
	destroy(sweep->devices, found);
	return false;
}

void devices_sweep(
	struct devices *devices, void (*gone)(void *context, const char *id), void *context)
{
	struct sweep sweep = { devices, gone, context };

	if (atomic_exchange(&devices->ejection, false))
		for_each(devices, sweep_one, &sweep);
}

struct listing {
	void (*visit)(void *context, const struct devices_info *info);
	void *context;
};

static bool list_one(void *context, const struct found *found)
{
	const struct listing *listing = context;

	listing->visit(listing->context,
		&(struct devices_info){ .id = found->id, .slot = found->function->number });
	return false;
}

void devices_list(struct devices *devices,
	void (*visit)(void *context, const struct devices_info *info), void *context)
{
	struct listing listing = { visit, context };

	for_each(devices, list_one, &listing);
}

void devices_destroy(struct devices *devices)
{
	/* Drives end with their controllers, before their images. */
	controllers_destroy(&devices->controllers, devices->machine);
	for (unsigned i = 0; i < VM_MAX_DISKS; i++)
		disk_destroy(&devices->disks[i]);
	usb_destroy(&devices->controllers.usb, devices->machine);
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		if (devices->entries[i].function)
			destroy_entry(devices, &devices->entries[i]);
	}
	ports_finish(&devices->ports);
	if (!devices->test_cards)
		return;
	pci_test_card_finish(&devices->test_cards[1]);
	pci_test_card_finish(&devices->test_cards[0]);
	free(devices->test_cards);
}
