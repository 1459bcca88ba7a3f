/*
 * Typed operands for the integer instructions' functions (exec_*.c).
 *
 * An instruction with a ModRM operand has a function for each operand size (b, w, l, q) and kind of
 * operand (r: register, m: memory), exec_NAME_{b,w,l,q}_{r,m}; the decoder picks one, so that
 * sizes are constants where they are used. A definition is a macro of size and kind, instantiated
 * by FOR_OPERANDS.
 */
#ifndef ENGINE_SOFT_OPERAND_H
#define ENGINE_SOFT_OPERAND_H

#include "engine/soft/execute.h"

/* Opens the definition of an instruction's function. */
#define EXEC(name)                                                                                 \
	insn_exec name;                                                                            \
	void name(struct vcpu *vcpu, const struct insn *insn)

#define ALWAYS_INLINE       inline __attribute__((always_inline))
#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

#define FOR_WIDE_SIZES(X) X(w) X(l) X(q)
#define FOR_SIZES(X)      X(b) FOR_WIDE_SIZES(X)

#define FOR_WIDE_OPERANDS(X)                                                                       \
	X(w, r)                                                                                    \
	X(l, r)                                                                                    \
	X(q, r)                                                                                    \
	X(w, m)                                                                                    \
	X(l, m)                                                                                    \
	X(q, m)
#define FOR_OPERANDS(X)                                                                            \
	X(b, r)                                                                                    \
	X(b, m)                                                                                    \
	FOR_WIDE_OPERANDS(X)

/* Guest operands have any alignment. */
typedef uint8_t operand_b;
typedef uint16_t operand_w __attribute__((aligned(1)));
typedef uint32_t operand_l __attribute__((aligned(1)));
typedef uint64_t operand_q __attribute__((aligned(1)));

#define NOT_DIRECT BIT(63) /* not canonical, so never in the TLB */

/*
 * The linear address of the memory operand if nothing but paging has to judge it, unchecked: it may
 * be used only where the TLB has it.
 */
static ALWAYS_INLINE gva_t insn_direct(const struct vcpu *vcpu, const struct insn *insn)
{
	uint64_t offset = insn_offset(vcpu, insn);

	if (unlikely(!(vcpu->mode.direct_segments >> insn->segment & 1)))
		return NOT_DIRECT;
	if (unlikely(insn->segment >= X86_FS))
		offset += vcpu->segment[insn->segment].base;
	return offset;
}

/* Where `address` is in host memory, or NULL if the TLB does not say. */
static ALWAYS_INLINE void *read_direct(const struct vcpu *vcpu, gva_t address, unsigned size)
{
	const struct tlb_entry *entry = &vcpu->tlb_data[tlb_index(address)];
	uint64_t tag = atomic_load_explicit(&entry->read_tag, memory_order_relaxed);

	if (unlikely(!mmu_tag_matches(tag, address, size)))
		return NULL;
	return (void *)(uintptr_t)(address + entry->addend);
}

static ALWAYS_INLINE void *write_direct(const struct vcpu *vcpu, gva_t address, unsigned size)
{
	const struct tlb_entry *entry = &vcpu->tlb_data[tlb_index(address)];
	uint64_t tag = atomic_load_explicit(&entry->write_tag, memory_order_relaxed);

	if (unlikely(!mmu_tag_matches(tag, address, size)))
		return NULL;
	return (void *)(uintptr_t)(address + entry->addend);
}

/* Every other case of a ModRM memory operand. */
uint64_t operand_read_slow(struct vcpu *vcpu, const struct insn *insn, unsigned size);
void operand_write_slow(struct vcpu *vcpu, const struct insn *insn, unsigned size, uint64_t value);

/*
 * A memory operand that is read, then written. rmw_begin returns where: guest RAM where one host
 * instruction can do the access (and so be atomic), else a copy that rmw_end writes back, under the
 * engine's split lock if the instruction is locked. rmw_begin raises whatever the write would
 * raise, so that rmw_end does not, unless another vCPU changes the page tables in between.
 */
struct rmw {
	bool direct; /* nothing to do at the end; else the rest is valid */
	bool locked, copied;
	gva_t address;
	gpa_t physical; /* of RAM that holds code, if not copied */
	uint64_t copy[2] __attribute__((aligned(16)));
};

volatile void *rmw_begin_at(
	struct vcpu *vcpu, struct rmw *rmw, gva_t address, unsigned size, bool locked);
volatile void *rmw_begin_slow(
	struct vcpu *vcpu, const struct insn *insn, struct rmw *rmw, unsigned size, bool locked);
void rmw_end_slow(struct vcpu *vcpu, struct rmw *rmw, unsigned size);
/* Ends a locked access that raised in the middle; vcpu->split_locked is set. */
void rmw_unlock(struct vcpu *vcpu);

static ALWAYS_INLINE bool insn_locked(const struct insn *insn)
{
	return insn->prefixes & PREFIX_LOCK;
}

static ALWAYS_INLINE volatile void *rmw_begin(
	struct vcpu *vcpu, const struct insn *insn, struct rmw *rmw, unsigned size, bool locked)
{
	void *host = write_direct(vcpu, insn_direct(vcpu, insn), size);

	rmw->direct = true;
	return likely(host) ? host : rmw_begin_slow(vcpu, insn, rmw, size, locked);
}

static ALWAYS_INLINE void rmw_end(struct vcpu *vcpu, struct rmw *rmw, unsigned size)
{
	if (unlikely(!rmw->direct))
		rmw_end_slow(vcpu, rmw, size);
}

/* One access of 1, 2, 4 or 8 bytes. */
static inline uint64_t mmu_read_sized(struct vcpu *vcpu, gva_t address, unsigned bytes)
{
	switch (bytes) {
	case 1: return mmu_read_u8(vcpu, address);
	case 2: return mmu_read_u16(vcpu, address);
	case 4: return mmu_read_u32(vcpu, address);
	default: return mmu_read_u64(vcpu, address);
	}
}

static inline void mmu_write_sized(struct vcpu *vcpu, gva_t address, unsigned bytes, uint64_t value)
{
	switch (bytes) {
	case 1: mmu_write_u8(vcpu, address, (uint8_t)value); break;
	case 2: mmu_write_u16(vcpu, address, (uint16_t)value); break;
	case 4: mmu_write_u32(vcpu, address, (uint32_t)value); break;
	default: mmu_write_u64(vcpu, address, value);
	}
}

/* The stack in 64-bit mode; stack_push and stack_peek know the other modes, too. */
static ALWAYS_INLINE void push_quad(struct vcpu *vcpu, uint64_t value)
{
	uint64_t rsp = vcpu->gpr[X86_RSP] - 8;
	volatile operand_q *top = write_direct(vcpu, rsp, 8);

	if (unlikely(!top)) {
		stack_push(vcpu, 8, value);
		return;
	}
	*top = value;
	vcpu->gpr[X86_RSP] = rsp;
}

static ALWAYS_INLINE uint64_t peek_quad(struct vcpu *vcpu)
{
	const volatile operand_q *top = read_direct(vcpu, vcpu->gpr[X86_RSP], 8);

	return likely(top) ? *top : stack_peek(vcpu, 8, 0);
}

#define OPERAND_ACCESS(s, bits)                                                                    \
	static inline operand_##s reg_read_##s(struct vcpu *vcpu, unsigned n)                      \
	{                                                                                          \
		return (operand_##s)gpr_read(vcpu, n, bits / 8);                                   \
	}                                                                                          \
	static inline void reg_write_##s(struct vcpu *vcpu, unsigned n, operand_##s value)         \
	{                                                                                          \
		gpr_write(vcpu, n, bits / 8, value);                                               \
	}                                                                                          \
	static inline operand_##s rm_read_##s##_r(struct vcpu *vcpu, const struct insn *insn)      \
	{                                                                                          \
		return reg_read_##s(vcpu, insn->rm);                                               \
	}                                                                                          \
	static ALWAYS_INLINE operand_##s rm_read_##s##_m(                                          \
		struct vcpu *vcpu, const struct insn *insn)                                        \
	{                                                                                          \
		gva_t address = insn_direct(vcpu, insn);                                           \
		const volatile operand_##s *host = read_direct(vcpu, address, bits / 8);           \
                                                                                                   \
		return likely(host) ? *host                                                        \
				    : (operand_##s)operand_read_slow(vcpu, insn, bits / 8);        \
	}                                                                                          \
	static inline void rm_write_##s##_r(                                                       \
		struct vcpu *vcpu, const struct insn *insn, operand_##s value)                     \
	{                                                                                          \
		reg_write_##s(vcpu, insn->rm, value);                                              \
	}                                                                                          \
	static ALWAYS_INLINE void rm_write_##s##_m(                                                \
		struct vcpu *vcpu, const struct insn *insn, operand_##s value)                     \
	{                                                                                          \
		gva_t address = insn_direct(vcpu, insn);                                           \
		volatile operand_##s *host = write_direct(vcpu, address, bits / 8);                \
                                                                                                   \
		if (likely(host))                                                                  \
			*host = value;                                                             \
		else                                                                               \
			operand_write_slow(vcpu, insn, bits / 8, value);                           \
	}
OPERAND_ACCESS(b, 8)
OPERAND_ACCESS(w, 16)
OPERAND_ACCESS(l, 32)
OPERAND_ACCESS(q, 64)
#undef OPERAND_ACCESS

#endif
