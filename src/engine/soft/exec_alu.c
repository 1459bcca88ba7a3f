/*
 * ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, INC, DEC, NEG, NOT, ADCX and ADOX (SDM 2).
 */
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

/*
 * NAME_s: the operation on values, with the host's flags. NAME_mem_s: on memory that is written,
 * plain or locked. LOAD brings in the flags that the operation reads or preserves.
 */
#define FLAGS_IN(load) (sizeof(load) > 1 ? flags_image(vcpu) : 0)

#define BINARY(name, load, s)                                                                      \
	static inline operand_##s name##_##s(struct vcpu *vcpu, operand_##s a, operand_##s b)      \
	{                                                                                          \
		uint32_t flags = FLAGS_IN(load);                                                   \
                                                                                                   \
		asm(load #name " %[b], %[a]" FLAGS_SAVE                                            \
			: [a] "+&r"(a), "+&a"(flags)                                               \
			: [b] "r"(b));                                                             \
		flags_set_image(vcpu, flags);                                                      \
		return a;                                                                          \
	}
#define BINARY_MEM(name, load, s)                                                                  \
	static inline void name##_mem_##s(                                                         \
		struct vcpu *vcpu, volatile operand_##s *a, operand_##s b, bool locked)            \
	{                                                                                          \
		uint32_t flags = FLAGS_IN(load);                                                   \
                                                                                                   \
		if (locked)                                                                        \
			asm volatile(load "lock " #name " %[b], %[a]" FLAGS_SAVE                   \
				     : [a] "+m"(*a), "+&a"(flags)                                  \
				     : [b] "r"(b)                                                  \
				     : "memory");                                                  \
		else                                                                               \
			asm volatile(load #name " %[b], %[a]" FLAGS_SAVE                           \
				     : [a] "+m"(*a), "+&a"(flags)                                  \
				     : [b] "r"(b));                                                \
		flags_set_image(vcpu, flags);                                                      \
	}
#define UNARY(name, load, s)                                                                       \
	static inline operand_##s name##_##s(struct vcpu *vcpu, operand_##s a)                     \
	{                                                                                          \
		uint32_t flags = FLAGS_IN(load);                                                   \
                                                                                                   \
		asm(load #name " %[a]" FLAGS_SAVE : [a] "+&r"(a), "+&a"(flags));                   \
		flags_set_image(vcpu, flags);                                                      \
		return a;                                                                          \
	}
#define SUFFIX_b "b"
#define SUFFIX_w "w"
#define SUFFIX_l "l"
#define SUFFIX_q "q"
#define UNARY_MEM(name, load, s)                                                                   \
	static inline void name##_mem_##s(struct vcpu *vcpu, volatile operand_##s *a, bool locked) \
	{                                                                                          \
		uint32_t flags = FLAGS_IN(load);                                                   \
                                                                                                   \
		if (locked)                                                                        \
			asm volatile(load "lock " #name SUFFIX_##s " %[a]" FLAGS_SAVE              \
				     : [a] "+m"(*a), "+&a"(flags)                                  \
				     :                                                             \
				     : "memory");                                                  \
		else                                                                               \
			asm volatile(load #name SUFFIX_##s " %[a]" FLAGS_SAVE                      \
				     : [a] "+m"(*a), "+&a"(flags));                                \
		flags_set_image(vcpu, flags);                                                      \
	}

/* exec_NAME_e_SOURCE for a destination that is written. */
#define WRITE_R(name, source, value, s)                                                            \
	EXEC(exec_##name##_e_##source##_##s##_r)                                                   \
	{                                                                                          \
		reg_write_##s(                                                                     \
			vcpu, insn->rm, name##_##s(vcpu, reg_read_##s(vcpu, insn->rm), value));    \
	}
#define WRITE_M(name, source, value, s)                                                            \
	EXEC(exec_##name##_e_##source##_##s##_m)                                                   \
	{                                                                                          \
		struct rmw rmw;                                                                    \
		volatile operand_##s *a =                                                          \
			rmw_begin(vcpu, insn, &rmw, sizeof(*a), insn_locked(insn));                \
                                                                                                   \
		name##_mem_##s(vcpu, a, value, insn_locked(insn));                                 \
		rmw_end(vcpu, &rmw, sizeof(*a));                                                   \
	}
#define READ(name, source, value, s, k)                                                            \
	EXEC(exec_##name##_e_##source##_##s##_##k)                                                 \
	{                                                                                          \
		name##_##s(vcpu, rm_read_##s##_##k(vcpu, insn), value);                            \
	}
#define G_E(name, s, k)                                                                            \
	EXEC(exec_##name##_g_e_##s##_##k)                                                          \
	{                                                                                          \
		operand_##s b = rm_read_##s##_##k(vcpu, insn);                                     \
                                                                                                   \
		reg_write_##s(                                                                     \
			vcpu, insn->reg, name##_##s(vcpu, reg_read_##s(vcpu, insn->reg), b));      \
	}
#define UNARY_E(name, s)                                                                           \
	EXEC(exec_##name##_##s##_r)                                                                \
	{                                                                                          \
		reg_write_##s(vcpu, insn->rm, name##_##s(vcpu, reg_read_##s(vcpu, insn->rm)));     \
	}                                                                                          \
	EXEC(exec_##name##_##s##_m)                                                                \
	{                                                                                          \
		struct rmw rmw;                                                                    \
		volatile operand_##s *a =                                                          \
			rmw_begin(vcpu, insn, &rmw, sizeof(*a), insn_locked(insn));                \
                                                                                                   \
		name##_mem_##s(vcpu, a, insn_locked(insn));                                        \
		rmw_end(vcpu, &rmw, sizeof(*a));                                                   \
	}

#define REG(s) reg_read_##s(vcpu, insn->reg)
#define IMM(s) (operand_##s) insn->imm

#define ARITHMETIC_SIZE(name, load, s)                                                             \
	BINARY(name, load, s)                                                                      \
	BINARY_MEM(name, load, s)                                                                  \
	WRITE_R(name, g, REG(s), s)                                                                \
	WRITE_M(name, g, REG(s), s)                                                                \
	WRITE_R(name, i, IMM(s), s)                                                                \
	WRITE_M(name, i, IMM(s), s)                                                                \
	G_E(name, s, r)                                                                            \
	G_E(name, s, m)
#define ARITHMETIC(name, load)                                                                     \
	ARITHMETIC_SIZE(name, load, b)                                                             \
	ARITHMETIC_SIZE(name, load, w)                                                             \
	ARITHMETIC_SIZE(name, load, l)                                                             \
	ARITHMETIC_SIZE(name, load, q)

ARITHMETIC(add, "")
ARITHMETIC(or, "")
ARITHMETIC(adc, FLAGS_LOAD_CF)
ARITHMETIC(sbb, FLAGS_LOAD_CF)
ARITHMETIC(and, "")
ARITHMETIC(sub, "")
ARITHMETIC(xor, "")

/* CMP, TEST: the destination is only read. */
#define COMPARE_SIZE(name, s)                                                                      \
	BINARY(name, "", s)                                                                        \
	READ(name, g, REG(s), s, r)                                                                \
	READ(name, g, REG(s), s, m)                                                                \
	READ(name, i, IMM(s), s, r)                                                                \
	READ(name, i, IMM(s), s, m)
#define COMPARE(name)                                                                              \
	COMPARE_SIZE(name, b)                                                                      \
	COMPARE_SIZE(name, w)                                                                      \
	COMPARE_SIZE(name, l)                                                                      \
	COMPARE_SIZE(name, q)

COMPARE(cmp)
COMPARE(test)

#define CMP_G_E(s, k)                                                                              \
	EXEC(exec_cmp_g_e_##s##_##k)                                                               \
	{                                                                                          \
		operand_##s b = rm_read_##s##_##k(vcpu, insn);                                     \
                                                                                                   \
		cmp_##s(vcpu, reg_read_##s(vcpu, insn->reg), b);                                   \
	}
FOR_OPERANDS(CMP_G_E)

#define UNARY_SIZE(name, load, s)                                                                  \
	UNARY(name, load, s)                                                                       \
	UNARY_MEM(name, load, s)                                                                   \
	UNARY_E(name, s)
#define UNARY_ALL(name, load)                                                                      \
	UNARY_SIZE(name, load, b)                                                                  \
	UNARY_SIZE(name, load, w)                                                                  \
	UNARY_SIZE(name, load, l)                                                                  \
	UNARY_SIZE(name, load, q)

UNARY_ALL(inc, FLAGS_LOAD_CF)
UNARY_ALL(dec, FLAGS_LOAD_CF)
UNARY_ALL(neg, "")
UNARY_ALL(not, FLAGS_LOAD)

/* 40..4F outside 64-bit mode: the register is in the opcode. */
#define UNARY_Z(name, s)                                                                           \
	EXEC(exec_##name##_r_##s##_r)                                                              \
	{                                                                                          \
		reg_write_##s(vcpu, insn->reg, name##_##s(vcpu, reg_read_##s(vcpu, insn->reg)));   \
	}
UNARY_Z(inc, w)
UNARY_Z(inc, l)
UNARY_Z(dec, w)
UNARY_Z(dec, l)

/* ADCX, ADOX: one carry chain each, the other flags stay. */
#define CARRY_CHAIN_E(name, s, k)                                                                  \
	EXEC(exec_##name##_##s##_##k)                                                              \
	{                                                                                          \
		operand_##s b = rm_read_##s##_##k(vcpu, insn);                                     \
                                                                                                   \
		reg_write_##s(                                                                     \
			vcpu, insn->reg, name##_##s(vcpu, reg_read_##s(vcpu, insn->reg), b));      \
	}
#define CARRY_CHAIN(name, s)                                                                       \
	BINARY(name, FLAGS_LOAD, s)                                                                \
	CARRY_CHAIN_E(name, s, r)                                                                  \
	CARRY_CHAIN_E(name, s, m)
CARRY_CHAIN(adcx, l)
CARRY_CHAIN(adcx, q)
CARRY_CHAIN(adox, l)
CARRY_CHAIN(adox, q)
