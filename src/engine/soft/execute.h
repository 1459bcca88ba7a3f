/*
 * The contract of an instruction's function, and what it is made of.
 *
 * When exec runs, vcpu->rip is the instruction's address and vcpu->next_rip that of the next one
 * (truncated to the code segment's size). It either completes (all effects) or raises with no
 * effect that the guest could see (faults are restartable), by one of the cpu_raise functions,
 * which do not return. It holds no lock when it raises. It does not look at TF, interrupts or debug
 * registers: the run loop does. A branch sets next_rip with branch_to. Instructions that change the
 * mode or the address translation call vcpu_update_mode and mmu_flush_*; their rows have
 * ISA_ENDS_BLOCK.
 *
 * Decode-time conditions (#UD for lack of a feature, LOCK where it is not allowed, modes) are the
 * decoder's. Privilege (ISA_PRIVILEGED: #GP(0) if CPL is not 0), ISA_PROTECTED, and the #NM/#UD
 * rules of x87, MMX and vector state are checked before exec: see prologue.c.
 */
#ifndef ENGINE_SOFT_EXECUTE_H
#define ENGINE_SOFT_EXECUTE_H

#include "engine/soft/mmu.h"
#include "engine/soft/segment.h"
#include "engine/soft/vcpu.h"

/* exception.c */
_Noreturn void cpu_raise(struct vcpu *vcpu, enum x86_vector vector); /* one without error code */
_Noreturn void cpu_raise_error(struct vcpu *vcpu, enum x86_vector vector, uint32_t error);
_Noreturn void cpu_raise_page_fault(struct vcpu *vcpu, gva_t address, uint32_t error);
/* INT n, INT3, INTO, INT1: software interrupts return after the instruction (next_rip). */
void cpu_software_interrupt(struct vcpu *vcpu, uint8_t vector, bool is_int_n);
/* The APIC has said `vector`; delivers at an instruction boundary. */
void cpu_deliver_interrupt(struct vcpu *vcpu, uint8_t vector);
void cpu_deliver_nmi(struct vcpu *vcpu);

/* General registers. Writing 4 bytes clears the upper half (SDM 1 3.4.1.1); 1 and 2 keep it. */
static inline uint8_t *gpr8_pointer(struct vcpu *vcpu, unsigned n)
{
	uint8_t *bytes = (uint8_t *)vcpu->gpr;

	return n < INSN_HIGH_BYTE ? bytes + 8 * n : bytes + 8 * (n - INSN_HIGH_BYTE) + 1;
}

static inline uint64_t gpr_read(struct vcpu *vcpu, unsigned n, unsigned bytes)
{
	if (bytes == 1)
		return *gpr8_pointer(vcpu, n);
	return vcpu->gpr[n] & byte_mask(bytes);
}

static inline void gpr_write(struct vcpu *vcpu, unsigned n, unsigned bytes, uint64_t value)
{
	switch (bytes) {
	case 1: *gpr8_pointer(vcpu, n) = (uint8_t)value; break;
	case 2: *(uint16_t *)&vcpu->gpr[n] = (uint16_t)value; break;
	case 4: vcpu->gpr[n] = (uint32_t)value; break;
	default: vcpu->gpr[n] = value;
	}
}

_Static_assert(offsetof(struct vcpu, no_register) == INSN_NO_REGISTER * sizeof(uint64_t) &&
		       offsetof(struct vcpu, next_rip) == INSN_RIP * sizeof(uint64_t),
	"insn_offset counts on the layout");

/* The offset part of the memory operand, truncated to the address size. */
static inline uint64_t insn_offset(const struct vcpu *vcpu, const struct insn *insn)
{
	const uint64_t *registers = (const uint64_t *)vcpu;
	uint64_t offset = registers[insn->base] + (registers[insn->index] << insn->scale) +
			  (uint64_t)(int64_t)insn->disp;

	if (__builtin_expect(insn->address_bytes == 8, 1))
		return offset;
	return offset & byte_mask(insn->address_bytes);
}

/* The checked linear address of the memory operand; raises #GP or #SS. */
static inline gva_t insn_linear(
	struct vcpu *vcpu, const struct insn *insn, unsigned size, enum mmu_access access)
{
	return segment_linear(vcpu, insn->segment, insn_offset(vcpu, insn), size, access);
}

/* So many PAUSE instructions translated code executes between two of the interpreter's, which
 * yields. A power of two. */
#define PAUSES_TRANSLATED 512

/* A repeated string instruction pauses: it is executed again, and counted when it has ended. */
static inline void string_goes_on(struct vcpu *vcpu)
{
	vcpu->next_rip = vcpu->rip;
	vcpu->instructions--;
}

/* Sets next_rip for a near branch: checks the limit or canonicality, #GP(0) on failure. */
void branch_to(struct vcpu *vcpu, uint64_t target, unsigned operand_bytes);

/* Stack, by SS and its size; push checks and writes before RSP moves. */
void stack_push(struct vcpu *vcpu, unsigned bytes, uint64_t value);
uint64_t stack_pop(struct vcpu *vcpu, unsigned bytes);
/* As pop, RSP left alone: for instructions that can still fault. `depth`: bytes above RSP. */
uint64_t stack_peek(struct vcpu *vcpu, unsigned bytes, uint64_t depth);
void stack_adjust(struct vcpu *vcpu, int64_t bytes);

#endif
