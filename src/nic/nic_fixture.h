/*
 * What the tests of cards stand on: a machine with RAM and a bus, and a cable whose other end is
 * the test. Cards serve it when the test says so.
 */
#ifndef NIC_NIC_FIXTURE_H
#define NIC_NIC_FIXTURE_H

#include "pci/pci_fixture.h"

#include "net/backend.h"
#include "nic/e1000.h"

#define FIXTURE_RAM   (1u << 20)
#define FIXTURE_DEPTH 8

struct fixture_cable {
	struct net_backend backend;
	uint8_t sent[NET_MAX_FRAME];
	size_t sent_size;
	struct net_header sent_header;
	unsigned nr_sent;
	bool is_full; /* refuses frames */
	/* What comes next. */
	uint8_t incoming[FIXTURE_DEPTH][2048];
	size_t incoming_size[FIXTURE_DEPTH];
	struct net_header incoming_header;
	unsigned nr_incoming, nr_taken;
};

struct nic_fixture {
	struct pci_fixture pci;
	struct fixture_cable *cable; /* the card's, which destroys it */
};

static inline int fixture_send(struct net_backend *backend, const struct net_header *header,
	const struct iovec *iov, unsigned count)
{
	struct fixture_cable *cable = container_of(backend, struct fixture_cable, backend);

	if (cable->is_full)
		return -EAGAIN;
	cable->sent_header = *header;
	cable->sent_size = 0;
	for (unsigned i = 0; i < count; i++) {
		memcpy(cable->sent + cable->sent_size, iov[i].iov_base, iov[i].iov_len);
		cable->sent_size += iov[i].iov_len;
	}
	cable->nr_sent++;
	return 0;
}

static inline ssize_t fixture_receive(
	struct net_backend *backend, struct net_header *header, uint8_t *frame)
{
	struct fixture_cable *cable = container_of(backend, struct fixture_cable, backend);
	unsigned at = cable->nr_taken % FIXTURE_DEPTH;

	if (cable->nr_taken == cable->nr_incoming)
		return 0;
	cable->nr_taken++;
	*header = cable->incoming_header;
	memcpy(frame, cable->incoming[at], cable->incoming_size[at]);
	return (ssize_t)cable->incoming_size[at];
}

static inline void fixture_want(struct net_backend *backend, unsigned events)
{
	(void)backend;
	(void)events;
}

static inline void fixture_cable_destroy(struct net_backend *backend)
{
	net_backend_finish(backend);
	free(container_of(backend, struct fixture_cable, backend));
}

static inline void nic_fixture_init(struct nic_fixture *f)
{
	static const struct net_backend_ops ops = { .send = fixture_send,
		.receive = fixture_receive,
		.want = fixture_want,
		.destroy = fixture_cable_destroy };

	fixture_init(&f->pci);
	guest_memory_add(&f->pci.machine.memory, 0, FIXTURE_RAM, false, NULL);
	f->cable = calloc(1, sizeof(*f->cable));
	net_backend_init(&f->cable->backend, &ops, NULL);
	f->cable->backend.sends =
		NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TCPV4 | NET_OFFLOAD_TCPV6 | NET_OFFLOAD_ECN;
}

/* Plugs a card as device 1 and turns its BARs and bus mastering on. */
static inline void nic_fixture_plug(struct nic_fixture *f, struct pci_function *function)
{
	machine_lock(&f->pci.machine);
	pci_plug(f->pci.host, function, 1, false, NULL);
	machine_reset(&f->pci.machine);
	machine_unlock(&f->pci.machine);
	config_set(&f->pci, 1, PCI_COMMAND, 2,
		PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
}

static inline void nic_fixture_unplug(struct nic_fixture *f, struct pci_function *function)
{
	machine_lock(&f->pci.machine);
	pci_unplug(function);
	machine_unlock(&f->pci.machine);
}

static inline void nic_fixture_come(struct nic_fixture *f, const void *frame, size_t size)
{
	unsigned at = f->cable->nr_incoming++ % FIXTURE_DEPTH;

	memcpy(f->cable->incoming[at], frame, size);
	f->cable->incoming_size[at] = size;
}

static inline void ram_write(struct nic_fixture *f, gpa_t at, const void *from, size_t size)
{
	guest_memory_write(&f->pci.machine.memory, at, from, size);
}

static inline void ram_read(struct nic_fixture *f, gpa_t at, void *to, size_t size)
{
	guest_memory_read(&f->pci.machine.memory, at, to, size);
}

#endif
