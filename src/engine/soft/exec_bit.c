/*
 * BT, BTS, BTR, BTC, BSF, BSR, TZCNT, LZCNT, POPCNT, CRC32 (SDM 2).
 */
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

#define BITS_w 16
#define BITS_l 32
#define BITS_q 64

/* A bit offset in a register reaches memory beyond the operand, in both directions. */
static inline gva_t bit_linear(
	struct vcpu *vcpu, const struct insn *insn, unsigned bytes, enum mmu_access access)
{
	int64_t bit = (int64_t)sign_extend(vcpu->gpr[insn->reg], bytes);
	uint64_t offset = insn_offset(vcpu, insn) + ((uint64_t)(bit >> 3) & -(uint64_t)bytes);

	return segment_linear(
		vcpu, insn->segment, offset & byte_mask(insn->address_bytes), bytes, access);
}

#define BIT_TEST_VALUE(name, s)                                                                    \
	static inline operand_##s name##_##s(struct vcpu *vcpu, operand_##s a, operand_##s bit)    \
	{                                                                                          \
		uint32_t flags = flags_image(vcpu);                                                \
                                                                                                   \
		asm(FLAGS_LOAD #name " %[bit], %[a]" FLAGS_SAVE                                    \
			: [a] "+&r"(a), "+&a"(flags)                                               \
			: [bit] "r"(bit));                                                         \
		flags_set_image(vcpu, flags);                                                      \
		return a;                                                                          \
	}
#define BIT_CHANGE_MEMORY(name, s)                                                                 \
	static inline void name##_mem_##s(                                                         \
		struct vcpu *vcpu, volatile operand_##s *a, operand_##s bit, bool locked)          \
	{                                                                                          \
		uint32_t flags = flags_image(vcpu);                                                \
                                                                                                   \
		if (locked)                                                                        \
			asm volatile(FLAGS_LOAD "lock " #name " %[bit], %[a]" FLAGS_SAVE           \
				     : [a] "+m"(*a), "+&a"(flags)                                  \
				     : [bit] "r"(bit)                                              \
				     : "memory");                                                  \
		else                                                                               \
			asm volatile(FLAGS_LOAD #name " %[bit], %[a]" FLAGS_SAVE                   \
				     : [a] "+m"(*a), "+&a"(flags)                                  \
				     : [bit] "r"(bit));                                            \
		flags_set_image(vcpu, flags);                                                      \
	}

#define REG(s)            reg_read_##s(vcpu, insn->reg)
#define REG_MODULO(s)     ((operand_##s)(REG(s) % BITS_##s))
#define IMM(s)            ((operand_##s)insn->imm)
#define IMM_MODULO(s)     ((operand_##s)(insn->imm % BITS_##s))
#define ADDRESS_g(s, a)   bit_linear(vcpu, insn, sizeof(operand_##s), a)
#define ADDRESS_imm(s, a) insn_linear(vcpu, insn, sizeof(operand_##s), a)

#define BIT_TEST(source, bit, modulo, s)                                                           \
	EXEC(exec_bt_##source##_##s##_r)                                                           \
	{                                                                                          \
		bt_##s(vcpu, reg_read_##s(vcpu, insn->rm), bit(s));                                \
	}                                                                                          \
	EXEC(exec_bt_##source##_##s##_m)                                                           \
	{                                                                                          \
		gva_t address = ADDRESS_##source(s, MMU_READ);                                     \
                                                                                                   \
		bt_##s(vcpu, (operand_##s)mmu_read_sized(vcpu, address, sizeof(operand_##s)),      \
			modulo(s));                                                                \
	}
#define BIT_TEST_SIZE(s)                                                                           \
	BIT_TEST_VALUE(bt, s)                                                                      \
	BIT_TEST(g, REG, REG_MODULO, s)                                                            \
	BIT_TEST(imm, IMM, IMM_MODULO, s)
BIT_TEST_SIZE(w)
BIT_TEST_SIZE(l)
BIT_TEST_SIZE(q)

#define BIT_CHANGE(name, source, bit, modulo, s)                                                   \
	EXEC(exec_##name##_##source##_##s##_r)                                                     \
	{                                                                                          \
		reg_write_##s(                                                                     \
			vcpu, insn->rm, name##_##s(vcpu, reg_read_##s(vcpu, insn->rm), bit(s)));   \
	}                                                                                          \
	EXEC(exec_##name##_##source##_##s##_m)                                                     \
	{                                                                                          \
		struct rmw rmw;                                                                    \
		volatile operand_##s *a = rmw_begin_at(vcpu, &rmw, ADDRESS_##source(s, MMU_WRITE), \
			sizeof(*a), insn_locked(insn));                                            \
                                                                                                   \
		name##_mem_##s(vcpu, a, modulo(s), insn_locked(insn));                             \
		rmw_end(vcpu, &rmw, sizeof(*a));                                                   \
	}
#define BIT_CHANGE_SIZE(name, s)                                                                   \
	BIT_TEST_VALUE(name, s)                                                                    \
	BIT_CHANGE_MEMORY(name, s)                                                                 \
	BIT_CHANGE(name, g, REG, REG_MODULO, s)                                                    \
	BIT_CHANGE(name, imm, IMM, IMM_MODULO, s)
#define BIT_CHANGE_ALL(name)                                                                       \
	BIT_CHANGE_SIZE(name, w)                                                                   \
	BIT_CHANGE_SIZE(name, l)                                                                   \
	BIT_CHANGE_SIZE(name, q)
BIT_CHANGE_ALL(bts)
BIT_CHANGE_ALL(btr)
BIT_CHANGE_ALL(btc)

/*
 * Counts. The whole destination goes through the host's instruction, because BSF and BSR of 0 may
 * leave it alone.
 */
#define PART_w "%w"
#define PART_l "%k"
#define PART_q "%q"
#define BIT_COUNT(name, s)                                                                         \
	static inline void name##_##s(struct vcpu *vcpu, const struct insn *insn, uint64_t value)  \
	{                                                                                          \
		uint32_t flags = flags_image(vcpu);                                                \
                                                                                                   \
		asm(FLAGS_LOAD #name " " PART_##s "[value], " PART_##s "[count]" FLAGS_SAVE        \
			: [count] "+&r"(vcpu->gpr[insn->reg]), "+&a"(flags)                        \
			: [value] "r"(value));                                                     \
		flags_set_image(vcpu, flags);                                                      \
	}                                                                                          \
	EXEC(exec_##name##_##s##_r)                                                                \
	{                                                                                          \
		name##_##s(vcpu, insn, rm_read_##s##_r(vcpu, insn));                               \
	}                                                                                          \
	EXEC(exec_##name##_##s##_m)                                                                \
	{                                                                                          \
		name##_##s(vcpu, insn, rm_read_##s##_m(vcpu, insn));                               \
	}
#define BIT_COUNT_ALL(name)                                                                        \
	BIT_COUNT(name, w)                                                                         \
	BIT_COUNT(name, l)                                                                         \
	BIT_COUNT(name, q)
BIT_COUNT_ALL(bsf)
BIT_COUNT_ALL(bsr)
BIT_COUNT_ALL(tzcnt)
BIT_COUNT_ALL(lzcnt)
BIT_COUNT_ALL(popcnt)

/* The checksum is 32 bits wide whatever the operand's size is, and its upper half is cleared. */
#define CRC32(s, k)                                                                                \
	EXEC(exec_crc32_v_##s##_##k)                                                               \
	{                                                                                          \
		operand_##s value = rm_read_##s##_##k(vcpu, insn);                                 \
		uint32_t crc = (uint32_t)vcpu->gpr[insn->reg];                                     \
                                                                                                   \
		asm("crc32" #s " %[value], %[crc]" : [crc] "+r"(crc) : [value] "r"(value));        \
		vcpu->gpr[insn->reg] = crc;                                                        \
	}
CRC32(w, r)
CRC32(w, m)
CRC32(l, r)
CRC32(l, m)

#define CRC32_QUAD(k)                                                                              \
	EXEC(exec_crc32_v_q_##k)                                                                   \
	{                                                                                          \
		uint64_t value = rm_read_q_##k(vcpu, insn);                                        \
		uint64_t crc = (uint32_t)vcpu->gpr[insn->reg];                                     \
                                                                                                   \
		asm("crc32q %[value], %[crc]" : [crc] "+r"(crc) : [value] "r"(value));             \
		vcpu->gpr[insn->reg] = crc;                                                        \
	}
CRC32_QUAD(r)
CRC32_QUAD(m)

EXEC(exec_crc32_b)
{
	uint8_t value = insn->has_memory ? rm_read_b_m(vcpu, insn) : rm_read_b_r(vcpu, insn);
	uint32_t crc = (uint32_t)vcpu->gpr[insn->reg];

	asm("crc32b %[value], %[crc]" : [crc] "+r"(crc) : [value] "q"(value));
	vcpu->gpr[insn->reg] = crc;
}
