/*
 * A NIC's frames in the host's kernel (vhost_net.h): between the driver's start of its queues and
 * their end the kernel serves them, and the I/O thread only the control queue.
 *
 * Frames pass this process by, so that nothing here filters, counts, captures or limits them. What
 * the driver wants to receive is told to the tap. While the cable is out, the I/O thread serves the
 * queues again, and drops frames.
 */
#include "virtio/virtio_net_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vhost_net *virtio_net_open_vhost(struct error *err)
{
	struct vhost_net *link = malloc(sizeof(*link));

	if (!link) {
		error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for a NIC");
		return NULL;
	}
	if (vhost_net_open(link, err)) {
		vhost_net_close(link);
		free(link);
		return NULL;
	}
	return link;
}

static void add_address(struct net_filter *wanted, const uint8_t *address)
{
	if (wanted->count < NET_FILTER_MAX)
		memcpy(wanted->addresses[wanted->count++], address, NET_ADDRESS_BYTES);
}

static void add_table(struct net_filter *wanted, const struct filter_table *table)
{
	for (uint32_t i = 0; i < table->count; i++)
		add_address(wanted, table->addresses[i]);
}

/* The kernel compares the first ones exactly, and knows neither "no broadcasts" nor VLANs. */
static struct net_filter wanted_frames(const struct virtio_net_filter *filter)
{
	static const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	const bool *modes = filter->modes;
	struct net_filter wanted = { .count = 0 };

	if (modes[NET_CTRL_RX_PROMISC] || modes[NET_CTRL_RX_ALLUNI] || filter->unicast.overflow)
		return wanted;
	add_address(&wanted, broadcast);
	if (!modes[NET_CTRL_RX_NOUNI]) {
		add_address(&wanted, filter->address);
		add_table(&wanted, &filter->unicast);
	}
	if (!modes[NET_CTRL_RX_NOMULTI]) {
		add_table(&wanted, &filter->multicast);
		wanted.all_multicast = modes[NET_CTRL_RX_ALLMULTI] || filter->multicast.overflow;
	}
	return wanted;
}

void virtio_net_vhost_filter(struct virtio_net *net)
{
	struct net_filter wanted;

	if (!net->vhost_receives)
		return;
	wanted = wanted_frames(&net->state.filter);
	net_vhost_filter(net->backend, &wanted);
}

/* An engine that must hear of each write cannot have the kernel write (guest_memory.written). */
static bool may_delegate(const struct virtio_net *net, unsigned index)
{
	return net->vhost && index < VHOST_NET_QUEUES && net->running && net->link_up &&
	       !net->vhost_failed && !net->device.machine->memory.written;
}

int virtio_net_delegate(struct virtio_device *device, unsigned index, int kick_fd)
{
	struct virtio_net *net = virtio_net_of(device);
	int tap_fd, rc;

	if (!may_delegate(net, index))
		return -1;
	tap_fd = net_vhost_fd(net->backend, (unsigned)virtio_net_header_bytes(net));
	rc = tap_fd < 0 ? tap_fd : vhost_net_set_memory(net->vhost, &device->machine->memory);
	if (rc == 0)
		rc = vhost_net_start(net->vhost, index, virtio_queue(device, index),
			device->state.driver_features, kick_fd, tap_fd);
	if (rc < 0) {
		log_error("%s: vhost-net cannot serve queue %u, which goes on without: %s",
			device->name, index, strerror(-rc));
		return -1;
	}
	if (index == 0) {
		net->vhost_receives = true;
		net->held_bytes = 0;
		virtio_net_want(net, NET_READ, false);
		virtio_net_vhost_filter(net);
	} else {
		virtio_net_want(net, NET_WRITE, false);
	}
	return net->vhost->call_fds[index];
}

void virtio_net_recall(struct virtio_device *device, unsigned index)
{
	static const struct net_filter everything;
	struct virtio_net *net = virtio_net_of(device);

	vhost_net_stop(net->vhost, index, virtio_queue(device, index));
	if (index > 0)
		return;
	net->vhost_receives = false;
	net_vhost_filter(net->backend, &everything);
	virtio_net_want(net, NET_READ, net->running);
}

/* On the I/O thread, holding the lane: the driver did what it must not. */
static void queue_broke(struct virtio_net *net, unsigned index)
{
	uint64_t count;

	if (read(net->vhost->error_fds[index], &count, sizeof(count)) == sizeof(count))
		virtio_delegate_broke(&net->device, index);
}

static void receiving_broke(void *context)
{
	queue_broke(context, 0);
}

static void transmitting_broke(void *context)
{
	queue_broke(context, 1);
}

/* Under the machine lock. Between a region's move and this the kernel has the old layout, which is
 * memory of the guest's still. */
static void memory_changed(void *context)
{
	struct virtio_net *net = context;
	int rc = vhost_net_set_memory(net->vhost, &net->device.machine->memory);

	if (rc == 0 || net->vhost_failed)
		return;
	log_error("%s: vhost-net does not take this layout of memory, and is not used any more: %s",
		net->device.name, strerror(-rc));
	net->vhost_failed = true;
	virtio_delegate_again(&net->device);
}

int virtio_net_vhost_init(struct virtio_net *net)
{
	static void (*const broke[])(void *) = { receiving_broke, transmitting_broke };
	struct machine *machine = net->device.machine;
	struct virtio_lane *lane = &net->device.lanes[0];
	int rc = 0;

	if (!net->vhost)
		return 0;
	virtio_lane_enter(lane);
	for (unsigned i = 0; i < VHOST_NET_QUEUES && rc == 0; i++) {
		net->errors[i] = (struct virtio_watch){
			.fd = net->vhost->error_fds[i], .ready = broke[i], .context = net
		};
		rc = virtio_lane_watch(lane, &net->errors[i]);
	}
	virtio_lane_leave(lane);
	net->memory_listener =
		(struct guest_memory_listener){ .changed = memory_changed, .context = net };
	machine_lock(machine);
	guest_memory_listen(&machine->memory, &net->memory_listener);
	machine_unlock(machine);
	return rc;
}

void virtio_net_vhost_finish(struct virtio_net *net)
{
	struct machine *machine = net->device.machine;

	if (!net->vhost)
		return;
	/* It is not set if the device could not be made. */
	if (machine) {
		machine_lock(machine);
		guest_memory_unlisten(&machine->memory, &net->memory_listener);
		machine_unlock(machine);
	}
	vhost_net_close(net->vhost);
	free(net->vhost);
	net->vhost = NULL;
}
