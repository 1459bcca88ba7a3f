/*
 * What the fuzz targets of virtio devices share: a machine of little memory with one device on its
 * bus, and a driver that does what the input says. It gives requests that are nearly right, because
 * those go deepest, and between them writes anywhere: the registers of both interfaces,
 * configuration space and its window, and memory, rings and buffers included.
 *
 * A device's own target adds what its requests begin with, and what its outside does.
 */
#ifndef VIRTIO_VIRTIO_FUZZ_H
#define VIRTIO_VIRTIO_FUZZ_H

#include "pci/pci_fixture.h"
#include "virtio/virtio_pci.h"
#include "virtio/virtio_pci_regs.h"

#include "machine/fuzz.h"

#include <sched.h>
#include <signal.h>

/* RAM, a page of ROM behind it, and more RAM behind that. */
#define FUZZ_RAM       0x18000u
#define FUZZ_ROM       FUZZ_RAM
#define FUZZ_ROM_BYTES 0x1000u
#define FUZZ_MORE      (FUZZ_ROM + FUZZ_ROM_BYTES)
#define FUZZ_MORE_SIZE 0x1000u
#define FUZZ_RING      16u /* entries at most */
#define FUZZ_QUEUES    20u
#define FUZZ_BUFFERS   0x9000u
#define FUZZ_BUFFER    0x800u
#define FUZZ_HEAD      64u

/* The rings of a queue; and those of the legacy interface, which has sizes of its own. */
#define FUZZ_QUEUE_BYTES  0x400u
#define FUZZ_LEGACY       0x11000u
#define FUZZ_LEGACY_BYTES 0x3000u

struct virtio_fuzz;

struct virtio_fuzz_ops {
	/* Writes what a request to `queue` begins with; returns how many bytes, at most FUZZ_HEAD.
	 * NULL: whatever the input says. */
	size_t (*head)(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD]);
	/* Something happens outside. NULL: nothing does. */
	void (*happen)(struct virtio_fuzz *fuzz, uint8_t what);
	/* The device will be reset, and waits for the outside. NULL: it does not. */
	void (*resetting)(struct virtio_fuzz *fuzz);
	void *context;
};

struct fuzz_ring {
	uint16_t size, avail, next_desc;
	bool wrap;
};

struct virtio_fuzz {
	struct pci_fixture pci;
	struct fuzz_input input;
	const struct virtio_fuzz_ops *ops;
	struct virtio_device *device;
	struct virtio_pci *transport;
	uint8_t *ram;
	bool packed, indirect;
	struct fuzz_ring rings[FUZZ_QUEUES];
	unsigned next_buffer;
};

static inline void fuzz_forget_message(void *engine, gpa_t address, uint32_t data)
{
	(void)engine;
	(void)address;
	(void)data;
}

/* The machine, before the device is made. */
static inline void virtio_fuzz_init(struct virtio_fuzz *fuzz, const uint8_t *bytes, size_t size)
{
	struct guest_memory *memory = &fuzz->pci.machine.memory;

	log_set_level(LOG_ERROR);
	signal(SIGPIPE, SIG_IGN); /* as a VM does */
	memset(fuzz, 0, sizeof(*fuzz));
	fuzz->input = (struct fuzz_input){ bytes, size };
	fixture_init(&fuzz->pci);
	fuzz->pci.machine.cpu_bus.msi = fuzz_forget_message;
	if (guest_memory_add(memory, 0, FUZZ_RAM, false, NULL) ||
		guest_memory_add(memory, FUZZ_ROM, FUZZ_ROM_BYTES, true, NULL) ||
		guest_memory_add(memory, FUZZ_MORE, FUZZ_MORE_SIZE, false, NULL))
		abort();
	fuzz->ram = memory->regions[0].host;
}

/* Registers, as a vCPU reaches them; nothing if they are not mapped. */

static inline uint64_t fuzz_bar(const struct virtio_fuzz *fuzz, unsigned bar)
{
	return fuzz->transport->function.bars[bar].address;
}

static inline void fuzz_put(
	struct virtio_fuzz *fuzz, unsigned offset, unsigned size, uint64_t value)
{
	uint64_t base = fuzz_bar(fuzz, VIRTIO_PCI_BAR);

	if (base != PCI_UNMAPPED)
		machine_mmio_write(&fuzz->pci.machine, base + offset, size, value);
}

static inline uint64_t fuzz_get(struct virtio_fuzz *fuzz, unsigned offset, unsigned size)
{
	uint64_t base = fuzz_bar(fuzz, VIRTIO_PCI_BAR);

	return base == PCI_UNMAPPED ? 0
				    : machine_mmio_read(&fuzz->pci.machine, base + offset, size);
}

#define FUZZ_COMMON(field) ((unsigned)offsetof(struct virtio_pci_common, field))

static inline void fuzz_put64(struct virtio_fuzz *fuzz, unsigned offset, uint64_t value)
{
	fuzz_put(fuzz, offset, 4, value);
	fuzz_put(fuzz, offset + 4, 4, value >> 32);
}

static inline void fuzz_legacy_put(
	struct virtio_fuzz *fuzz, unsigned offset, unsigned size, uint64_t value)
{
	uint64_t base = fuzz_bar(fuzz, VIRTIO_PCI_LEGACY_BAR);

	if (fuzz->transport->transitional && base != PCI_UNMAPPED)
		machine_pio_write(&fuzz->pci.machine, (uint16_t)(base + offset), size, value);
}

static inline void fuzz_legacy_get(struct virtio_fuzz *fuzz, unsigned offset, unsigned size)
{
	uint64_t base = fuzz_bar(fuzz, VIRTIO_PCI_LEGACY_BAR);

	if (fuzz->transport->transitional && base != PCI_UNMAPPED)
		machine_pio_read(&fuzz->pci.machine, (uint16_t)(base + offset), size);
}

/* The driver's part of a queue (virtio 1.2, 4.1.5.1.3). */

static inline gpa_t fuzz_ring_base(const struct virtio_fuzz *fuzz, unsigned queue)
{
	return fuzz->device->state.legacy ? FUZZ_LEGACY + queue % 2 * FUZZ_LEGACY_BYTES
					  : 0x1000 + queue * FUZZ_QUEUE_BYTES;
}

static inline gpa_t fuzz_avail_base(const struct virtio_fuzz *fuzz, unsigned queue)
{
	return fuzz_ring_base(fuzz, queue) +
	       (fuzz->device->state.legacy ? 16u * fuzz->rings[queue].size : 16u * FUZZ_RING);
}

static inline void fuzz_set_up_queue(struct virtio_fuzz *fuzz, unsigned queue)
{
	gpa_t base = fuzz_ring_base(fuzz, queue);

	memset(fuzz->ram + base, 0, FUZZ_QUEUE_BYTES);
	fuzz->rings[queue] = (struct fuzz_ring){ .size = FUZZ_RING, .wrap = true };
	fuzz_put(fuzz, FUZZ_COMMON(queue_select), 2, queue);
	fuzz_put(fuzz, FUZZ_COMMON(queue_size), 2, FUZZ_RING);
	fuzz_put(fuzz, FUZZ_COMMON(queue_vector), 2, queue);
	fuzz_put64(fuzz, FUZZ_COMMON(queue_desc), base);
	fuzz_put64(fuzz, FUZZ_COMMON(queue_driver), fuzz_avail_base(fuzz, queue));
	fuzz_put64(fuzz, FUZZ_COMMON(queue_device), base + 0x180);
	fuzz_put(fuzz, FUZZ_COMMON(queue_enable), 2, 1);
}

static inline void fuzz_await_reset(struct virtio_fuzz *fuzz)
{
	while (fuzz_get(fuzz, FUZZ_COMMON(device_status), 1) & 0xff)
		sched_yield();
}

/* The rings of an old driver: queues 0 and 1, since the others' sizes take too much memory. */
static inline void fuzz_start_legacy(struct virtio_fuzz *fuzz)
{
	fuzz_legacy_put(fuzz, VIRTIO_LEGACY_STATUS, 1, 0);
	fuzz_legacy_put(fuzz, VIRTIO_LEGACY_STATUS, 1, 3);
	fuzz_legacy_put(fuzz, VIRTIO_LEGACY_DRIVER_FEATURES, 4, fuzz_u32(&fuzz->input));
	fuzz->packed = false;
	for (unsigned queue = 0; queue < 2 && queue < fuzz->device->nr_queues; queue++) {
		fuzz->rings[queue] =
			(struct fuzz_ring){ .size = fuzz->device->queues[queue].ring.max_size };
		fuzz_legacy_put(fuzz, VIRTIO_LEGACY_QUEUE_SELECT, 2, queue);
		fuzz_legacy_put(fuzz, VIRTIO_LEGACY_QUEUE_ADDRESS, 4,
			(FUZZ_LEGACY + queue * FUZZ_LEGACY_BYTES) >> VIRTIO_LEGACY_PAGE_SHIFT);
	}
	fuzz_legacy_put(fuzz, VIRTIO_LEGACY_STATUS, 1, 7);
}

#define FUZZ_START_PACKED   1u
#define FUZZ_START_EVENT    2u
#define FUZZ_START_INDIRECT 4u
#define FUZZ_START_LEGACY   8u
#define FUZZ_START_SOME     16u /* the input says which of the device's features */

static inline void fuzz_tell_reset(struct virtio_fuzz *fuzz)
{
	if (fuzz->ops->resetting)
		fuzz->ops->resetting(fuzz);
}

static inline void virtio_fuzz_start(struct virtio_fuzz *fuzz, uint8_t how)
{
	const uint64_t rings = VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC;
	uint64_t features = fuzz->device->features & ~rings;
	uint8_t status = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;

	fuzz_tell_reset(fuzz);
	fuzz_put(fuzz, FUZZ_COMMON(device_status), 1, 0);
	if ((how & FUZZ_START_LEGACY) && fuzz->transport->transitional) {
		fuzz_await_reset(fuzz);
		fuzz_start_legacy(fuzz);
		return;
	}
	fuzz_await_reset(fuzz);
	if (how & FUZZ_START_SOME)
		features &= fuzz_u32(&fuzz->input) | BITS(63, 32);
	features |= how & FUZZ_START_PACKED ? VIRTIO_F_RING_PACKED : 0;
	features |= how & FUZZ_START_EVENT ? VIRTIO_F_EVENT_IDX : 0;
	features |= how & FUZZ_START_INDIRECT ? VIRTIO_F_INDIRECT_DESC : 0;
	fuzz->packed = how & FUZZ_START_PACKED;
	fuzz->indirect = how & FUZZ_START_INDIRECT;
	fuzz_put(fuzz, FUZZ_COMMON(device_status), 1, status);
	for (unsigned half = 0; half < 2; half++) {
		fuzz_put(fuzz, FUZZ_COMMON(driver_feature_select), 4, half);
		fuzz_put(fuzz, FUZZ_COMMON(driver_feature), 4, features >> 32 * half & UINT32_MAX);
	}
	status |= VIRTIO_STATUS_FEATURES_OK;
	fuzz_put(fuzz, FUZZ_COMMON(device_status), 1, status);
	for (unsigned queue = 0; queue < fuzz->device->nr_queues && queue < FUZZ_QUEUES; queue++)
		fuzz_set_up_queue(fuzz, queue);
	fuzz_put(fuzz, FUZZ_COMMON(device_status), 1, status | VIRTIO_STATUS_DRIVER_OK);
}

static inline void fuzz_notify(struct virtio_fuzz *fuzz, unsigned queue)
{
	if (fuzz->device->state.legacy)
		fuzz_legacy_put(fuzz, VIRTIO_LEGACY_QUEUE_NOTIFY, 2, queue);
	else
		fuzz_put(fuzz, VIRTIO_PCI_NOTIFY_OFFSET + VIRTIO_PCI_NOTIFY_STRIDE * queue, 2,
			queue);
}

/* Chains. */

/* In most cases a buffer of its own. */
static inline uint64_t fuzz_address(struct virtio_fuzz *fuzz, uint8_t kind)
{
	uint64_t own = FUZZ_BUFFERS + fuzz->next_buffer++ % 16 * FUZZ_BUFFER;

	switch (kind >> 4) {
	case 8: return FUZZ_RAM - 8;
	case 9: return FUZZ_ROM;
	case 10: return fuzz_bar(fuzz, VIRTIO_PCI_BAR);
	case 11: return fuzz_u16(&fuzz->input);
	case 12: return (uint64_t)fuzz_u32(&fuzz->input) << (kind & 3) * 8;
	case 13: return UINT64_MAX - fuzz_u8(&fuzz->input);
	case 14: return FUZZ_MORE + FUZZ_MORE_SIZE - 16;
	case 15: return 0x1000 + (uint64_t)fuzz_u8(&fuzz->input) * 16; /* the rings */
	default: return own;
	}
}

static inline uint32_t fuzz_length(struct virtio_fuzz *fuzz)
{
	static const uint32_t likely[] = { 0, 1, 2, 4, 8, 10, 12, 16, 24, 44, 64, 100, 512, 1024,
		1514, 2048, 4096, 65536, 0x18000, UINT32_MAX };
	uint8_t choice = fuzz_u8(&fuzz->input);

	return choice < ARRAY_SIZE(likely) ? likely[choice]
	       : choice < 240              ? choice
					   : fuzz_u32(&fuzz->input);
}

struct fuzz_piece {
	uint64_t address;
	uint32_t length;
	uint16_t flags;
};

static inline void fuzz_put_descriptor(struct virtio_fuzz *fuzz, gpa_t at,
	const struct fuzz_piece *piece, uint16_t flags, uint16_t next)
{
	const struct virtq_split_desc split = { piece->address, piece->length,
		(uint16_t)(piece->flags | flags), next };
	const struct virtq_packed_desc packed = { piece->address, piece->length, next,
		(uint16_t)(piece->flags | flags) };

	if (fuzz->packed)
		memcpy(fuzz->ram + at, &packed, sizeof(packed));
	else
		memcpy(fuzz->ram + at, &split, sizeof(split));
}

/* The whole of a chain goes into a table, and becomes one piece. */
static inline void fuzz_make_table(
	struct virtio_fuzz *fuzz, unsigned queue, struct fuzz_piece *pieces, unsigned *count)
{
	gpa_t table = FUZZ_BUFFERS - 0x1000 + queue % 8 * 0x100;

	for (unsigned i = 0; i < *count; i++)
		fuzz_put_descriptor(fuzz, table + 16 * i, &pieces[i],
			i + 1 < *count ? VIRTQ_DESC_NEXT : 0, (uint16_t)(i + 1));
	pieces[0] = (struct fuzz_piece){ table, 16 * *count, VIRTQ_DESC_INDIRECT };
	*count = 1;
}

static inline void fuzz_make_available(
	struct virtio_fuzz *fuzz, unsigned queue, const struct fuzz_piece *pieces, unsigned count)
{
	struct fuzz_ring *ring = &fuzz->rings[queue];
	gpa_t base = fuzz_ring_base(fuzz, queue), available = fuzz_avail_base(fuzz, queue);
	uint16_t head;

	if (ring->size == 0)
		return;
	head = ring->next_desc % ring->size;
	for (unsigned i = 0; i < count; i++) {
		uint16_t flags = i + 1 < count ? VIRTQ_DESC_NEXT : 0;
		uint16_t at;

		if (!fuzz->packed) {
			at = ring->next_desc++ % ring->size;
			fuzz_put_descriptor(fuzz, base + 16u * at, &pieces[i], flags,
				ring->next_desc % ring->size);
			continue;
		}
		flags |= ring->wrap ? VIRTQ_DESC_AVAIL : VIRTQ_DESC_USED;
		fuzz_put_descriptor(fuzz, base + 16u * ring->avail, &pieces[i], flags, head);
		if (++ring->avail == ring->size) {
			ring->avail = 0;
			ring->wrap = !ring->wrap;
		}
	}
	if (fuzz->packed) {
		ring->next_desc++;
		return;
	}
	memcpy(fuzz->ram + available + 4 + 2 * (ring->avail % ring->size), &head, sizeof(head));
	ring->avail++;
	memcpy(fuzz->ram + available + 2, &ring->avail, sizeof(ring->avail));
}

static inline void fuzz_request(struct virtio_fuzz *fuzz)
{
	unsigned nr_queues = fuzz->device->nr_queues, limit = fuzz->device->state.legacy ? 2 : 64;
	unsigned queue = fuzz_u8(&fuzz->input) % (nr_queues < limit ? nr_queues : limit);
	uint8_t shape = fuzz_u8(&fuzz->input);
	unsigned count = 1 + shape % 6;
	struct fuzz_piece pieces[6];
	uint8_t head[FUZZ_HEAD];
	size_t head_bytes = 0;

	if (queue >= FUZZ_QUEUES)
		return;
	if (fuzz->ops->head)
		head_bytes = fuzz->ops->head(fuzz, queue, head);
	else
		fuzz_bytes(&fuzz->input, head, head_bytes = shape >> 4);
	for (unsigned i = 0; i < count; i++) {
		uint8_t kind = fuzz_u8(&fuzz->input);

		pieces[i].flags = kind & 1 ? VIRTQ_DESC_WRITE : 0;
		pieces[i].address = fuzz_address(fuzz, kind);
		pieces[i].length = kind & 2 && i == 0 ? (uint32_t)head_bytes : fuzz_length(fuzz);
		if (i == 0 && pieces[0].address < FUZZ_RAM - FUZZ_HEAD)
			memcpy(fuzz->ram + pieces[0].address, head, head_bytes);
	}
	if (fuzz->indirect && shape & 8)
		fuzz_make_table(fuzz, queue, pieces, &count);
	fuzz_make_available(fuzz, queue, pieces, count);
	if (!(shape & 128))
		fuzz_notify(fuzz, queue);
}

/* What else a guest can do. */

static inline uint32_t fuzz_value(struct virtio_fuzz *fuzz)
{
	static const uint32_t likely[] = { 0, 1, 2, 3, 4, 7, 15, 64, 128, 256, 0xffff, 0x1000,
		0x1100, 0x1180, FUZZ_BUFFERS, FUZZ_ROM, 0xfee00000, UINT32_MAX };

	return fuzz_likely(&fuzz->input, likely, ARRAY_SIZE(likely));
}

static inline void fuzz_register(struct virtio_fuzz *fuzz, bool write)
{
	uint8_t where = fuzz_u8(&fuzz->input);
	unsigned offset = (where >> 6) * 0x1000u + (where & 63), size;

	/* Common registers are 56 bytes; configuration space may be longer. */
	if (where >> 6 == VIRTIO_PCI_DEVICE_OFFSET / 0x1000)
		offset += fuzz_u8(&fuzz->input);
	size = 1u << fuzz_u8(&fuzz->input) % 4;
	if (write)
		fuzz_put(fuzz, offset, size, fuzz_value(fuzz));
	else
		fuzz_get(fuzz, offset, size);
}

static inline void fuzz_configuration(struct virtio_fuzz *fuzz)
{
	uint8_t offset = fuzz_u8(&fuzz->input), how = fuzz_u8(&fuzz->input);
	unsigned size = 1u << how % 3;

	/* Most often the window to the BAR (4.1.4.9). */
	if (how & 16)
		offset = (uint8_t)(fuzz->transport->pci_cfg + offset % 20);
	if (how & 8)
		config_set(&fuzz->pci, 1, offset & ~(size - 1), size, fuzz_value(fuzz));
	else
		config_get(&fuzz->pci, 1, offset & ~(size - 1), size);
}

static inline void fuzz_poke(struct virtio_fuzz *fuzz)
{
	uint16_t at = fuzz_u16(&fuzz->input);
	unsigned count = 1 + fuzz_u8(&fuzz->input) % 16;

	fuzz_bytes(&fuzz->input, fuzz->ram + at % (FUZZ_RAM - 16), count);
}

static inline void fuzz_power(struct virtio_fuzz *fuzz, uint8_t how)
{
	struct machine *machine = &fuzz->pci.machine;

	fuzz_tell_reset(fuzz);
	machine_lock(machine);
	switch (how % 4) {
	case 0: machine_reset(machine); break;
	case 1: virtio_device_pause(fuzz->device); break;
	default: break;
	}
	virtio_device_resume(fuzz->device);
	machine_unlock(machine);
	config_set(&fuzz->pci, 1, PCI_COMMAND, 2, how & 64 ? 3 : 7);
}

static inline void fuzz_act(struct virtio_fuzz *fuzz)
{
	uint8_t action = fuzz_u8(&fuzz->input);
	unsigned nr_queues = fuzz->device->nr_queues;

	switch (action % 16) {
	case 0:
	case 1:
	case 2:
	case 3: fuzz_request(fuzz); break;
	case 4: fuzz_notify(fuzz, action >> 4); break;
	case 5: fuzz_register(fuzz, true); break;
	case 6: fuzz_register(fuzz, false); break;
	case 7: fuzz_configuration(fuzz); break;
	case 8: fuzz_poke(fuzz); break;
	case 9:
		fuzz_legacy_put(fuzz, fuzz_u8(&fuzz->input) % 64, 1u << (action >> 4) % 3,
			fuzz_value(fuzz));
		break;
	case 10: fuzz_legacy_get(fuzz, fuzz_u8(&fuzz->input) % 64, 1u << (action >> 4) % 3); break;
	case 11: virtio_fuzz_start(fuzz, fuzz_u8(&fuzz->input)); break;
	case 12:
		fuzz_put(fuzz, FUZZ_COMMON(queue_select), 2, (action >> 4) % nr_queues);
		fuzz_put(fuzz, FUZZ_COMMON(queue_reset), 2, 1);
		break;
	case 13:
		if ((action >> 4) < nr_queues)
			fuzz_set_up_queue(fuzz, action >> 4);
		break;
	case 14:
		if (fuzz->ops->happen)
			fuzz->ops->happen(fuzz, fuzz_u8(&fuzz->input));
		break;
	case 15: fuzz_power(fuzz, fuzz_u8(&fuzz->input)); break;
	}
}

static inline void fuzz_check_queues(const struct virtio_fuzz *fuzz)
{
	for (unsigned i = 0; i < fuzz->device->nr_queues; i++) {
		if (!state_check(&virtq_state_table, &fuzz->device->queues[i].ring.state, NULL))
			abort();
	}
}

static inline void fuzz_check_rom(const struct virtio_fuzz *fuzz)
{
	const uint8_t *rom = fuzz->pci.machine.memory.regions[1].host;

	for (unsigned i = 0; i < FUZZ_ROM_BYTES; i++) {
		if (rom[i])
			abort();
	}
}

/*
 * Plugs the device, does what the rest of the input says, and unplugs it. The caller destroys the
 * device and calls virtio_fuzz_finish.
 */
static inline void virtio_fuzz_run(
	struct virtio_fuzz *fuzz, struct virtio_device *device, const struct virtio_fuzz_ops *ops)
{
	fuzz->device = device;
	fuzz->ops = ops;
	if (virtio_pci_create(&fuzz->transport, device, true, NULL) ||
		virtio_pci_plug(fuzz->transport, fuzz->pci.host, 1, false, NULL))
		abort();
	fuzz_power(fuzz, 0);
	virtio_fuzz_start(fuzz, fuzz_u8(&fuzz->input));
	while (fuzz->input.left > 0)
		fuzz_act(fuzz);
	fuzz_tell_reset(fuzz);
	machine_lock(&fuzz->pci.machine);
	virtio_device_pause(device);
	fuzz_check_states(&fuzz->pci.machine, true);
	fuzz_check_queues(fuzz);
	fuzz_check_rom(fuzz);
	machine_unlock(&fuzz->pci.machine);
	virtio_pci_unplug(fuzz->transport);
	virtio_device_finish(device);
	virtio_pci_destroy(fuzz->transport);
}

static inline void virtio_fuzz_finish(struct virtio_fuzz *fuzz)
{
	fixture_finish(&fuzz->pci);
}

#endif
