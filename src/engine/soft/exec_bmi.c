/*
 * BMI1 and BMI2 on general registers (SDM 2): VEX-encoded, operands of 4 or 8 bytes.
 */
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

#define FOR_BMI_OPERANDS(X, name)                                                                  \
	X(name, l, r)                                                                              \
	X(name, l, m)                                                                              \
	X(name, q, r)                                                                              \
	X(name, q, m)

/* result = op(first, second) in the order of the assembler's operands after the destination. */
#define HOST_BINARY(name)                                                                          \
	asm(FLAGS_LOAD #name " %[second], %[first], %[result]" FLAGS_SAVE                          \
		: [result] "=&r"(result), "+&a"(flags)                                             \
		: [first] "r"(first), [second] "r"(second));                                       \
	flags_set_image(vcpu, flags)

/* Gy, By, Ey: ANDN, PDEP, PEXT. */
#define BINARY_B_E(name, s, k)                                                                     \
	EXEC(exec_##name##_##s##_##k)                                                              \
	{                                                                                          \
		operand_##s second = rm_read_##s##_##k(vcpu, insn);                                \
		operand_##s first = reg_read_##s(vcpu, insn->vvvv), result;                        \
		uint32_t flags = flags_image(vcpu);                                                \
                                                                                                   \
		HOST_BINARY(name);                                                                 \
		reg_write_##s(vcpu, insn->reg, result);                                            \
	}
FOR_BMI_OPERANDS(BINARY_B_E, andn)
FOR_BMI_OPERANDS(BINARY_B_E, pdep)
FOR_BMI_OPERANDS(BINARY_B_E, pext)

/* Gy, Ey, By: BEXTR, BZHI, SARX, SHLX, SHRX. */
#define BINARY_E_B(name, s, k)                                                                     \
	EXEC(exec_##name##_##s##_##k)                                                              \
	{                                                                                          \
		operand_##s first = rm_read_##s##_##k(vcpu, insn);                                 \
		operand_##s second = reg_read_##s(vcpu, insn->vvvv), result;                       \
		uint32_t flags = flags_image(vcpu);                                                \
                                                                                                   \
		HOST_BINARY(name);                                                                 \
		reg_write_##s(vcpu, insn->reg, result);                                            \
	}
FOR_BMI_OPERANDS(BINARY_E_B, bextr)
FOR_BMI_OPERANDS(BINARY_E_B, bzhi)
FOR_BMI_OPERANDS(BINARY_E_B, sarx)
FOR_BMI_OPERANDS(BINARY_E_B, shlx)
FOR_BMI_OPERANDS(BINARY_E_B, shrx)

/* By, Ey: BLSI, BLSMSK, BLSR. */
#define UNARY_B_E(name, s, k)                                                                      \
	EXEC(exec_##name##_##s##_##k)                                                              \
	{                                                                                          \
		operand_##s value = rm_read_##s##_##k(vcpu, insn), result;                         \
		uint32_t flags = flags_image(vcpu);                                                \
                                                                                                   \
		asm(FLAGS_LOAD #name " %[value], %[result]" FLAGS_SAVE                             \
			: [result] "=&r"(result), "+&a"(flags)                                     \
			: [value] "r"(value));                                                     \
		flags_set_image(vcpu, flags);                                                      \
		reg_write_##s(vcpu, insn->vvvv, result);                                           \
	}
FOR_BMI_OPERANDS(UNARY_B_E, blsi)
FOR_BMI_OPERANDS(UNARY_B_E, blsmsk)
FOR_BMI_OPERANDS(UNARY_B_E, blsr)

/* If both destinations are the same register it gets the high half. */
#define MULX(name, s, k)                                                                           \
	EXEC(exec_##name##_##s##_##k)                                                              \
	{                                                                                          \
		operand_##s value = rm_read_##s##_##k(vcpu, insn), low, high;                      \
                                                                                                   \
		asm("mulx %[value], %[low], %[high]"                                               \
			: [low] "=&r"(low), [high] "=&r"(high)                                     \
			: [value] "r"(value), "d"(reg_read_##s(vcpu, X86_RDX)));                   \
		reg_write_##s(vcpu, insn->vvvv, low);                                              \
		reg_write_##s(vcpu, insn->reg, high);                                              \
	}
FOR_BMI_OPERANDS(MULX, mulx)

#define RORX(name, s, k)                                                                           \
	EXEC(exec_##name##_##s##_##k)                                                              \
	{                                                                                          \
		operand_##s value = rm_read_##s##_##k(vcpu, insn);                                 \
		unsigned bits = 8 * sizeof(value), count = insn->imm % bits;                       \
                                                                                                   \
		reg_write_##s(vcpu, insn->reg,                                                     \
			(operand_##s)(value >> count | value << (bits - count) % bits));           \
	}
FOR_BMI_OPERANDS(RORX, rorx)
