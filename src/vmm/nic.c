/*
 * A NIC from what --net was given: its own properties (mac, queues, guest-mtu) are taken here,
 * those of its back end by net_open.
 */
#include "base/properties.h"
#include "virtio/virtio_net.h"
#include "vmm/devices.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define NIC_PROPERTIES "mac, queues, " NET_PROPERTIES

/* QEMU's prefix, which people know for a virtual machine's; the rest is random, so that machines
 * on one switch differ. */
static void choose_address(uint8_t address[NET_ADDRESS_BYTES])
{
	static const uint8_t prefix[] = { 0x52, 0x54, 0x00 };

	memcpy(address, prefix, sizeof(prefix));
	if (getrandom(address + sizeof(prefix), NET_ADDRESS_BYTES - sizeof(prefix), 0) < 0)
		memset(address + sizeof(prefix), 1, NET_ADDRESS_BYTES - sizeof(prefix));
}

static int take_own(
	struct virtio_net_config *config, struct properties *properties, struct error *err)
{
	const char *mac = properties_take(properties, "mac");
	uint64_t pairs = 1;

	choose_address(config->address);
	if (mac && virtio_net_parse_address(mac, config->address))
		return error_set(err, EXIT_CODE_USAGE,
			"--net cannot use mac=%s; give a unicast address such as 52:54:00:12:34:56",
			mac);
	if (properties_take_number(properties, "queues", 1, VIRTIO_NET_MAX_PAIRS, &pairs, err))
		return -EINVAL;
	config->nr_pairs = (unsigned)pairs;
	return 0;
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
		ret = net_open(&config.backend, &properties, err);
	if (!ret) {
		ret = properties_check(&properties, NIC_PROPERTIES, err);
		if (ret)
			net_close(config.backend);
	}
	properties_finish(&properties);
	if (ret)
		return ret;
	config.mtu = (uint16_t)net_mtu(config.backend);
	if (virtio_net_create(&net, &config, err))
		return -EINVAL;
	*device = virtio_net_device(net);
	return 0;
}
