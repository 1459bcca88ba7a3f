#include "nic/nic_cable.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STACK_BYTES (256 << 10)

static void *run(void *context)
{
	struct nic_cable *cable = context;
	bool more = false;

	while (!atomic_load(&cable->ending)) {
		struct epoll_event events[2];
		uint64_t count;

		epoll_wait(cable->epoll_fd, events, 2, more ? 0 : -1);
		/* Empty unless it was what woke us. */
		if (read(cable->wake_fd, &count, sizeof(count)) < 0)
			count = 0;
		machine_lock(cable->machine);
		if (net_ready(cable->backend) & NET_WRITE)
			nic_cable_want(cable, NET_WRITE, false);
		more = cable->ops->serve(cable->card);
		machine_unlock(cable->machine);
	}
	return NULL;
}

static int start_thread(struct nic_cable *cable, const char *name)
{
	char thread_name[16];
	pthread_attr_t attributes;
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&cable->thread, &attributes, run, cable);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (rc)
		return -rc;
	cable->started = true;
	snprintf(thread_name, sizeof(thread_name), "io/%.12s", name);
	pthread_setname_np(cable->thread, thread_name);
	return 0;
}

static void finish(struct nic_cable *cable)
{
	if (cable->started) {
		atomic_store(&cable->ending, true);
		nic_cable_wake(cable);
		pthread_join(cable->thread, NULL);
	}
	if (cable->epoll_fd >= 0)
		close(cable->epoll_fd);
	if (cable->wake_fd >= 0)
		close(cable->wake_fd);
	net_close(cable->backend);
	cable->backend = NULL;
	cable->started = false;
}

static int start(struct nic_cable *cable, const char *name)
{
	struct epoll_event event = { .events = EPOLLIN };

	cable->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	cable->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (cable->epoll_fd < 0 || cable->wake_fd < 0 ||
		epoll_ctl(cable->epoll_fd, EPOLL_CTL_ADD, cable->wake_fd, &event) < 0 ||
		epoll_ctl(cable->epoll_fd, EPOLL_CTL_ADD, net_fd(cable->backend), &event) < 0)
		return -errno;
	return start_thread(cable, name);
}

int nic_cable_attach(struct nic_cable *cable, const struct nic_config *config,
	const struct nic_cable_ops *ops, void *card, struct error *err)
{
	struct machine *machine = config->machine;
	int rc;

	memset(cable, 0, sizeof(*cable));
	cable->machine = machine;
	cable->backend = config->backend;
	cable->ops = ops;
	cable->card = card;
	/* The thread waits for the lock until the card is whole. */
	machine_lock(machine);
	rc = start(cable, config->name);
	if (rc == 0) {
		ops->reset(card);
		machine_add_device(machine, ops->type, config->name, card);
	}
	machine_unlock(machine);
	if (rc == 0)
		return 0;
	finish(cable);
	return error_set_errno(err, EXIT_CODE_HOST, -rc, "cannot make the NIC '%s'", config->name);
}

void nic_cable_detach(struct nic_cable *cable)
{
	if (!cable->backend)
		return;
	finish(cable);
	machine_lock(cable->machine);
	machine_remove_device(cable->machine, cable->card);
	machine_unlock(cable->machine);
}

void nic_cable_want(struct nic_cable *cable, unsigned events, bool wanted)
{
	unsigned now = wanted ? cable->wanted | events : cable->wanted & ~events;

	if (now == cable->wanted)
		return;
	cable->wanted = now;
	net_want(cable->backend, now);
}

void nic_cable_wake(struct nic_cable *cable)
{
	const uint64_t one = 1;

	/* It fails only if a wake-up is pending already. */
	if (write(cable->wake_fd, &one, sizeof(one)) < 0)
		return;
}

bool nic_cable_hold(struct nic_cable *cable)
{
	if (!cable->held_bytes)
		cable->held_bytes = net_receive(cable->backend, &cable->held_header, cable->held);
	return cable->held_bytes > 0;
}

bool nic_cable_send(
	struct nic_cable *cable, const struct net_header *header, uint8_t *frame, size_t size)
{
	const struct iovec whole = { frame, size };

	if (net_send(cable->backend, header, &whole, 1, size) == 0)
		return true;
	nic_cable_want(cable, NET_WRITE, true);
	return false;
}
