/*
 * Eventfds that the kernel serves itself: doorbells (KVM_IOEVENTFD) and message-signalled
 * interrupts (KVM_IRQFD). API: Linux Documentation/virt/kvm/api.rst, 4.59 and 4.75.
 *
 * A doorbell that the kernel refuses arrives as an exit, and the machine rings it.
 */
#include "engine/kvm/kvm_engine.h"

#include <errno.h>
#include <sys/ioctl.h>

void kvm_eventfd_doorbell(void *context, const struct doorbell *doorbell, bool attached)
{
	struct kvm_engine *engine = context;
	struct kvm_ioeventfd ioeventfd = {
		.addr = doorbell->address,
		.len = doorbell->size,
		.fd = doorbell->fd,
		.datamatch = doorbell->has_value ? doorbell->value : 0,
		.flags = (doorbell->is_port ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (doorbell->has_value ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (attached ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	if (doorbell->fd >= 0)
		ioctl(engine->vm_fd, KVM_IOEVENTFD, &ioeventfd);
}

static int assign(struct kvm_engine *engine, unsigned index, bool assigned)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)engine->irqfds[index].fd,
		.gsi = KVM_IOAPIC_PINS + index,
		.flags = assigned ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	return ioctl(engine->vm_fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

/* The route of `fd`, or a free one, or -1. */
static int find_route(struct kvm_engine *engine, int fd)
{
	int found = -1;

	for (unsigned i = 0; i < engine->nr_irqfds; i++) {
		if (engine->irqfds[i].fd == fd)
			return (int)i;
		if (engine->irqfds[i].fd < 0)
			found = (int)i;
	}
	if (found < 0 && engine->nr_irqfds < KVM_MAX_IRQFDS) {
		found = (int)engine->nr_irqfds++;
		engine->irqfds[found].fd = -1;
	}
	return found;
}

static int route(struct kvm_engine *engine, int fd, gpa_t address, uint32_t data)
{
	int index = find_route(engine, fd), rc;
	struct kvm_irqfd_route *entry;
	bool is_new;

	if (index < 0)
		return address ? -ENOSPC : 0;
	entry = &engine->irqfds[index];
	is_new = entry->fd < 0;
	if (!address) {
		rc = is_new ? 0 : assign(engine, (unsigned)index, false);
		entry->fd = -1;
		return rc;
	}
	*entry = (struct kvm_irqfd_route){ .fd = fd, .address = address, .data = data };
	rc = kvm_irqchip_load_routes(engine);
	if (rc == 0 && is_new)
		rc = assign(engine, (unsigned)index, true);
	if (rc < 0 && is_new)
		entry->fd = -1;
	return rc;
}

int kvm_eventfd_irqfd(void *context, int fd, gpa_t address, uint32_t data)
{
	struct kvm_engine *engine = context;
	int rc;

	pthread_mutex_lock(&engine->route_lock);
	rc = route(engine, fd, address, data);
	pthread_mutex_unlock(&engine->route_lock);
	return rc;
}
