/*
 * The state of the bootstrap processor when a kernel is entered: flat 32-bit protected mode, or
 * long mode with an identity map. Selectors are those of Linux's boot protocol (__BOOT_CS 0x10,
 * __BOOT_DS 0x18), which satisfy PVH and multiboot too.
 */
#include "firmware/boot_loader.h"

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18
#define SELECTOR_TASK 0x20

#define CODE_TYPE (SEG_TYPE_CODE | SEG_TYPE_READABLE | SEG_TYPE_ACCESSED)
#define DATA_TYPE (SEG_TYPE_WRITABLE | SEG_TYPE_ACCESSED)
#define FLAT      (SEG_S | SEG_P | SEG_G)
#define TSS_LIMIT 0x67

#define IDENTITY_DIRECTORIES 4 /* of 1 GiB each */
#define ENTRIES_PER_TABLE    512

static struct cpu_segment flat_segment(uint16_t selector, uint32_t attributes)
{
	return (struct cpu_segment){
		.limit = UINT32_MAX,
		.attributes = attributes | FLAT,
		.selector = selector,
	};
}

/* SDM 3A 3.4.5, figure 3-8. */
static uint64_t descriptor(const struct cpu_segment *segment)
{
	uint32_t limit = segment->attributes & SEG_G ? segment->limit >> 12 : segment->limit;

	return (limit & 0xffff) | (segment->base & 0xffffff) << 16 |
	       (uint64_t)(segment->attributes & 0xff) << 40 | (uint64_t)(limit >> 16 & 0xf) << 48 |
	       (uint64_t)(segment->attributes & 0xf000) << 40 | (segment->base >> 24 & 0xff) << 56;
}

static int set_segments(struct boot *boot, uint32_t code_attributes, struct error *err)
{
	struct cpu_state *cpu = boot->cpu;
	struct cpu_segment code = flat_segment(SELECTOR_CODE, CODE_TYPE | code_attributes);
	struct cpu_segment data = flat_segment(SELECTOR_DATA, DATA_TYPE | SEG_DB);
	struct cpu_segment task = {
		.limit = TSS_LIMIT,
		.attributes = SEG_P | SEG_TYPE_TSS_BUSY,
		.selector = SELECTOR_TASK,
	};
	/* The task descriptor is 16 bytes in long mode. */
	uint64_t gdt[6] = { 0, 0, descriptor(&code), descriptor(&data), descriptor(&task), 0 };
	gpa_t gdt_address;
	int result = boot_place_bytes(
		boot, gdt, sizeof(gdt), sizeof(gdt[0]), "boot tables", &gdt_address, err);

	if (result < 0)
		return result;
	cpu->gdtr.base = gdt_address;
	cpu->gdtr.limit = sizeof(gdt) - 1;
	cpu->segment[X86_CS] = code;
	for (unsigned i = 0; i <= X86_GS; i++)
		if (i != X86_CS)
			cpu->segment[i] = data;
	cpu->segment[X86_TR] = task;
	return 0;
}

int boot_enter_protected(struct boot *boot, gpa_t entry, struct error *err)
{
	struct cpu_state *cpu = boot->cpu;

	cpu->cr0 = CR0_PE | CR0_ET;
	cpu->rip = entry;
	cpu->rflags = RFLAGS_ONE;
	return set_segments(boot, SEG_DB, err);
}

static int place_table(struct boot *boot, const uint64_t *table, gpa_t *address, struct error *err)
{
	const uint64_t size = ENTRIES_PER_TABLE * sizeof(*table);

	return boot_place_bytes(boot, table, size, size, "boot tables", address, err);
}

/* One PML4 entry, one page-directory-pointer table, page directories of 2 MiB pages. */
static int map_identity(struct boot *boot, gpa_t *root, struct error *err)
{
	static const uint64_t table_bits = PTE_P | PTE_W | PTE_A;
	uint64_t pointers[ENTRIES_PER_TABLE] = { 0 }, top[ENTRIES_PER_TABLE] = { 0 };
	uint64_t directory[ENTRIES_PER_TABLE];
	int result = 0;

	for (unsigned i = 0; i < IDENTITY_DIRECTORIES && result == 0; i++) {
		for (unsigned j = 0; j < ENTRIES_PER_TABLE; j++)
			directory[j] = ((uint64_t)i * ENTRIES_PER_TABLE + j) << 21 | table_bits |
				       PTE_D | PTE_PS;
		result = place_table(boot, directory, &pointers[i], err);
		pointers[i] |= table_bits;
	}
	if (result == 0)
		result = place_table(boot, pointers, &top[0], err);
	top[0] |= table_bits;
	return result < 0 ? result : place_table(boot, top, root, err);
}

int boot_enter_long(struct boot *boot, gpa_t entry, struct error *err)
{
	struct cpu_state *cpu = boot->cpu;
	gpa_t root;
	int result = map_identity(boot, &root, err);

	if (result < 0)
		return result;
	cpu->cr0 = CR0_PE | CR0_ET | CR0_PG;
	cpu->cr3 = root;
	cpu->cr4 = CR4_PAE;
	cpu->efer = EFER_LME | EFER_LMA;
	cpu->rip = entry;
	cpu->rflags = RFLAGS_ONE;
	return set_segments(boot, SEG_L, err);
}
