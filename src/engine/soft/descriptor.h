/*
 * Descriptors in the GDT and LDT (SDM 3A 3.4.5, 3.5), and the stacks that privilege changes push
 * on. What segment.c, far_transfer.c, exception.c and task_switch.c share.
 */
#ifndef ENGINE_SOFT_DESCRIPTOR_H
#define ENGINE_SOFT_DESCRIPTOR_H

#include "engine/soft/segment.h"

struct descriptor {
	uint64_t low;
	uint64_t high; /* of a 16-byte one; see descriptor_read_high */
	gva_t address; /* linear */
	uint16_t selector;
};

#define SELECTOR_TI  BIT(2)
#define SELECTOR_RPL BITS(1, 0)

/* Attributes of the fixed segments of SYSCALL and its like: flat, of DPL 0; code has L or D too. */
#define SEGMENT_FLAT_CODE                                                                          \
	(SEG_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_READABLE | SEG_TYPE_ACCESSED | SEG_G)
#define SEGMENT_FLAT_DATA (SEG_P | SEG_S | SEG_TYPE_WRITABLE | SEG_TYPE_ACCESSED | SEG_G | SEG_DB)

/* Descriptors of flat segments of DPL 0 as kernels have them, accessed: 64-bit code, and its stack.
 */
#define DESCRIPTOR_FLAT_CODE64 UINT64_C(0x00af9b000000ffff)
#define DESCRIPTOR_FLAT_STACK  UINT64_C(0x00cf93000000ffff)

static inline bool selector_is_null(uint16_t selector)
{
	return selector < 4;
}

/* The error code that names a selector. */
static inline uint32_t selector_error(uint16_t selector)
{
	return selector & ~SELECTOR_RPL;
}

/* False: it lies beyond the table's limit. */
bool descriptor_read(struct vcpu *vcpu, uint16_t selector, struct descriptor *descriptor);
/* Reads the second half that system descriptors have in long mode. False as above. */
bool descriptor_read_high(struct vcpu *vcpu, struct descriptor *descriptor);

/* As above, and raises `vector` naming the selector on failure. */
void descriptor_need(struct vcpu *vcpu, uint16_t selector, struct descriptor *descriptor,
	enum x86_vector vector);

static inline uint32_t descriptor_attributes(const struct descriptor *descriptor)
{
	return descriptor->low >> 40 & (SEG_TYPE | SEG_S | SEG_DPL | SEG_P | BITS(15, 12));
}

static inline unsigned attributes_type(uint32_t attributes)
{
	return attributes & SEG_TYPE;
}

static inline unsigned attributes_dpl(uint32_t attributes)
{
	return field_get(SEG_DPL, attributes);
}

static inline bool attributes_are_code(uint32_t attributes)
{
	return (attributes & (SEG_S | SEG_TYPE_CODE)) == (SEG_S | SEG_TYPE_CODE);
}

static inline bool attributes_are_writable_data(uint32_t attributes)
{
	return (attributes & (SEG_S | SEG_TYPE_CODE | SEG_TYPE_WRITABLE)) ==
	       (SEG_S | SEG_TYPE_WRITABLE);
}

static inline bool attributes_are_conforming(uint32_t attributes)
{
	return attributes & SEG_TYPE_CONFORMING;
}

/* The segment it describes, as loaded with `selector`. */
struct cpu_segment descriptor_segment(const struct descriptor *descriptor, uint16_t selector);

/* Sets the accessed bit of a code or data descriptor, in memory and here. */
void descriptor_set_accessed(struct vcpu *vcpu, struct descriptor *descriptor);
/* Changes a TSS descriptor's busy bit in memory. */
void descriptor_set_busy(struct vcpu *vcpu, const struct descriptor *descriptor, bool busy);

/* A null selector as SS in 64-bit mode at privilege `cpl`, and in a data segment register. */
struct cpu_segment segment_null(uint16_t selector, unsigned cpl);

/* CS as far transfers check it: loads, with RPL replaced by `cpl`. */
void segment_set_cs(struct vcpu *vcpu, const struct descriptor *descriptor, unsigned cpl);

/* Raises unless `offset` may become RIP in the code segment described. */
void segment_check_target(struct vcpu *vcpu, const struct cpu_segment *code, uint64_t offset);

/* Raises #GP unless code may be transferred to (without a gate); #NP if not present. Returns the
 * new CPL. `rpl` is that of the selector. */
void segment_check_code(struct vcpu *vcpu, const struct descriptor *descriptor);

/*
 * Loads SS's descriptor for privilege `cpl` (an inner stack, or an outer one on a return) and
 * checks it; raises `vector` (#TS or #GP), or #SS if not present.
 */
struct cpu_segment segment_stack(
	struct vcpu *vcpu, uint16_t selector, unsigned cpl, enum x86_vector vector);

/* In real and virtual-8086 mode. */
void segment_load_real(struct vcpu *vcpu, unsigned segment, uint16_t selector);

/* A stack in use, or about to be. */
struct stack {
	struct cpu_segment ss;
	uint64_t rsp;
	unsigned cpl;
	unsigned bytes; /* width of the pointer: 2, 4, 8 */
	uint16_t error; /* selector for #SS's error code; 0 for the current stack */
};

struct stack stack_current(struct vcpu *vcpu);
/* A pointer width by SS for a stack that is not current yet; 8 in long mode's inner stacks. */
unsigned stack_width(const struct vcpu *vcpu, const struct cpu_segment *ss);
void stack_frame_push(struct vcpu *vcpu, struct stack *stack, unsigned bytes, uint64_t value);
uint64_t stack_frame_pop(struct vcpu *vcpu, struct stack *stack, unsigned bytes);
/* Makes it the current one. */
void stack_commit(struct vcpu *vcpu, const struct stack *stack);
/* The inner stack for privilege `cpl` from the TSS (protected and long mode). */
struct stack stack_from_tss(struct vcpu *vcpu, unsigned cpl);
/* In long mode: the stack at byte `offset` of the TSS. */
struct stack stack_from_tss64(struct vcpu *vcpu, unsigned cpl, unsigned offset);

#endif
