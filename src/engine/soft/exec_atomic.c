/*
 * XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B (SDM 2).
 *
 * What an instruction leaves in the upper half of a 64-bit register when its operand is 32 bits
 * wide and its comparison decides about the write is the host's answer: the full registers go
 * through the host's instruction.
 */
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

/* XCHG with memory is locked without the prefix. */
#define XCHG(s)                                                                                    \
	EXEC(exec_xchg_##s##_r)                                                                    \
	{                                                                                          \
		operand_##s a = reg_read_##s(vcpu, insn->rm);                                      \
                                                                                                   \
		reg_write_##s(vcpu, insn->rm, reg_read_##s(vcpu, insn->reg));                      \
		reg_write_##s(vcpu, insn->reg, a);                                                 \
	}                                                                                          \
	EXEC(exec_xchg_##s##_m)                                                                    \
	{                                                                                          \
		operand_##s b = reg_read_##s(vcpu, insn->reg);                                     \
		struct rmw rmw;                                                                    \
		volatile operand_##s *a = rmw_begin(vcpu, insn, &rmw, sizeof(*a), true);           \
                                                                                                   \
		asm volatile("xchg %[b], %[a]" : [a] "+m"(*a), [b] "+r"(b) : : "memory");          \
		rmw_end(vcpu, &rmw, sizeof(*a));                                                   \
		reg_write_##s(vcpu, insn->reg, b);                                                 \
	}
FOR_SIZES(XCHG)

/* 90..97: the register is in the opcode. */
#define XCHG_RAX(s)                                                                                \
	EXEC(exec_xchg_rax_##s##_r)                                                                \
	{                                                                                          \
		operand_##s a = reg_read_##s(vcpu, X86_RAX);                                       \
                                                                                                   \
		reg_write_##s(vcpu, X86_RAX, reg_read_##s(vcpu, insn->reg));                       \
		reg_write_##s(vcpu, insn->reg, a);                                                 \
	}
FOR_WIDE_SIZES(XCHG_RAX)

#define XADD(s)                                                                                    \
	EXEC(exec_xadd_##s##_r)                                                                    \
	{                                                                                          \
		operand_##s a = reg_read_##s(vcpu, insn->rm);                                      \
		operand_##s b = reg_read_##s(vcpu, insn->reg);                                     \
		uint32_t flags;                                                                    \
                                                                                                   \
		asm("xadd %[b], %[a]" FLAGS_SAVE : [a] "+r"(a), [b] "+r"(b), "=&a"(flags));        \
		flags_set_image(vcpu, flags);                                                      \
		reg_write_##s(vcpu, insn->reg, b);                                                 \
		reg_write_##s(vcpu, insn->rm, a);                                                  \
	}                                                                                          \
	EXEC(exec_xadd_##s##_m)                                                                    \
	{                                                                                          \
		operand_##s b = reg_read_##s(vcpu, insn->reg);                                     \
		struct rmw rmw;                                                                    \
		volatile operand_##s *a =                                                          \
			rmw_begin(vcpu, insn, &rmw, sizeof(*a), insn_locked(insn));                \
		uint32_t flags;                                                                    \
                                                                                                   \
		asm volatile("lock xadd %[b], %[a]" FLAGS_SAVE                                     \
			     : [a] "+m"(*a), [b] "+r"(b), "=&a"(flags)                             \
			     :                                                                     \
			     : "memory");                                                          \
		rmw_end(vcpu, &rmw, sizeof(*a));                                                   \
		flags_set_image(vcpu, flags);                                                      \
		reg_write_##s(vcpu, insn->reg, b);                                                 \
	}
FOR_SIZES(XADD)

/* The operand's form of a register that is passed whole. */
#define PART_b "%b"
#define PART_w "%w"
#define PART_l "%k"
#define PART_q "%q"

/* AH to DH cannot be named beside whole registers, so byte registers are copied. */
EXEC(exec_cmpxchg_b_r)
{
	uint8_t a = reg_read_b(vcpu, insn->rm), b = reg_read_b(vcpu, insn->reg), accumulator;
	uint32_t image = (uint8_t)vcpu->gpr[X86_RAX];

	asm("cmpxchg %[b], %[a]\n\tmov %%al, %[accumulator]" FLAGS_SAVE
		: [a] "+&q"(a), [accumulator] "=&q"(accumulator), "+&a"(image)
		: [b] "q"(b));
	flags_set_image(vcpu, image);
	reg_write_b(vcpu, X86_RAX, accumulator);
	if (vcpu->flags_low & FLAGS_ZF)
		reg_write_b(vcpu, insn->rm, a);
}

#define CMPXCHG_R(s)                                                                               \
	EXEC(exec_cmpxchg_##s##_r)                                                                 \
	{                                                                                          \
		uint64_t a = vcpu->gpr[insn->rm], b = vcpu->gpr[insn->reg], accumulator;           \
		uint64_t image = vcpu->gpr[X86_RAX];                                               \
                                                                                                   \
		asm("cmpxchg " PART_##s "[b], " PART_##s                                           \
			"[a]\n\tmov %%rax, %[accumulator]" FLAGS_SAVE                              \
			: [a] "+&r"(a), [accumulator] "=&r"(accumulator), "+&a"(image)             \
			: [b] "r"(b));                                                             \
		flags_set_image(vcpu, (uint32_t)image);                                            \
		vcpu->gpr[X86_RAX] = accumulator;                                                  \
		if (insn->rm != X86_RAX || (vcpu->flags_low & FLAGS_ZF))                           \
			vcpu->gpr[insn->rm] = a;                                                   \
	}
CMPXCHG_R(w)
CMPXCHG_R(l)
CMPXCHG_R(q)

#define CMPXCHG_M(s)                                                                               \
	EXEC(exec_cmpxchg_##s##_m)                                                                 \
	{                                                                                          \
		uint64_t b = gpr_read(vcpu, insn->reg, sizeof(operand_##s)), accumulator;          \
		uint64_t image = vcpu->gpr[X86_RAX];                                               \
		struct rmw rmw;                                                                    \
		volatile operand_##s *a =                                                          \
			rmw_begin(vcpu, insn, &rmw, sizeof(*a), insn_locked(insn));                \
                                                                                                   \
		asm volatile("lock cmpxchg " PART_##s                                              \
			     "[b], %[a]\n\tmov %%rax, %[accumulator]" FLAGS_SAVE                   \
			     : [a] "+m"(*a), [accumulator] "=&r"(accumulator), "+&a"(image)        \
			     : [b] "r"(b)                                                          \
			     : "memory");                                                          \
		rmw_end(vcpu, &rmw, sizeof(*a));                                                   \
		flags_set_image(vcpu, (uint32_t)image);                                            \
		vcpu->gpr[X86_RAX] = accumulator;                                                  \
	}
FOR_SIZES(CMPXCHG_M)

EXEC(exec_cmpxchg8b)
{
	uint64_t expected = (uint32_t)vcpu->gpr[X86_RAX] | vcpu->gpr[X86_RDX] << 32;
	uint64_t desired = (uint32_t)vcpu->gpr[X86_RBX] | vcpu->gpr[X86_RCX] << 32;
	struct rmw rmw;
	volatile operand_q *memory = rmw_begin(vcpu, insn, &rmw, 8, insn_locked(insn));
	bool equal;

	asm volatile("lock cmpxchg %[desired], %[memory]"
		     : [memory] "+m"(*memory), "+a"(expected), "=@ccz"(equal)
		     : [desired] "r"(desired)
		     : "memory");
	rmw_end(vcpu, &rmw, 8);
	flags_assign(vcpu, FLAGS_ZF, equal);
	if (!equal) {
		reg_write_l(vcpu, X86_RAX, (uint32_t)expected);
		reg_write_l(vcpu, X86_RDX, (uint32_t)(expected >> 32));
	}
}

/* Only in 64-bit mode, where a segment's base may count but a limit does not. The alignment is
 * checked before the address. */
EXEC(exec_cmpxchg16b)
{
	uint64_t base = insn->segment >= X86_FS ? vcpu->segment[insn->segment].base : 0;
	volatile unsigned __int128 *memory;
	struct rmw rmw;
	gva_t address;
	bool equal;

	if ((insn_offset(vcpu, insn) + base) & 15)
		cpu_raise_error(vcpu, X86_GP, 0);
	address = insn_linear(vcpu, insn, 16, MMU_WRITE);
	memory = rmw_begin_at(vcpu, &rmw, address, 16, insn_locked(insn));
	asm volatile("lock cmpxchg16b %[memory]"
		     : [memory] "+m"(*memory), "+a"(vcpu->gpr[X86_RAX]), "+d"(vcpu->gpr[X86_RDX]),
		     "=@ccz"(equal)
		     : "b"(vcpu->gpr[X86_RBX]), "c"(vcpu->gpr[X86_RCX])
		     : "memory");
	rmw_end(vcpu, &rmw, 16);
	flags_assign(vcpu, FLAGS_ZF, equal);
}
