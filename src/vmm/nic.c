/*
 * A NIC from what --net was given: its own properties (model, mac, queues) are taken here, those of
 * its back end by net_open.
 */
#include "base/properties.h"
#include "nic/e1000.h"
#include "nic/rtl8139.h"
#include "virtio/virtio_net.h"
#include "vmm/devices.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define NIC_PROPERTIES "model, mac, queues, boot, " NET_PROPERTIES

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

static int take_own(
	struct virtio_net_config *config, struct properties *properties, struct error *err)
{
	uint64_t pairs = 1;

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

	properties_take(properties, "boot"); /* nic_boot saw it */
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
	int ret;

	ret = properties_parse(&properties, "net", value, err);
	if (ret)
		return ret;
	ret = take_own(&config, &properties, err);
	if (!ret)
		ret = open_backend(&config.backend, &properties, err);
	properties_finish(&properties);
	if (ret)
		return ret;
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

	if (ret)
		return ret;
	model = take_model(&properties, err);
	limit_mtu(&properties);
	if (model < 0 || take_address(config.address, &properties, err) ||
		open_backend(&config.backend, &properties, err))
		ret = -EINVAL;
	properties_finish(&properties);
	return ret ? ret : models[model].create(card, &config, err);
}
