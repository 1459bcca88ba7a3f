/*
 * MUL, IMUL, DIV, IDIV (SDM 2).
 */
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

/* One-operand MUL and IMUL: the double-width product in RDX:RAX, or AX. */
#define WIDE_MULTIPLY(name, s, a_register)                                                         \
	static inline operand_##s name##_##s(                                                      \
		struct vcpu *vcpu, operand_##s a, operand_##s b, operand_##s *high)                \
	{                                                                                          \
		uint32_t flags = flags_image(vcpu);                                                \
		operand_##s low;                                                                   \
                                                                                                   \
		asm(FLAGS_LOAD "mov %[a], %%" a_register "\n\t" #name " %[b]\n\t"                  \
			       "mov %%" a_register ", %[low]" FLAGS_SAVE                           \
			: "+&a"(flags), [low] "=&r"(low), "=&d"(*high)                             \
			: [a] "r"(a), [b] "r"(b));                                                 \
		flags_set_image(vcpu, flags);                                                      \
		return low;                                                                        \
	}                                                                                          \
	static inline void name##_rax_##s(struct vcpu *vcpu, operand_##s b)                        \
	{                                                                                          \
		operand_##s high;                                                                  \
		operand_##s low = name##_##s(vcpu, reg_read_##s(vcpu, X86_RAX), b, &high);         \
                                                                                                   \
		reg_write_##s(vcpu, X86_RAX, low);                                                 \
		reg_write_##s(vcpu, X86_RDX, high);                                                \
	}
#define BYTE_MULTIPLY(name)                                                                        \
	static inline void name##_rax_b(struct vcpu *vcpu, uint8_t b)                              \
	{                                                                                          \
		uint32_t flags = flags_image(vcpu);                                                \
		uint16_t product;                                                                  \
                                                                                                   \
		asm(FLAGS_LOAD "mov %[a], %%al\n\t" #name " %[b]\n\tmov %%ax, %[p]" FLAGS_SAVE     \
			: "+&a"(flags), [p] "=&r"(product)                                         \
			: [a] "q"((uint8_t)vcpu->gpr[X86_RAX]), [b] "q"(b));                       \
		flags_set_image(vcpu, flags);                                                      \
		reg_write_w(vcpu, X86_RAX, product);                                               \
	}

BYTE_MULTIPLY(mul)
WIDE_MULTIPLY(mul, w, "ax")
WIDE_MULTIPLY(mul, l, "eax")
WIDE_MULTIPLY(mul, q, "rax")
BYTE_MULTIPLY(imul)
WIDE_MULTIPLY(imul, w, "ax")
WIDE_MULTIPLY(imul, l, "eax")
WIDE_MULTIPLY(imul, q, "rax")

#define MUL_E(s, k)                                                                                \
	EXEC(exec_mul_##s##_##k)                                                                   \
	{                                                                                          \
		mul_rax_##s(vcpu, rm_read_##s##_##k(vcpu, insn));                                  \
	}
#define IMUL_E(s, k)                                                                               \
	EXEC(exec_imul_##s##_##k)                                                                  \
	{                                                                                          \
		imul_rax_##s(vcpu, rm_read_##s##_##k(vcpu, insn));                                 \
	}
FOR_OPERANDS(MUL_E)
FOR_OPERANDS(IMUL_E)

/* Two- and three-operand IMUL: the truncated product. */
#define TRUNCATED_MULTIPLY(s)                                                                      \
	static inline operand_##s imul_truncated_##s(                                              \
		struct vcpu *vcpu, operand_##s a, operand_##s b)                                   \
	{                                                                                          \
		uint32_t flags = flags_image(vcpu);                                                \
                                                                                                   \
		asm(FLAGS_LOAD "imul %[b], %[a]" FLAGS_SAVE                                        \
			: [a] "+&r"(a), "+&a"(flags)                                               \
			: [b] "r"(b));                                                             \
		flags_set_image(vcpu, flags);                                                      \
		return a;                                                                          \
	}
TRUNCATED_MULTIPLY(w)
TRUNCATED_MULTIPLY(l)
TRUNCATED_MULTIPLY(q)

#define IMUL_G_E(s, k)                                                                             \
	EXEC(exec_imul_g_e_##s##_##k)                                                              \
	{                                                                                          \
		operand_##s b = rm_read_##s##_##k(vcpu, insn);                                     \
		operand_##s a = reg_read_##s(vcpu, insn->reg);                                     \
                                                                                                   \
		reg_write_##s(vcpu, insn->reg, imul_truncated_##s(vcpu, a, b));                    \
	}
#define IMUL_G_E_I(s, k)                                                                           \
	EXEC(exec_imul_g_e_i_##s##_##k)                                                            \
	{                                                                                          \
		operand_##s a = rm_read_##s##_##k(vcpu, insn);                                     \
                                                                                                   \
		reg_write_##s(                                                                     \
			vcpu, insn->reg, imul_truncated_##s(vcpu, a, (operand_##s)insn->imm));     \
	}
FOR_WIDE_OPERANDS(IMUL_G_E)
FOR_WIDE_OPERANDS(IMUL_G_E_I)

/*
 * Division, for operands of `bytes`. A quotient that does not fit raises #DE, so the host's own
 * instruction is reached only with operands on which it cannot fault.
 */
static void divide(struct vcpu *vcpu, unsigned __int128 dividend, uint64_t divisor, unsigned bytes,
	uint64_t *quotient, uint64_t *remainder)
{
	if (divisor == 0 || dividend >> (8 * bytes) >= divisor)
		cpu_raise(vcpu, X86_DE);
	if (bytes < 8) {
		*quotient = (uint64_t)dividend / divisor;
		*remainder = (uint64_t)dividend % divisor;
		return;
	}
	asm("div %[divisor]"
		: "=a"(*quotient), "=d"(*remainder)
		: [divisor] "r"(divisor), "0"((uint64_t)dividend), "1"((uint64_t)(dividend >> 64)));
}

/* `dividend` is sign-extended from 2 * bytes, `divisor` from bytes. */
static void divide_signed(struct vcpu *vcpu, __int128 dividend, int64_t divisor, unsigned bytes,
	uint64_t *quotient, uint64_t *remainder)
{
	bool negative = (dividend < 0) != (divisor < 0);
	unsigned __int128 magnitude =
		dividend < 0 ? -(unsigned __int128)dividend : (unsigned __int128)dividend;
	uint64_t divisor_magnitude = divisor < 0 ? -(uint64_t)divisor : (uint64_t)divisor;
	uint64_t limit = (byte_mask(bytes) >> 1) + negative;

	divide(vcpu, magnitude, divisor_magnitude, bytes, quotient, remainder);
	if (*quotient > limit)
		cpu_raise(vcpu, X86_DE);
	if (negative)
		*quotient = -*quotient;
	if (dividend < 0)
		*remainder = -*remainder;
}

#define DIVIDE(s, bits)                                                                            \
	static void div_rax_##s(struct vcpu *vcpu, operand_##s divisor)                            \
	{                                                                                          \
		uint64_t quotient, remainder;                                                      \
		unsigned __int128 dividend = (unsigned __int128)reg_read_##s(vcpu, X86_RDX)        \
						     << bits |                                     \
					     reg_read_##s(vcpu, X86_RAX);                          \
                                                                                                   \
		divide(vcpu, dividend, divisor, bits / 8, &quotient, &remainder);                  \
		reg_write_##s(vcpu, X86_RAX, (operand_##s)quotient);                               \
		reg_write_##s(vcpu, X86_RDX, (operand_##s)remainder);                              \
	}                                                                                          \
	static void idiv_rax_##s(struct vcpu *vcpu, operand_##s divisor)                           \
	{                                                                                          \
		uint64_t quotient, remainder;                                                      \
		unsigned __int128 dividend =                                                       \
			(unsigned __int128)(int##bits##_t)reg_read_##s(vcpu, X86_RDX) << bits |    \
			reg_read_##s(vcpu, X86_RAX);                                               \
                                                                                                   \
		divide_signed(vcpu, (__int128)dividend, (int##bits##_t)divisor, bits / 8,          \
			&quotient, &remainder);                                                    \
		reg_write_##s(vcpu, X86_RAX, (operand_##s)quotient);                               \
		reg_write_##s(vcpu, X86_RDX, (operand_##s)remainder);                              \
	}
DIVIDE(w, 16)
DIVIDE(l, 32)
DIVIDE(q, 64)

static void div_rax_b(struct vcpu *vcpu, uint8_t divisor)
{
	uint64_t quotient, remainder;

	divide(vcpu, reg_read_w(vcpu, X86_RAX), divisor, 1, &quotient, &remainder);
	reg_write_w(vcpu, X86_RAX, (uint16_t)((uint8_t)quotient | remainder << 8));
}

static void idiv_rax_b(struct vcpu *vcpu, uint8_t divisor)
{
	uint64_t quotient, remainder;

	divide_signed(vcpu, (int16_t)reg_read_w(vcpu, X86_RAX), (int8_t)divisor, 1, &quotient,
		&remainder);
	reg_write_w(vcpu, X86_RAX, (uint16_t)((uint8_t)quotient | remainder << 8));
}

#define DIV_E(s, k)                                                                                \
	EXEC(exec_div_##s##_##k)                                                                   \
	{                                                                                          \
		div_rax_##s(vcpu, rm_read_##s##_##k(vcpu, insn));                                  \
	}
#define IDIV_E(s, k)                                                                               \
	EXEC(exec_idiv_##s##_##k)                                                                  \
	{                                                                                          \
		idiv_rax_##s(vcpu, rm_read_##s##_##k(vcpu, insn));                                 \
	}
FOR_OPERANDS(DIV_E)
FOR_OPERANDS(IDIV_E)
