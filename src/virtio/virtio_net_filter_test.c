/*
 * The receive filter of virtio-net (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3).
 */
#include "virtio/virtio_net_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static const uint8_t own[] = { 2, 0, 0, 0, 0, 1 };
static const uint8_t other[] = { 2, 0, 0, 0, 0, 2 };
static const uint8_t group[] = { 1, 0, 0x5e, 0, 0, 1 };
static const uint8_t all[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static bool passes(const struct virtio_net_filter *filter, const uint8_t *to)
{
	uint8_t frame[60] = { 0 };

	memcpy(frame, to, NET_ADDRESS_BYTES);
	return virtio_net_filter_passes(filter, frame, sizeof(frame));
}

static bool passes_vlan(const struct virtio_net_filter *filter, unsigned vlan)
{
	uint8_t frame[60] = {
		[12] = 0x81, [14] = (uint8_t)(0xe0 | vlan >> 8), [15] = (uint8_t)vlan
	};

	return virtio_net_filter_passes(filter, frame, sizeof(frame));
}

static void addresses(void **state)
{
	struct virtio_net_filter filter;

	(void)state;
	virtio_net_filter_reset(&filter, own);
	assert_true(passes(&filter, other)); /* promiscuous until told otherwise */
	assert_true(virtio_net_filter_set_mode(&filter, NET_CTRL_RX_PROMISC, 0));
	assert_true(passes(&filter, own));
	assert_true(passes(&filter, all));
	assert_false(passes(&filter, other));
	assert_false(passes(&filter, group));
	memcpy(filter.unicast.addresses[filter.unicast.count++], other, sizeof(other));
	assert_true(passes(&filter, other));
	assert_false(passes(&filter, group));
	memcpy(filter.multicast.addresses[filter.multicast.count++], group, sizeof(group));
	assert_true(passes(&filter, group));
}

static void modes(void **state)
{
	struct virtio_net_filter filter;

	(void)state;
	virtio_net_filter_reset(&filter, own);
	virtio_net_filter_set_mode(&filter, NET_CTRL_RX_PROMISC, 0);
	virtio_net_filter_set_mode(&filter, NET_CTRL_RX_ALLMULTI, 1);
	assert_true(passes(&filter, group));
	virtio_net_filter_set_mode(&filter, NET_CTRL_RX_NOMULTI, 1);
	assert_false(passes(&filter, group));
	virtio_net_filter_set_mode(&filter, NET_CTRL_RX_ALLUNI, 1);
	assert_true(passes(&filter, other));
	virtio_net_filter_set_mode(&filter, NET_CTRL_RX_NOUNI, 1);
	assert_false(passes(&filter, own));
	virtio_net_filter_set_mode(&filter, NET_CTRL_RX_NOBCAST, 1);
	assert_false(passes(&filter, all));
	assert_false(virtio_net_filter_set_mode(&filter, NET_CTRL_RX_MODES, 1));
	assert_false(virtio_net_filter_set_mode(&filter, NET_CTRL_RX_PROMISC, 2));
}

static void vlans(void **state)
{
	struct virtio_net_filter filter;

	(void)state;
	virtio_net_filter_reset(&filter, own);
	assert_true(passes_vlan(&filter, 0x123));
	filter.by_vlan = true;
	assert_false(passes_vlan(&filter, 0x123));
	assert_true(virtio_net_filter_set_vlan(&filter, 0x123, true));
	assert_true(passes_vlan(&filter, 0x123));
	assert_false(passes_vlan(&filter, 0x124));
	assert_true(passes(&filter, own)); /* no tag */
	assert_true(virtio_net_filter_set_vlan(&filter, 0x123, false));
	assert_false(passes_vlan(&filter, 0x123));
	assert_false(virtio_net_filter_set_vlan(&filter, NET_VLANS, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		cmocka_unit_test(modes),
		cmocka_unit_test(vlans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
