/*
 * Guest memory as instructions see it: linear addresses, paging, MMIO, self-modifying code.
 *
 * Each function performs one access of the current privilege (vcpu->mode.cpl), or raises: #PF with
 * CR2 set, #AC where CR0.AM, RFLAGS.AC and CPL 3 demand it, and does not return. An access within a
 * page of RAM is one host access, so ordering and atomicity between vCPUs are the host's. An access
 * across pages probes both before it touches either.
 *
 * Linear addresses are already checked (segment.h): canonical in 64-bit mode, 32 bits wide
 * otherwise.
 */
#ifndef ENGINE_SOFT_MMU_H
#define ENGINE_SOFT_MMU_H

#include "engine/soft/vcpu.h"

enum mmu_access { MMU_READ, MMU_WRITE, MMU_EXECUTE };

/* The general cases, by size 1, 2, 4 or 8. */
uint64_t mmu_read_slow(struct vcpu *vcpu, gva_t address, unsigned size);
void mmu_write_slow(struct vcpu *vcpu, gva_t address, unsigned size, uint64_t value);

/* Host memory at any alignment, by one host access. */
typedef uint16_t host_u16 __attribute__((aligned(1), may_alias));
typedef uint32_t host_u32 __attribute__((aligned(1), may_alias));
typedef uint64_t host_u64 __attribute__((aligned(1), may_alias));

/* Copies without vector registers, which memcpy would use. */
static inline void host_copy(void *to, const void *from, uint64_t size)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static inline uint64_t host_load(const void *at, unsigned size)
{
	switch (size) {
	case 1: return *(const volatile uint8_t *)at;
	case 2: return *(const volatile host_u16 *)at;
	case 4: return *(const volatile host_u32 *)at;
	default: return *(const volatile host_u64 *)at;
	}
}

static inline void host_store(void *at, unsigned size, uint64_t value)
{
	switch (size) {
	case 1: *(volatile uint8_t *)at = (uint8_t)value; break;
	case 2: *(volatile host_u16 *)at = (uint16_t)value; break;
	case 4: *(volatile host_u32 *)at = (uint32_t)value; break;
	default: *(volatile host_u64 *)at = value; break;
	}
}

static inline bool mmu_tag_matches(uint64_t tag, gva_t address, unsigned size)
{
	return tag == (address & ~UINT64_C(0xfff)) && (address & 0xfff) <= 0x1000 - size;
}

#define MMU_DEFINE_ACCESS(bits, type)                                                              \
	static inline uint##bits##_t mmu_read_u##bits(struct vcpu *vcpu, gva_t address)            \
	{                                                                                          \
		const struct tlb_entry *entry = &vcpu->tlb_data[tlb_index(address)];               \
		uint64_t tag = atomic_load_explicit(&entry->read_tag, memory_order_relaxed);       \
                                                                                                   \
		if (__builtin_expect(!mmu_tag_matches(tag, address, bits / 8), 0))                 \
			return (uint##bits##_t)mmu_read_slow(vcpu, address, bits / 8);             \
		return *(const volatile type *)(address + entry->addend);                          \
	}                                                                                          \
	static inline void mmu_write_u##bits(                                                      \
		struct vcpu *vcpu, gva_t address, uint##bits##_t value)                            \
	{                                                                                          \
		const struct tlb_entry *entry = &vcpu->tlb_data[tlb_index(address)];               \
		uint64_t tag = atomic_load_explicit(&entry->write_tag, memory_order_relaxed);      \
                                                                                                   \
		if (__builtin_expect(!mmu_tag_matches(tag, address, bits / 8), 0)) {               \
			mmu_write_slow(vcpu, address, bits / 8, value);                            \
			return;                                                                    \
		}                                                                                  \
		*(volatile type *)(address + entry->addend) = value;                               \
	}

MMU_DEFINE_ACCESS(8, uint8_t)
MMU_DEFINE_ACCESS(16, host_u16)
MMU_DEFINE_ACCESS(32, host_u32)
MMU_DEFINE_ACCESS(64, host_u64)
#undef MMU_DEFINE_ACCESS

/* Any length, ascending; all pages are probed before the first byte moves. */
void mmu_read(struct vcpu *vcpu, gva_t address, void *to, unsigned size);
void mmu_write(struct vcpu *vcpu, gva_t address, const void *from, unsigned size);

/*
 * The host address of `size` bytes if they lie within one page of RAM that may be accessed directly
 * for `access` (for MMU_WRITE: read as well, no code in the page), else NULL (page-crossing, MMIO,
 * code page, ROM). Raises if the access is not permitted. Valid until the next instruction.
 */
void *mmu_pointer(struct vcpu *vcpu, gva_t address, unsigned size, enum mmu_access access);

/*
 * For accesses that found nothing in the TLB: walks the page tables and puts there what makes such
 * an access direct, A and D set as it would. Raises nothing.
 */
enum mmu_fill {
	MMU_FILLED,
	MMU_NOT_DIRECT, /* or nothing was missing */
	MMU_RAISES,
};
enum mmu_fill mmu_fill(struct vcpu *vcpu, gva_t address, unsigned size, enum mmu_access access);

/* Raises what a write of `size` bytes would raise; changes nothing but A and D bits. */
void mmu_probe_write(struct vcpu *vcpu, gva_t address, unsigned size);
void mmu_probe_read(struct vcpu *vcpu, gva_t address, unsigned size);

/* As supervisor whatever CPL is: descriptor tables, TSS, pushes of an event's frame on the inner
 * stack (SDM 3A 4.6, implicit supervisor accesses). */
uint64_t mmu_system_read(struct vcpu *vcpu, gva_t address, unsigned size);
void mmu_system_write(struct vcpu *vcpu, gva_t address, unsigned size, uint64_t value);
void mmu_system_probe_write(struct vcpu *vcpu, gva_t address, unsigned size);

/*
 * For the decoder: where to read instruction bytes at linear `address`. Returns the host address
 * and sets `*physical`, and `*available` to the bytes left in the page. Raises #PF. NULL: not RAM;
 * fetch with mmu_fetch_slow, byte by byte.
 */
const uint8_t *mmu_fetch(struct vcpu *vcpu, gva_t address, gpa_t *physical, unsigned *available);
uint8_t mmu_fetch_slow(struct vcpu *vcpu, gva_t address);

/* Points tlb_data and tlb_code at the sets of the current privilege. vcpu_update_mode and
 * vcpu_set_rflags call it: it depends on CPL, CR4.SMAP, CR0.AM, RFLAGS.AC and DR7. */
void mmu_update_mode(struct vcpu *vcpu);

/* Translates without raising, and without setting A or D: for debuggers. False: not mapped. */
bool mmu_translate(struct vcpu *vcpu, gva_t address, gpa_t *physical);

/* An entry that was in the TLB before, where its place is free. */
void mmu_put(struct vcpu *vcpu, enum tlb_set set, const struct tlb_content *content);

void mmu_init(struct vcpu *vcpu);                      /* an empty TLB, of zeroed memory */
void mmu_flush_all(struct vcpu *vcpu);                 /* global entries too, of all PCIDs */
void mmu_flush_non_global(struct vcpu *vcpu);          /* MOV to CR3 */
void mmu_flush_page(struct vcpu *vcpu, gva_t address); /* INVLPG */

/* Physical accesses by the processor itself (kvmclock pages): RAM, invalidates code. */
bool mmu_physical_write(struct vcpu *vcpu, gpa_t address, const void *from, unsigned size);

#endif
