/*
 * Far jumps, calls and returns, call gates, and IRET in every mode (SDM 2: CALL, IRET, JMP, RET;
 * SDM 3A 5.8, 20.2, 20.3.3). All checks come before the first change.
 */
#include "engine/soft/descriptor.h"
#include "engine/soft/execute.h"

static bool in_real_or_virtual_mode(const struct vcpu *vcpu)
{
	return !vcpu->mode.protected_mode || vcpu->mode.virtual_8086;
}

static void skip(struct stack *stack, unsigned bytes)
{
	uint64_t mask = byte_mask(stack->bytes);

	stack->rsp = (stack->rsp & ~mask) | ((stack->rsp + bytes) & mask);
}

static void go_real(struct vcpu *vcpu, uint16_t selector, uint64_t offset)
{
	segment_load_real(vcpu, X86_CS, selector);
	vcpu->next_rip = offset;
	vcpu_update_mode(vcpu);
}

static void check_real_target(struct vcpu *vcpu, uint64_t offset)
{
	if (offset > vcpu->segment[X86_CS].limit)
		cpu_raise_error(vcpu, X86_GP, 0);
}

static void go(struct vcpu *vcpu, struct descriptor *code, unsigned cpl, uint64_t offset)
{
	segment_set_cs(vcpu, code, cpl);
	vcpu->next_rip = offset;
	vcpu_update_mode(vcpu);
}

static void push_return(struct vcpu *vcpu, struct stack *stack, unsigned bytes)
{
	stack_frame_push(vcpu, stack, bytes, vcpu->segment[X86_CS].selector);
	stack_frame_push(vcpu, stack, bytes, vcpu->next_rip);
}

/* A code segment named by the instruction itself. */
static void to_code(struct vcpu *vcpu, struct descriptor *code, uint64_t offset,
	unsigned operand_bytes, bool is_call)
{
	struct cpu_segment target = descriptor_segment(code, code->selector);
	struct stack stack = stack_current(vcpu);

	segment_check_code(vcpu, code);
	segment_check_target(vcpu, &target, offset);
	descriptor_set_accessed(vcpu, code);
	if (is_call) {
		push_return(vcpu, &stack, operand_bytes);
		stack_commit(vcpu, &stack);
	}
	go(vcpu, code, vcpu->mode.cpl, offset);
}

struct call_gate {
	uint16_t selector;
	uint64_t offset;
	unsigned bytes; /* of an operand: 2, 4, 8 */
	unsigned parameters;
};

static struct call_gate read_call_gate(struct vcpu *vcpu, struct descriptor *gate)
{
	bool is_wide = attributes_type(descriptor_attributes(gate)) == SEG_TYPE_CALL;
	struct call_gate call = {
		.selector = gate->low >> 16 & 0xffff,
		.offset = gate->low & 0xffff,
		.bytes = is_wide ? 4 : 2,
		.parameters = gate->low >> 32 & 0x1f,
	};

	if (is_wide)
		call.offset |= gate->low >> 32 & 0xffff0000;
	if (!vcpu->mode.long_mode)
		return call;
	if (!descriptor_read_high(vcpu, gate) || gate->high & BITS(44, 40))
		cpu_raise_error(vcpu, X86_GP, selector_error(gate->selector));
	call.offset |= gate->high << 32;
	call.bytes = 8;
	call.parameters = 0;
	return call;
}

static void check_gate_code(struct vcpu *vcpu, const struct descriptor *code, bool is_call)
{
	uint32_t attributes = descriptor_attributes(code);
	unsigned dpl = attributes_dpl(attributes);
	bool inner = !attributes_are_conforming(attributes) && dpl < vcpu->mode.cpl;

	if (!attributes_are_code(attributes) || dpl > vcpu->mode.cpl || (inner && !is_call) ||
		(vcpu->mode.long_mode && (attributes & (SEG_L | SEG_DB)) != SEG_L))
		cpu_raise_error(vcpu, X86_GP, selector_error(code->selector));
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, selector_error(code->selector));
}

/* Calls more privileged code: its stack gets the old one's address and parameters. */
static void call_inner(
	struct vcpu *vcpu, const struct call_gate *call, struct descriptor *code, unsigned cpl)
{
	struct stack old = stack_current(vcpu);
	struct stack stack = stack_from_tss(vcpu, cpl);
	uint64_t parameters[31];

	for (unsigned i = 0; i < call->parameters; i++)
		parameters[i] = stack_frame_pop(vcpu, &old, call->bytes);
	stack_frame_push(vcpu, &stack, call->bytes, vcpu->segment[X86_SS].selector);
	stack_frame_push(vcpu, &stack, call->bytes, vcpu->gpr[X86_RSP]);
	for (unsigned i = call->parameters; i-- > 0;)
		stack_frame_push(vcpu, &stack, call->bytes, parameters[i]);
	push_return(vcpu, &stack, call->bytes);
	stack_commit(vcpu, &stack);
	go(vcpu, code, cpl, call->offset);
}

static void through_call_gate(struct vcpu *vcpu, struct descriptor *gate, bool is_call)
{
	struct call_gate call = read_call_gate(vcpu, gate);
	struct cpu_segment target;
	struct descriptor code;
	struct stack stack;
	unsigned dpl;

	if (selector_is_null(call.selector))
		cpu_raise_error(vcpu, X86_GP, 0);
	descriptor_need(vcpu, call.selector, &code, X86_GP);
	check_gate_code(vcpu, &code, is_call);
	target = descriptor_segment(&code, call.selector);
	segment_check_target(vcpu, &target, call.offset);
	descriptor_set_accessed(vcpu, &code);
	dpl = attributes_dpl(target.attributes);
	if (!attributes_are_conforming(target.attributes) && dpl < vcpu->mode.cpl) {
		call_inner(vcpu, &call, &code, dpl);
		return;
	}
	if (is_call) {
		stack = stack_current(vcpu);
		push_return(vcpu, &stack, call.bytes);
		stack_commit(vcpu, &stack);
	}
	go(vcpu, &code, vcpu->mode.cpl, call.offset);
}

static void check_gate_privilege(struct vcpu *vcpu, const struct descriptor *gate)
{
	uint32_t attributes = descriptor_attributes(gate);
	unsigned dpl = attributes_dpl(attributes);

	if (dpl < vcpu->mode.cpl || dpl < (gate->selector & SELECTOR_RPL))
		cpu_raise_error(vcpu, X86_GP, selector_error(gate->selector));
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, selector_error(gate->selector));
}

static void to_system_descriptor(struct vcpu *vcpu, struct descriptor *gate, bool is_call)
{
	enum task_switch_cause cause = is_call ? TASK_SWITCH_CALL : TASK_SWITCH_JUMP;
	unsigned type = attributes_type(descriptor_attributes(gate));
	bool legacy = !vcpu->mode.long_mode;

	if (type == SEG_TYPE_CALL || (type == SEG_TYPE_CALL16 && legacy)) {
		check_gate_privilege(vcpu, gate);
		through_call_gate(vcpu, gate, is_call);
	} else if (type == SEG_TYPE_TASK_GATE && legacy) {
		check_gate_privilege(vcpu, gate);
		task_switch(vcpu, gate->low >> 16 & 0xffff, cause, -1);
	} else if ((type == SEG_TYPE_TSS16_FREE || type == SEG_TYPE_TSS_FREE) && legacy) {
		check_gate_privilege(vcpu, gate);
		task_switch(vcpu, gate->selector, cause, -1);
	} else {
		cpu_raise_error(vcpu, X86_GP, selector_error(gate->selector));
	}
}

static void transfer(
	struct vcpu *vcpu, uint16_t selector, uint64_t offset, unsigned operand_bytes, bool is_call)
{
	struct descriptor descriptor;

	if (selector_is_null(selector))
		cpu_raise_error(vcpu, X86_GP, 0);
	descriptor_need(vcpu, selector, &descriptor, X86_GP);
	if (descriptor_attributes(&descriptor) & SEG_S)
		to_code(vcpu, &descriptor, offset, operand_bytes, is_call);
	else
		to_system_descriptor(vcpu, &descriptor, is_call);
}

void far_jump(struct vcpu *vcpu, uint16_t selector, uint64_t offset, unsigned operand_bytes)
{
	if (!in_real_or_virtual_mode(vcpu)) {
		transfer(vcpu, selector, offset, operand_bytes, false);
		return;
	}
	check_real_target(vcpu, offset);
	go_real(vcpu, selector, offset);
}

void far_call(struct vcpu *vcpu, uint16_t selector, uint64_t offset, unsigned operand_bytes)
{
	struct stack stack;

	if (!in_real_or_virtual_mode(vcpu)) {
		transfer(vcpu, selector, offset, operand_bytes, true);
		return;
	}
	check_real_target(vcpu, offset);
	stack = stack_current(vcpu);
	push_return(vcpu, &stack, operand_bytes);
	stack_commit(vcpu, &stack);
	go_real(vcpu, selector, offset);
}

/* The code segment that a return names in RPL's privilege. */
static void check_return_code(
	struct vcpu *vcpu, uint16_t selector, struct descriptor *code, uint64_t rip)
{
	unsigned rpl = selector & SELECTOR_RPL;
	uint32_t error = selector_error(selector);
	struct cpu_segment target;
	uint32_t attributes;
	unsigned dpl;

	if (selector_is_null(selector))
		cpu_raise_error(vcpu, X86_GP, 0);
	descriptor_need(vcpu, selector, code, X86_GP);
	attributes = descriptor_attributes(code);
	dpl = attributes_dpl(attributes);
	if (!attributes_are_code(attributes) || rpl < vcpu->mode.cpl ||
		(attributes_are_conforming(attributes) ? dpl > rpl : dpl != rpl) ||
		(vcpu->mode.long_mode && (attributes & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB)))
		cpu_raise_error(vcpu, X86_GP, error);
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, error);
	target = descriptor_segment(code, selector);
	segment_check_target(vcpu, &target, rip);
	descriptor_set_accessed(vcpu, code);
}

/* The stack that a return goes back to, at the privilege and into the mode of its code. */
static struct stack return_stack(
	struct vcpu *vcpu, const struct descriptor *code, uint16_t selector, uint64_t rsp)
{
	unsigned cpl = code->selector & SELECTOR_RPL;
	bool to_64bit = vcpu->mode.long_mode && descriptor_attributes(code) & SEG_L;
	struct stack stack = { .rsp = rsp, .cpl = cpl };

	if (selector_is_null(selector) && !to_64bit)
		cpu_raise_error(vcpu, X86_GP, 0);
	stack.ss = segment_stack(vcpu, selector, cpl, X86_GP);
	stack.bytes = to_64bit ? 8 : stack.ss.attributes & SEG_DB ? 4 : 2;
	return stack;
}

/* Data segments that the outer privilege may not use become null (SDM 3A 5.8.6). */
static void drop_inner_segments(struct vcpu *vcpu)
{
	static const uint8_t data[] = { X86_ES, X86_FS, X86_GS, X86_DS };
	bool dropped = false;

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		struct cpu_segment *segment = &vcpu->segment[data[i]];
		uint32_t attributes = segment->attributes;
		bool conforming = attributes & SEG_TYPE_CODE && attributes & SEG_TYPE_CONFORMING;

		if (!(attributes & SEG_UNUSABLE) && !conforming &&
			attributes_dpl(attributes) < vcpu->mode.cpl) {
			*segment = segment_null(0, 0);
			dropped = true;
		}
	}
	if (dropped)
		vcpu_update_mode(vcpu);
}

static void return_real(struct vcpu *vcpu, unsigned operand_bytes, unsigned pop_bytes)
{
	struct stack stack = stack_current(vcpu);
	uint64_t rip = stack_frame_pop(vcpu, &stack, operand_bytes);
	uint16_t selector = stack_frame_pop(vcpu, &stack, operand_bytes);

	check_real_target(vcpu, rip);
	skip(&stack, pop_bytes);
	stack_commit(vcpu, &stack);
	go_real(vcpu, selector, rip);
}

void far_return(struct vcpu *vcpu, unsigned operand_bytes, unsigned pop_bytes)
{
	struct stack stack = stack_current(vcpu), outer;
	struct descriptor code;
	uint64_t rip, rsp;
	uint16_t selector;
	unsigned rpl;

	if (in_real_or_virtual_mode(vcpu)) {
		return_real(vcpu, operand_bytes, pop_bytes);
		return;
	}
	rip = stack_frame_pop(vcpu, &stack, operand_bytes);
	selector = stack_frame_pop(vcpu, &stack, operand_bytes);
	check_return_code(vcpu, selector, &code, rip);
	rpl = selector & SELECTOR_RPL;
	skip(&stack, pop_bytes);
	if (rpl == vcpu->mode.cpl) {
		stack_commit(vcpu, &stack);
		go(vcpu, &code, rpl, rip);
		return;
	}
	rsp = stack_frame_pop(vcpu, &stack, operand_bytes);
	selector = stack_frame_pop(vcpu, &stack, operand_bytes);
	outer = return_stack(vcpu, &code, selector, rsp);
	skip(&outer, pop_bytes);
	stack_commit(vcpu, &outer);
	go(vcpu, &code, rpl, rip);
	drop_inner_segments(vcpu);
}

/* The flags that IRET may change at the privilege it is executed at. */
static uint64_t iret_flags(const struct vcpu *vcpu, unsigned operand_bytes)
{
	uint64_t writable = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;

	if (operand_bytes > 2)
		writable |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
	if (vcpu->mode.cpl <= field_get(RFLAGS_IOPL, vcpu->flags_system))
		writable |= RFLAGS_IF;
	if (vcpu->mode.cpl == 0) {
		writable |= RFLAGS_IOPL;
		if (operand_bytes > 2)
			writable |= RFLAGS_VIF | RFLAGS_VIP;
	}
	return writable;
}

static void set_flags(struct vcpu *vcpu, uint64_t image, uint64_t writable)
{
	uint64_t rflags = vcpu_rflags(vcpu);

	vcpu_set_rflags(vcpu, (rflags & ~writable) | (image & writable));
}

static void iret_real(struct vcpu *vcpu, unsigned operand_bytes)
{
	struct stack stack = stack_current(vcpu);
	uint64_t rip = stack_frame_pop(vcpu, &stack, operand_bytes);
	uint16_t selector = stack_frame_pop(vcpu, &stack, operand_bytes);
	uint64_t image = stack_frame_pop(vcpu, &stack, operand_bytes);
	uint64_t writable = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_NT;

	if (!vcpu->mode.virtual_8086)
		writable |= RFLAGS_IOPL;
	if (operand_bytes > 2)
		writable |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
	check_real_target(vcpu, rip);
	stack_commit(vcpu, &stack);
	go_real(vcpu, selector, rip);
	set_flags(vcpu, image, writable);
}

/* With VME the virtual-8086 program's IF is VIF. */
static void iret_vme(struct vcpu *vcpu)
{
	struct stack stack = stack_current(vcpu);
	uint64_t rip = stack_frame_pop(vcpu, &stack, 2);
	uint16_t selector = stack_frame_pop(vcpu, &stack, 2);
	uint64_t image = stack_frame_pop(vcpu, &stack, 2);

	if (image & RFLAGS_TF || (image & RFLAGS_IF && vcpu->flags_system & RFLAGS_VIP))
		cpu_raise_error(vcpu, X86_GP, 0);
	check_real_target(vcpu, rip);
	image = field_set(RFLAGS_VIF, image, (image & RFLAGS_IF) != 0);
	stack_commit(vcpu, &stack);
	go_real(vcpu, selector, rip);
	set_flags(vcpu, image, RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_VIF);
}

static void iret_virtual_8086(struct vcpu *vcpu, unsigned operand_bytes)
{
	if (field_get(RFLAGS_IOPL, vcpu->flags_system) == 3)
		iret_real(vcpu, operand_bytes);
	else if (vcpu->cr4 & CR4_VME && operand_bytes == 2)
		iret_vme(vcpu);
	else
		cpu_raise_error(vcpu, X86_GP, 0);
}

static void iret_to_virtual_8086(
	struct vcpu *vcpu, struct stack *stack, uint16_t cs, uint64_t rip, uint64_t image)
{
	static const uint8_t order[] = { X86_SS, X86_ES, X86_DS, X86_FS, X86_GS };
	uint16_t selectors[ARRAY_SIZE(order)];
	uint32_t esp = stack_frame_pop(vcpu, stack, 4);

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		selectors[i] = stack_frame_pop(vcpu, stack, 4);
	if ((uint32_t)rip > 0xffff)
		cpu_raise_error(vcpu, X86_GP, 0);
	vcpu_set_rflags(vcpu, image);
	segment_load_real(vcpu, X86_CS, cs);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		segment_load_real(vcpu, order[i], selectors[i]);
	vcpu->gpr[X86_RSP] = esp;
	vcpu->next_rip = (uint32_t)rip;
	vcpu_update_mode(vcpu);
}

static void iret_task(struct vcpu *vcpu)
{
	uint16_t link;

	if (vcpu->mode.long_mode)
		cpu_raise_error(vcpu, X86_GP, 0);
	link = mmu_system_read(vcpu, (uint32_t)vcpu->segment[X86_TR].base, 2);
	task_switch(vcpu, link, TASK_SWITCH_RETURN, -1);
}

static void iret_protected(struct vcpu *vcpu, unsigned operand_bytes)
{
	struct stack stack = stack_current(vcpu), outer = stack;
	uint64_t rip = stack_frame_pop(vcpu, &stack, operand_bytes);
	uint16_t selector = stack_frame_pop(vcpu, &stack, operand_bytes);
	uint64_t image = stack_frame_pop(vcpu, &stack, operand_bytes);
	uint64_t writable = iret_flags(vcpu, operand_bytes);
	unsigned rpl = selector & SELECTOR_RPL;
	struct descriptor code;
	bool to_outer;

	if (image & RFLAGS_VM && operand_bytes == 4 && vcpu->mode.cpl == 0 &&
		!vcpu->mode.long_mode) {
		iret_to_virtual_8086(vcpu, &stack, selector, rip, image);
		return;
	}
	check_return_code(vcpu, selector, &code, rip);
	to_outer = rpl != vcpu->mode.cpl;
	if (to_outer || vcpu->mode.insn == INSN_MODE_64) {
		uint64_t rsp = stack_frame_pop(vcpu, &stack, operand_bytes);
		uint16_t ss = stack_frame_pop(vcpu, &stack, operand_bytes);

		outer = return_stack(vcpu, &code, ss, rsp);
	} else {
		outer = stack;
	}
	stack_commit(vcpu, &outer);
	go(vcpu, &code, rpl, rip);
	set_flags(vcpu, image, writable);
	if (to_outer)
		drop_inner_segments(vcpu);
}

static bool is_flat_descriptor(
	struct vcpu *vcpu, uint16_t selector, uint64_t flat, struct descriptor *descriptor)
{
	uint64_t dpl = (uint64_t)(selector & SELECTOR_RPL) << 45;

	return !selector_is_null(selector) && descriptor_read(vcpu, selector, descriptor) &&
	       descriptor->low == (flat | dpl);
}

/*
 * The same of a 64-bit kernel between two flat segments, with the frame in one page: nearly every
 * return from an interrupt or exception. False: nothing is done.
 */
static bool iret_flat(struct vcpu *vcpu)
{
	gva_t rsp = vcpu->gpr[X86_RSP];
	struct descriptor code, data;
	uint64_t rip, rflags;
	const uint8_t *frame;
	uint16_t cs, ss;
	unsigned cpl;

	if (vcpu->mode.insn != INSN_MODE_64 || vcpu->mode.cpl != 0 || !x86_is_canonical(rsp))
		return false;
	frame = mmu_pointer(vcpu, rsp, 40, MMU_READ);
	if (!frame)
		return false;
	rip = host_load(frame, 8);
	cs = (uint16_t)host_load(frame + 8, 2);
	rflags = host_load(frame + 16, 8);
	ss = (uint16_t)host_load(frame + 32, 2);
	cpl = cs & SELECTOR_RPL;
	if (!x86_is_canonical(rip) || (ss & SELECTOR_RPL) != cpl ||
		!is_flat_descriptor(vcpu, cs, DESCRIPTOR_FLAT_CODE64, &code) ||
		!is_flat_descriptor(vcpu, ss, DESCRIPTOR_FLAT_STACK, &data))
		return false;
	vcpu->next_rip = rip;
	vcpu->gpr[X86_RSP] = host_load(frame + 24, 8);
	vcpu->segment[X86_CS] = descriptor_segment(&code, cs);
	vcpu->segment[X86_SS] = descriptor_segment(&data, ss);
	set_flags(vcpu, rflags, iret_flags(vcpu, 8));
	vcpu->mode.cpl = (uint8_t)cpl;
	mmu_update_mode(vcpu);
	if (cpl != 0)
		drop_inner_segments(vcpu);
	return true;
}

void interrupt_return(struct vcpu *vcpu, unsigned operand_bytes)
{
	vcpu->nmi_blocked = false;
	if (operand_bytes == 8 && !(vcpu->flags_system & RFLAGS_NT) && iret_flat(vcpu))
		return;
	if (!vcpu->mode.protected_mode)
		iret_real(vcpu, operand_bytes);
	else if (vcpu->mode.virtual_8086)
		iret_virtual_8086(vcpu, operand_bytes);
	else if (vcpu->flags_system & RFLAGS_NT)
		iret_task(vcpu);
	else
		iret_protected(vcpu, operand_bytes);
}
