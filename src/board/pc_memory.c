/*
 * Memory below 4 GiB as the programmable attribute map (PAM) of Intel's host bridges arranges it
 * (290549, 3.2.18; 316966, 5.1.21). For each segment two bits say where reads and where writes go:
 * to RAM, or to the ROM and the bus behind it.
 *
 *	read write
 *	1    1     RAM
 *	1    0     RAM as ROM: writes reach the bus, where nobody takes them
 *	0    0     the ROM's end, or nothing
 *	0    1     reads from the ROM, writes to RAM: how firmware copies itself
 *
 * The last is done by the MMIO region beneath, which sees writes to ROM. TSEG is memory that is
 *shown to processors in system management mode alone (docs/smm.md). Under the machine lock.
 */
#include "board/pc_memory.h"

#include "base/bits.h"

#include <string.h>

#define CONVENTIONAL_END UINT64_C(0xa0000)
#define SEGMENTS_BASE    UINT64_C(0xc0000)
#define SEGMENT_SIZE     UINT64_C(0x4000)
#define LAST_SIZE        UINT64_C(0x10000)
#define LAST_BASE        UINT64_C(0xf0000)
#define MIB              UINT64_C(0x100000)
#define FIRST_SHADOW     (PC_NR_SEGMENTS - PC_NR_SHADOWS)

#define PAM_READ  BIT(0)
#define PAM_WRITE BIT(1)

/* The parts of TSEG end where the one before begins. */
static const uint64_t tseg_sizes[PC_NR_TSEG_PARTS] = { MIB, 2 * MIB, 8 * MIB, PC_TSEG_MAX };

static gpa_t segment_base(unsigned segment)
{
	return SEGMENTS_BASE + segment * SEGMENT_SIZE;
}

static uint64_t segment_size(unsigned segment)
{
	return segment == PC_NR_SEGMENTS - 1 ? LAST_SIZE : SEGMENT_SIZE;
}

static unsigned segment_at(gpa_t address)
{
	return address >= LAST_BASE ? PC_NR_SEGMENTS - 1
				    : (unsigned)((address - SEGMENTS_BASE) / SEGMENT_SIZE);
}

/* The first register holds the last segment in its upper half, each of the others two. */
static unsigned attributes(const struct pc_memory *memory, unsigned segment)
{
	if (segment == PC_NR_SEGMENTS - 1)
		return memory->pam[0] >> 4;
	return memory->pam[1 + segment / 2] >> (segment % 2 * 4);
}

/* A write that no RAM took. */
static void beneath_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pc_memory *memory = device;
	gpa_t address = SEGMENTS_BASE + offset;
	unsigned segment = segment_at(address);

	(void)size;
	if ((attributes(memory, segment) & (PAM_READ | PAM_WRITE)) == PAM_WRITE)
		memory->segments[segment]->host[address - segment_base(segment)] = (uint8_t)value;
}

static int add_segments(struct pc_memory *memory, struct error *err)
{
	static const struct io_ops ops = { .write = beneath_write, .max_size = 1 };
	struct guest_memory *ram = &memory->machine->memory;

	memory->window = guest_memory_add_movable(ram, SEGMENTS_BASE - CONVENTIONAL_END, err);
	if (!memory->window)
		return -1;
	for (unsigned i = 0; i < PC_NR_SEGMENTS; i++) {
		memory->segments[i] = guest_memory_add_movable(ram, segment_size(i), err);
		if (!memory->segments[i])
			return -1;
	}
	address_space_map(&memory->machine->mmio, &(struct io_region){ .base = SEGMENTS_BASE,
							  .size = MIB - SEGMENTS_BASE,
							  .ops = &ops,
							  .device = memory,
							  .name = "pam" });
	return 0;
}

static int add_tseg(struct pc_memory *memory, struct error *err)
{
	uint64_t before = 0;

	for (unsigned i = 0; i < PC_NR_TSEG_PARTS; i++) {
		memory->tseg[i] = guest_memory_add_movable(
			&memory->machine->memory, tseg_sizes[i] - before, err);
		if (!memory->tseg[i])
			return -1;
		before = tseg_sizes[i];
	}
	pc_memory_set_tseg(memory, 0);
	return 0;
}

int pc_memory_create(struct pc_memory *memory, struct machine *machine, uint64_t bytes,
	uint64_t low_end, bool smm, struct error *err)
{
	uint64_t fixed_end = smm ? low_end - PC_TSEG_MAX : low_end;
	struct guest_memory *ram = &machine->memory;
	int rc;

	memset(memory, 0, sizeof(*memory));
	memory->machine = machine;
	memory->low_end = low_end;
	rc = guest_memory_add(ram, 0, CONVENTIONAL_END, false, err);
	if (rc == 0)
		rc = guest_memory_add(ram, MIB, fixed_end - MIB, false, err);
	if (rc == 0 && bytes > low_end)
		rc = guest_memory_add(ram, PC_HIGH_BASE, bytes - low_end, false, err);
	if (rc == 0)
		rc = add_segments(memory, err);
	return rc == 0 && smm ? add_tseg(memory, err) : rc;
}

int pc_memory_add_rom(struct pc_memory *memory, const void *bytes, uint64_t size, struct error *err)
{
	struct guest_memory *ram = &memory->machine->memory;

	memory->rom = guest_memory_add_movable(ram, size, err);
	if (!memory->rom)
		return -1;
	memcpy(memory->rom->host, bytes, size);
	guest_memory_place(ram, memory->rom, PC_HIGH_BASE - size, RAM_ROM);
	for (unsigned i = 0; i < PC_NR_SHADOWS; i++) {
		unsigned segment = FIRST_SHADOW + i;

		if (size < MIB - segment_base(segment))
			continue;
		memory->shadows[i] = guest_memory_add_alias(ram, memory->rom,
			size - (MIB - segment_base(segment)), segment_size(segment), err);
		if (!memory->shadows[i])
			return -1;
	}
	return 0;
}

void pc_memory_set_pam(struct pc_memory *memory, const uint8_t pam[PC_NR_PAM])
{
	struct guest_memory *ram = &memory->machine->memory;

	memcpy(memory->pam, pam, PC_NR_PAM);
	for (unsigned i = 0; i < PC_NR_SEGMENTS; i++) {
		unsigned now = attributes(memory, i);
		struct ram_region *shadow =
			i >= FIRST_SHADOW ? memory->shadows[i - FIRST_SHADOW] : NULL;

		if (shadow)
			guest_memory_place(ram, shadow, segment_base(i),
				now & PAM_READ ? RAM_HIDDEN : RAM_ROM);
		guest_memory_place(ram, memory->segments[i], segment_base(i),
			!(now & PAM_READ)   ? RAM_HIDDEN
			: (now & PAM_WRITE) ? RAM_WRITABLE
					    : RAM_ROM);
	}
}

void pc_memory_set_window(struct pc_memory *memory, enum ram_kind kind)
{
	guest_memory_place(&memory->machine->memory, memory->window, CONVENTIONAL_END, kind);
}

void pc_memory_set_tseg(struct pc_memory *memory, uint64_t bytes)
{
	for (unsigned i = 0; i < PC_NR_TSEG_PARTS; i++) {
		if (memory->tseg[i])
			guest_memory_place(&memory->machine->memory, memory->tseg[i],
				memory->low_end - tseg_sizes[i],
				bytes >= tseg_sizes[i] ? RAM_SMM : RAM_WRITABLE);
	}
}
