/*
 * A NIC from what --net was given: its own properties (model, mac, queues, vhost) are taken here,
 * those of its back end by net_open.
 */
#include "base/properties.h"
#include "nic/e1000.h"
#include "nic/rtl8139.h"
#include "virtio/virtio_net.h"
#include "vmm/devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define NIC_PROPERTIES "model, mac, queues, vhost, boot, romfile, " NET_PROPERTIES

#define NIC_MAX_ROM (2u << 20)

/* QEMU's prefix, which people know for a virtual machine's; the rest is random, so that machines
 * on one switch differ. */
static void choose_address(uint8_t address[NET_ADDRESS_BYTES])
{
	static const uint8_t prefix[] = { 0x52, 0x54, 0x00 };

	memcpy(address, prefix, sizeof(prefix));
	if (getrandom(address + sizeof(prefix), NET_ADDRESS_BYTES - sizeof(prefix), 0) < 0)
		memset(address + sizeof(prefix), 1, NET_ADDRESS_BYTES - sizeof(prefix));
}

static int take_address(
	uint8_t address[NET_ADDRESS_BYTES], struct properties *properties, struct error *err)
{
	const char *mac = properties_take(properties, "mac");

	choose_address(address);
	if (mac && virtio_net_parse_address(mac, address))
		return error_set(err, EXIT_CODE_USAGE,
			"--net cannot use mac=%s; give a unicast address such as 52:54:00:12:34:56",
			mac);
	return 0;
}

enum vhost { VHOST_AUTO, VHOST_ON, VHOST_OFF };

static int take_vhost(enum vhost *vhost, struct properties *properties, struct error *err)
{
	const char *value = properties_take(properties, "vhost");

	if (!value || strcmp(value, "auto") == 0)
		*vhost = VHOST_AUTO;
	else if (strcmp(value, "on") == 0)
		*vhost = VHOST_ON;
	else if (strcmp(value, "off") == 0)
		*vhost = VHOST_OFF;
	else
		return error_set(err, EXIT_CODE_USAGE,
			"--net cannot use vhost=%s; use one of: on, off, auto", value);
	return 0;
}

/* Why the kernel cannot serve this NIC, as the end of a sentence; NULL: it may. */
static const char *vhost_refusal(const struct virtio_net_config *config)
{
	if (!config->machine->has_irqfd)
		return "it needs KVM; give --engine kvm";
	if (config->nr_pairs > 1)
		return "it serves one pair of queues; leave queues= away";
	return net_vhost_refusal(config->backend);
}

/*
 * One for each processor, so that an answer interrupts the one that waits for it. Not on KVM, whose
 * vhost-net serves one, and where what it gains has not been measured.
 */
static unsigned default_pairs(const struct virtio_net_config *config)
{
	unsigned pairs = config->machine->has_irqfd ? 1 : config->machine->nr_vcpus;

	return pairs < VIRTIO_NET_MAX_PAIRS ? pairs : VIRTIO_NET_MAX_PAIRS;
}

/* Has the kernel serve the NIC's queues, if it can. */
static int open_vhost(struct virtio_net_config *config, enum vhost vhost, struct error *err)
{
	const char *refusal = vhost == VHOST_OFF ? "" : vhost_refusal(config);
	struct error why = { 0 };

	if (vhost == VHOST_ON && refusal)
		return error_set(err, EXIT_CODE_CONFIG, "--net vhost=on: %s", refusal);
	if (refusal)
		return 0;
	config->vhost = virtio_net_open_vhost(vhost == VHOST_ON ? err : &why);
	return config->vhost || vhost == VHOST_AUTO ? 0 : -EINVAL;
}

static int take_own(
	struct virtio_net_config *config, struct properties *properties, struct error *err)
{
	uint64_t pairs = 0;

	properties_take(properties, "model"); /* nic_is_card saw it */
	if (take_address(config->address, properties, err) ||
		properties_take_number(properties, "queues", 1, VIRTIO_NET_MAX_PAIRS, &pairs, err))
		return -EINVAL;
	config->nr_pairs = (unsigned)pairs;
	return 0;
}

/* Opens what is left of the properties; all of them must be taken then. */
static int open_backend(
	struct net_backend **backend, struct properties *properties, struct error *err)
{
	int ret;

	/* nic_boot and nic_add_rom see to these. */
	properties_take(properties, "boot");
	properties_take(properties, "romfile");
	ret = net_open(backend, properties, err);

	if (ret)
		return ret;
	ret = properties_check(properties, NIC_PROPERTIES, err);
	if (ret)
		net_close(*backend);
	return ret;
}

int nic_create(struct virtio_device **device, const char *name, const char *value,
	struct machine *machine, struct error *err)
{
	struct virtio_net_config config = { .name = name, .machine = machine };
	struct properties properties;
	struct virtio_net *net;
	enum vhost vhost;
	int ret;

	ret = properties_parse(&properties, "net", value, err);
	if (ret)
		return ret;
	ret = take_own(&config, &properties, err);
	if (!ret)
		ret = take_vhost(&vhost, &properties, err);
	if (!ret)
		ret = open_backend(&config.backend, &properties, err);
	properties_finish(&properties);
	if (ret)
		return ret;
	if (open_vhost(&config, vhost, err)) {
		net_close(config.backend);
		return -EINVAL;
	}
	if (!config.nr_pairs)
		config.nr_pairs = default_pairs(&config);
	config.mtu = (uint16_t)net_mtu(config.backend);
	if (virtio_net_create(&net, &config, err))
		return -EINVAL;
	*device = virtio_net_device(net);
	return 0;
}

static int create_e1000(
	struct devices_card *card, const struct nic_config *config, struct error *err)
{
	struct e1000 *e1000;

	if (e1000_create(&e1000, config, err))
		return -EINVAL;
	*card = (struct devices_card){ .function = e1000_function(e1000),
		.object = e1000,
		.destroy = (void (*)(void *))e1000_destroy };
	return 0;
}

static int create_rtl8139(
	struct devices_card *card, const struct nic_config *config, struct error *err)
{
	struct rtl8139 *rtl8139;

	if (rtl8139_create(&rtl8139, config, err))
		return -EINVAL;
	*card = (struct devices_card){ .function = rtl8139_function(rtl8139),
		.object = rtl8139,
		.destroy = (void (*)(void *))rtl8139_destroy };
	return 0;
}

static const struct {
	const char *name;
	int (*create)(
		struct devices_card *card, const struct nic_config *config, struct error *err);
} models[] = {
	{ "virtio", NULL },
	{ "e1000", create_e1000 },
	{ "rtl8139", create_rtl8139 },
};

/* The index of the model that `properties` names, or -EINVAL and `err`. */
static int take_model(struct properties *properties, struct error *err)
{
	const char *name = properties_take(properties, "model");

	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		if (strcmp(models[i].name, name ? name : "virtio") == 0)
			return (int)i;
	return error_set(err, EXIT_CODE_USAGE,
		"--net does not know model=%s; use one of: virtio, e1000, rtl8139", name);
}

int nic_boot(const char *value, unsigned *boot, struct error *err)
{
	struct properties properties;
	uint64_t number = 0;
	int ret = properties_parse(&properties, "net", value, err);

	if (ret)
		return ret;
	ret = properties_take_number(&properties, "boot", 1, 99, &number, err);
	properties_finish(&properties);
	*boot = (unsigned)number;
	return ret;
}

/* iPXE's, of the package ipxe-qemu. OVMF has a driver of its own for virtio. */
static const char *rom_of_model(const char *model, bool uefi)
{
	static const char *const roms[][3] = {
		{ "virtio", "/usr/lib/ipxe/qemu/pxe-virtio.rom", NULL },
		{ "e1000", "/usr/lib/ipxe/qemu/pxe-e1000.rom", "/usr/lib/ipxe/qemu/efi-e1000.rom" },
		{ "rtl8139", "/usr/lib/ipxe/qemu/pxe-rtl8139.rom",
			"/usr/lib/ipxe/qemu/efi-rtl8139.rom" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(roms); i++) {
		if (strcmp(roms[i][0], model) == 0)
			return roms[i][1 + uefi];
	}
	return NULL;
}

/*
 * A ROM says for which device it is, and firmware believes it (PCI Firmware 3.2, 5.1.2). iPXE's for
 * virtio is for modern devices, but can do with transitional ones: it is made theirs. The sum of
 * its bytes has to stay 0; byte 6, behind the jump to its entry, means nothing.
 */
static void adapt_rom(uint8_t *bytes, size_t size, const struct pci_function *function)
{
	uint16_t device = (uint16_t)pci_config_get(function, PCI_DEVICE_ID, 2);
	size_t at = size >= 0x1a ? (size_t)(bytes[0x18] | bytes[0x19] << 8) : size;
	uint8_t before;

	if (bytes[0] != 0x55 || at + 8 > size || memcmp(bytes + at, "PCIR", 4) != 0 ||
		(bytes[at + 4] | bytes[at + 5] << 8) !=
			(int)pci_config_get(function, PCI_VENDOR_ID, 2))
		return;
	before = (uint8_t)(bytes[at + 6] + bytes[at + 7]);
	bytes[at + 6] = (uint8_t)device;
	bytes[at + 7] = (uint8_t)(device >> 8);
	bytes[6] = (uint8_t)(bytes[6] + before - bytes[at + 6] - bytes[at + 7]);
}

static int add_rom_file(struct pci_function *function, const char *path, struct error *err)
{
	FILE *file = fopen(path, "re");
	uint8_t *bytes = malloc(NIC_MAX_ROM);
	size_t size = file && bytes ? fread(bytes, 1, NIC_MAX_ROM, file) : 0;
	int ret = 0;

	if (!file)
		ret = error_set_errno(err, EXIT_CODE_BAD_FILE, errno,
			"cannot read the boot ROM '%s'; install the package ipxe-qemu, or give "
			"romfile=FILE or romfile=none",
			path);
	else if (!bytes)
		ret = error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for '%s'", path);
	else if (size < 512 || size == NIC_MAX_ROM || bytes[0] != 0x55 || bytes[1] != 0xaa)
		ret = error_set(err, EXIT_CODE_BAD_FILE,
			"'%s' is no boot ROM: it must begin with 55h, AAh and have less than %u "
			"bytes; give another file with romfile=",
			path, NIC_MAX_ROM);
	if (!ret) {
		adapt_rom(bytes, size, function);
		if (pci_add_rom(function, bytes, size))
			ret = error_set_errno(
				err, EXIT_CODE_HOST, ENOMEM, "no memory for '%s'", path);
	}
	free(bytes);
	if (file)
		fclose(file);
	return ret;
}

int nic_add_rom(
	struct pci_function *function, const char *value, bool wanted, bool uefi, struct error *err)
{
	struct properties properties;
	const char *path, *model;
	int ret = properties_parse(&properties, "net", value, err);

	if (ret)
		return ret;
	path = properties_take(&properties, "romfile");
	model = properties_take(&properties, "model");
	if (!path && wanted)
		path = rom_of_model(model ? model : "virtio", uefi);
	if (path && strcmp(path, "none") != 0)
		ret = add_rom_file(function, path, err);
	properties_finish(&properties);
	return ret;
}

int nic_is_card(const char *value, bool *is_card, struct error *err)
{
	struct properties properties;
	int model = properties_parse(&properties, "net", value, err);

	if (model)
		return model;
	model = take_model(&properties, err);
	properties_finish(&properties);
	if (model < 0)
		return model;
	*is_card = models[model].create;
	return 0;
}

/* These cards' frames are small, which user networking must be told; virtio's driver asks it. */
static void limit_mtu(struct properties *properties)
{
	for (unsigned i = 0; i < properties->count; i++)
		if (strcmp(properties->items[i].key, "mtu") == 0)
			return;
	if (properties->word && strcmp(properties->word, "user") == 0 &&
		properties->count < PROPERTIES_MAX)
		properties->items[properties->count++] =
			(struct property){ .key = "mtu", .value = "1500" };
}

int nic_create_card(struct devices_card *card, const char *name, const char *value,
	struct machine *machine, struct error *err)
{
	struct nic_config config = { .name = name, .machine = machine };
	struct properties properties;
	int ret = properties_parse(&properties, "net", value, err), model;
	enum vhost vhost;

	if (ret)
		return ret;
	model = take_model(&properties, err);
	limit_mtu(&properties);
	if (model < 0 || take_vhost(&vhost, &properties, err))
		ret = -EINVAL;
	else if (vhost == VHOST_ON)
		ret = error_set(err, EXIT_CODE_CONFIG, "--net vhost=on: it needs model=virtio");
	else if (take_address(config.address, &properties, err) ||
		 open_backend(&config.backend, &properties, err))
		ret = -EINVAL;
	properties_finish(&properties);
	return ret ? ret : models[model].create(card, &config, err);
}
