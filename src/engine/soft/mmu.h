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

uint8_t mmu_read_u8(struct vcpu *vcpu, gva_t address);
uint16_t mmu_read_u16(struct vcpu *vcpu, gva_t address);
uint32_t mmu_read_u32(struct vcpu *vcpu, gva_t address);
uint64_t mmu_read_u64(struct vcpu *vcpu, gva_t address);
void mmu_write_u8(struct vcpu *vcpu, gva_t address, uint8_t value);
void mmu_write_u16(struct vcpu *vcpu, gva_t address, uint16_t value);
void mmu_write_u32(struct vcpu *vcpu, gva_t address, uint32_t value);
void mmu_write_u64(struct vcpu *vcpu, gva_t address, uint64_t value);

/* Any length, ascending; all pages are probed before the first byte moves. */
void mmu_read(struct vcpu *vcpu, gva_t address, void *to, unsigned size);
void mmu_write(struct vcpu *vcpu, gva_t address, const void *from, unsigned size);

/*
 * The host address of `size` bytes if they lie within one page of RAM that may be accessed directly
 * for `access` (for MMU_WRITE: read as well, no code in the page), else NULL (page-crossing, MMIO,
 * code page, ROM). Raises if the access is not permitted. Valid until the next instruction.
 */
void *mmu_pointer(struct vcpu *vcpu, gva_t address, unsigned size, enum mmu_access access);

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

/* Translates without raising, and without setting A or D: for debuggers. False: not mapped. */
bool mmu_translate(struct vcpu *vcpu, gva_t address, gpa_t *physical);

void mmu_flush_all(struct vcpu *vcpu);                 /* global entries too */
void mmu_flush_non_global(struct vcpu *vcpu);          /* MOV to CR3 */
void mmu_flush_page(struct vcpu *vcpu, gva_t address); /* INVLPG */

/* Physical accesses by the processor itself (kvmclock pages): RAM, invalidates code. */
bool mmu_physical_write(struct vcpu *vcpu, gpa_t address, const void *from, unsigned size);

#endif
