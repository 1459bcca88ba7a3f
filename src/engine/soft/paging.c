/*
 * Page walks of 32-bit paging (with PSE and PSE-36), PAE paging and 4-level paging (SDM 3A 4.3 to
 * 4.7): permission with WP, NX, SMEP and SMAP, reserved bits, accessed and dirty bits. There are no
 * paging-structure caches, and a PCID is never kept apart: loads of CR3 flush instead, which the
 * architecture always allows. Not modelled: 5-level paging, protection keys.
 */
#include "engine/soft/paging.h"
#include "engine/soft/code_pages.h"

#define MAX_LEVELS 4

struct step {
	gpa_t address;
	void *host; /* NULL if it is not in writable RAM */
	uint64_t entry;
};

struct walk {
	struct step steps[MAX_LEVELS];
	unsigned nr_steps;
	unsigned entry_bytes;
	bool user, writable, no_execute;
	gpa_t base; /* of the page */
	unsigned shift;
};

enum walk_result { WALK_OK, WALK_NOT_PRESENT, WALK_RESERVED };

uint8_t *paging_ram(const struct vcpu *vcpu, gpa_t address, bool *read_only)
{
	struct ram_place place;

	if (!paging_find(&vcpu->machine->memory, address, &place))
		return NULL;
	*read_only = place.read_only;
	return place.region->host + place.offset;
}

gpa_t paging_view(const struct vcpu *vcpu, gpa_t address)
{
	struct ram_place place;

	if (__builtin_expect(!vcpu->smm, 1))
		return address;
	if (!guest_memory_find_smm(&vcpu->machine->memory, address, &place) ||
		ram_region_kind(place.region) != RAM_SMM)
		return address;
	return address | PAGING_SMRAM;
}

/* An entry outside of RAM reads as a floating bus. */
static uint64_t read_entry(const struct vcpu *vcpu, struct walk *walk, gpa_t address)
{
	struct step *step = &walk->steps[walk->nr_steps++];
	bool read_only;
	void *host;

	step->address = paging_view(vcpu, address & vcpu->a20_mask);
	host = paging_ram(vcpu, step->address, &read_only);
	if (!host)
		step->entry = byte_mask(walk->entry_bytes);
	else if (walk->entry_bytes == 8)
		step->entry = __atomic_load_n((uint64_t *)host, __ATOMIC_RELAXED);
	else
		step->entry = __atomic_load_n((uint32_t *)host, __ATOMIC_RELAXED);
	step->host = host && !read_only ? host : NULL;
	return step->entry;
}

static bool has_feature(const struct vcpu *vcpu, enum cpu_feature feature)
{
	return vcpu->features.bits[feature / 64] >> (feature % 64) & 1;
}

static enum walk_result walk_32bit(const struct vcpu *vcpu, gva_t address, struct walk *walk)
{
	unsigned bits = vcpu->cpu_model->physical_address_bits;
	gpa_t table = vcpu->cr3 & BITS(31, 12);
	uint64_t entry;

	walk->entry_bytes = 4;
	entry = read_entry(vcpu, walk, table + field_get(BITS(31, 22), address) * 4);
	if (!(entry & PTE_P))
		return WALK_NOT_PRESENT;
	walk->user = entry & PTE_U;
	walk->writable = entry & PTE_W;
	if (entry & PTE_PS && vcpu->cr4 & CR4_PSE) {
		unsigned high = bits > 40 ? 8 : bits > 32 ? bits - 32 : 0;

		if (!has_feature(vcpu, CPU_FEATURE_PSE36))
			high = 0;
		if (entry & BITS(21, 13) & ~(((BIT(high) - 1)) << 13))
			return WALK_RESERVED;
		walk->base = (entry & BITS(31, 22)) | field_get(BITS(20, 13), entry) << 32;
		walk->shift = 22;
		return WALK_OK;
	}
	table = entry & BITS(31, 12);
	entry = read_entry(vcpu, walk, table + field_get(BITS(21, 12), address) * 4);
	if (!(entry & PTE_P))
		return WALK_NOT_PRESENT;
	walk->user = walk->user && entry & PTE_U;
	walk->writable = walk->writable && entry & PTE_W;
	walk->base = entry & BITS(31, 12);
	walk->shift = 12;
	return WALK_OK;
}

/* PAE from the page directory on, and 4-level paging: 8-byte entries, 9 bits a level. */
static enum walk_result walk_long(
	const struct vcpu *vcpu, gva_t address, struct walk *walk, gpa_t table, unsigned shift)
{
	unsigned physical_bits = vcpu->cpu_model->physical_address_bits;
	uint64_t reserved = BITS(51, 0) & ~BITS(physical_bits - 1, 0);
	uint64_t frame = BITS(physical_bits - 1, 12);

	if (!(vcpu->efer & EFER_NXE))
		reserved |= PTE_NX;
	if (!vcpu->mode.long_mode)
		reserved |= BITS(62, 52);
	walk->entry_bytes = 8;
	walk->user = walk->writable = true;
	for (;;) {
		uint64_t entry = read_entry(vcpu, walk, table + (address >> shift & 0x1ff) * 8);

		if (!(entry & PTE_P))
			return WALK_NOT_PRESENT;
		if (entry & reserved)
			return WALK_RESERVED;
		walk->user = walk->user && entry & PTE_U;
		walk->writable = walk->writable && entry & PTE_W;
		walk->no_execute = walk->no_execute || entry & PTE_NX;
		if (shift > 12 && entry & PTE_PS) {
			bool allowed = shift == 21 ||
				       (shift == 30 && has_feature(vcpu, CPU_FEATURE_PDPE1GB));

			if (!allowed || entry & BITS(shift - 1, 13))
				return WALK_RESERVED;
		}
		if (shift == 12 || entry & PTE_PS) {
			walk->base = entry & frame & ~(BIT(shift) - 1);
			walk->shift = shift;
			return WALK_OK;
		}
		table = entry & frame;
		shift -= 9;
	}
}

static enum walk_result walk_any(const struct vcpu *vcpu, gva_t address, struct walk *walk)
{
	walk->nr_steps = 0;
	walk->no_execute = false;
	if (vcpu->mode.long_mode)
		return walk_long(vcpu, address, walk,
			vcpu->cr3 & BITS(vcpu->cpu_model->physical_address_bits - 1, 12), 39);
	if (vcpu->cr4 & CR4_PAE) {
		uint64_t pdpte = vcpu->pdpte[address >> 30 & 3];

		if (!(pdpte & PTE_P))
			return WALK_NOT_PRESENT;
		return walk_long(vcpu, address, walk,
			pdpte & BITS(vcpu->cpu_model->physical_address_bits - 1, 12), 21);
	}
	return walk_32bit(vcpu, address, walk);
}

static uint32_t error_code(const struct vcpu *vcpu, struct paging_access access)
{
	uint32_t error = access.user ? PF_USER : 0;
	bool nxe = vcpu->efer & EFER_NXE && vcpu->cr4 & CR4_PAE;

	if (access.kind == MMU_WRITE)
		error |= PF_WRITE;
	if (access.kind == MMU_EXECUTE && (nxe || vcpu->cr4 & CR4_SMEP))
		error |= PF_INSTRUCTION;
	return error;
}

/* SDM 3A 4.6.1. */
static void permissions(const struct vcpu *vcpu, const struct walk *walk,
	struct paging_access access, struct paging_page *page)
{
	if (access.user) {
		page->readable = walk->user;
		page->writable = walk->user && walk->writable;
		page->executable = walk->user && !walk->no_execute;
		return;
	}
	page->readable = !(walk->user && access.smap);
	page->writable = page->readable && (walk->writable || !(vcpu->cr0 & CR0_WP));
	page->executable = !walk->no_execute && !(walk->user && vcpu->cr4 & CR4_SMEP);
}

static bool permitted(const struct paging_page *page, enum mmu_access kind)
{
	switch (kind) {
	case MMU_WRITE: return page->writable;
	case MMU_EXECUTE: return page->executable;
	default: return page->readable;
	}
}

static bool exchange(const struct step *step, unsigned bytes, uint64_t desired)
{
	uint64_t entry = step->entry;
	uint32_t entry_32 = (uint32_t)entry;

	if (bytes == 8)
		return __atomic_compare_exchange_n((uint64_t *)step->host, &entry, desired, false,
			__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return __atomic_compare_exchange_n((uint32_t *)step->host, &entry_32, (uint32_t)desired,
		false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Sets A in every entry used and, for a write, D in the last. False: an entry changed meanwhile. */
static bool mark(struct vcpu *vcpu, struct walk *walk, bool write)
{
	for (unsigned i = 0; i < walk->nr_steps; i++) {
		struct step *step = &walk->steps[i];
		uint64_t desired = step->entry | PTE_A;

		if (write && i == walk->nr_steps - 1)
			desired |= PTE_D;
		if (desired == step->entry || !step->host)
			continue;
		if (!exchange(step, walk->entry_bytes, desired))
			return false;
		step->entry = desired;
		if (code_pages_is_code(vcpu->engine, step->address) &&
			code_pages_written(vcpu->engine, step->address, walk->entry_bytes))
			vcpu->run_end = NULL;
	}
	return true;
}

bool paging_walk(struct vcpu *vcpu, gva_t address, struct paging_access access,
	struct paging_page *page, uint32_t *error)
{
	struct walk walk;
	uint64_t leaf;

	if (!vcpu->mode.paging) {
		gpa_t physical = address & ~UINT64_C(0xfff) & vcpu->a20_mask;

		*page = (struct paging_page){ .physical = paging_view(vcpu, physical),
			.shift = 12,
			.readable = true,
			.writable = true,
			.executable = true,
			.dirty = true };
		return true;
	}
	do {
		enum walk_result result = walk_any(vcpu, address, &walk);

		if (result != WALK_OK) {
			*error = error_code(vcpu, access);
			if (result == WALK_RESERVED)
				*error |= PF_PRESENT | PF_RESERVED;
			return false;
		}
		permissions(vcpu, &walk, access, page);
		if (!permitted(page, access.kind)) {
			*error = error_code(vcpu, access) | PF_PRESENT;
			return false;
		}
	} while (!mark(vcpu, &walk, access.kind == MMU_WRITE));

	leaf = walk.steps[walk.nr_steps - 1].entry;
	page->physical = paging_view(
		vcpu, (walk.base | (address & (BIT(walk.shift) - 1) & ~UINT64_C(0xfff))) &
			      vcpu->a20_mask);
	page->shift = walk.shift;
	page->dirty = leaf & PTE_D;
	page->global = leaf & PTE_G && vcpu->cr4 & CR4_PGE;
	return true;
}

bool paging_look_leaf(struct vcpu *vcpu, gva_t address, struct paging_leaf *leaf)
{
	struct walk walk;
	uint64_t all = UINT64_MAX;

	if (walk_any(vcpu, address, &walk) != WALK_OK)
		return false;
	for (unsigned i = 0; i < walk.nr_steps; i++)
		all &= walk.steps[i].entry;
	*leaf = (struct paging_leaf){
		.base = walk.base,
		.shift = (uint8_t)walk.shift,
		.user = walk.user,
		.accessed = all & PTE_A,
		.global = walk.steps[walk.nr_steps - 1].entry & PTE_G && vcpu->cr4 & CR4_PGE,
	};
	return true;
}

bool paging_look(struct vcpu *vcpu, gva_t address, gpa_t *physical)
{
	struct walk walk;

	if (!vcpu->mode.paging) {
		*physical = paging_view(vcpu, address & vcpu->a20_mask);
		return true;
	}
	if (walk_any(vcpu, address, &walk) != WALK_OK)
		return false;
	*physical =
		paging_view(vcpu, (walk.base | (address & (BIT(walk.shift) - 1))) & vcpu->a20_mask);
	return true;
}
